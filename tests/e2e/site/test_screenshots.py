"""``make screenshots`` finds everything that the README's pictures show."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

from tests.e2e.screenshots import WIDE, take_pictures
from tests.e2e.site.test_every_page import sign_in
from webapp.seeding.seed import Sizes, seed
from webapp.teams.models import Team, User


def test_every_picture_of_the_readme_can_be_taken(
    page: Page, site: str, team: Team, alice: User, tmp_path: Path
) -> None:
    job = seed(team, alice, Sizes(jobs=2, points=4_000, rollouts=400))
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    sign_in(page, site, alice)
    take_pictures(page, job, job.grader_version.grader, tmp_path)
    named = {path.name for path in tmp_path.iterdir() if path.stat().st_size > 10_000}
    assert named == {f"{name}.png" for name in ("job", "charts", "compare", "rollouts", "grader")}
