"""Pictures for the README, of a job that really runs: ``make screenshots``. No test of the suite."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.site.test_every_page import sign_in
from webapp.graders.models import Grader
from webapp.home.sample_project import create_sample_project
from webapp.jobs.launch.request import JobRequest, single_task
from webapp.jobs.launch.service import launch
from webapp.jobs.models import Job
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
WIDE = {"width": 1440, "height": 960}
TRAINING_MS = 600_000


def save_picture(page: Page, path: Path, theme: str = "light") -> None:
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.wait_for_timeout(1500)
    page.screenshot(path=path)


def take_pictures(page: Page, job: Job, grader: Grader, folder: Path) -> None:
    """Save the README's pictures of a finished job to ``folder``."""
    page.goto(job.get_absolute_url())
    save_picture(page, folder / "job.png")
    page.goto(f"{job.get_absolute_url()}?smooth=0.6&raw=band")
    page.locator("figure[data-title=Reward]").scroll_into_view_if_needed()
    page.mouse.wheel(0, 500)
    save_picture(page, folder / "charts.png", "dark")
    page.goto(f"{job.get_absolute_url()}compare/?sort=-change")
    page.get_by_role("heading", name="Answers, row by row").scroll_into_view_if_needed()
    page.mouse.wheel(0, 700)
    save_picture(page, folder / "compare.png")
    page.goto(f"{job.get_absolute_url()}rollouts/?step=1")
    save_picture(page, folder / "rollouts.png")
    page.goto(grader.get_absolute_url())
    expect(page.locator(".cm-editor").first).to_be_visible()
    save_picture(page, folder / "grader.png", "dark")


def test_pictures(page: Page, live: str, team: Team, alice: User) -> None:
    dataset, grader = create_sample_project(team, alice)
    base = ensure_starter_model()
    job = launch(
        JobRequest(
            team=team,
            user=alice,
            name="Invoices, tickets and orders",
            base_model=base,
            settings=base.settings,
            tasks=single_task(dataset.versions.get(), grader.versions.get()),
        )
    )
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    sign_in(page, live, alice)
    page.goto(job.get_absolute_url())
    expect(page.get_by_role("link", name="View model")).to_be_visible(timeout=TRAINING_MS)
    take_pictures(page, job, grader, FOLDER)
