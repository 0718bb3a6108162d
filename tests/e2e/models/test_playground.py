"""From a deployment over the playground to a dataset of corrected answers, in a browser."""

from __future__ import annotations

from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.api.serving.served_adapters import register_adapter, train_adapter
from tests.e2e.site.test_every_page import sign_in
from webapp.datasets.models import Dataset
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

QUESTION = "Write the date in ISO form."
CORRECTION = "2025-03-03"


def deploy(page: Page, team: Team, model: str) -> None:
    page.goto(f"/t/{team.slug}/deployments/new/")
    page.get_by_label("Model").select_option(model)
    page.get_by_label("Deployment", exact=True).fill("dates")
    page.get_by_role("button", name="Deploy").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("dates")


def read_answer(card: Locator) -> str:
    expect(card.get_by_role("button", name="Regenerate")).to_be_visible()
    return card.locator("[data-text]").inner_text()


def test_a_deployment_is_compared_rated_corrected_and_rolled_back(
    page: Page, live: str, team: Team, alice: User, tmp_path: Path
) -> None:
    base = ensure_starter_model()
    train_adapter(tmp_path / "adapter")
    tuned = register_adapter(team, base, tmp_path / "adapter")
    sign_in(page, live, alice)
    deploy(page, team, base.model_id)
    deploy(page, team, tuned.name)

    page.goto(f"/t/{team.slug}/playground/?model_1={base.model_id}&model_2=dates&temperature=0&max_tokens=12")
    page.get_by_label("Prompt", exact=True).fill(QUESTION)
    page.get_by_label("Show token probabilities").check()
    page.keyboard.press("Control+Enter")
    before, after = (
        page.get_by_role("region", name=f"Answer of {name}") for name in (base.model_id, "dates")
    )
    assert read_answer(before) != read_answer(after)
    assert "%" in str(after.locator(".token").first.get_attribute("title"))
    assert "max_tokens=12" in page.url
    assert QUESTION not in page.url
    assert not Axe().run(page).response["violations"]
    code = page.locator("[data-code=python]")
    assert 'model="groove/starter"' in str(code.text_content())

    after.get_by_role("button", name="Bad answer").click()
    expect(after.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    after.get_by_role("link", name="Correct this answer").click()
    page.locator("summary", has_text="Correct this answer").click()
    page.get_by_role("textbox").last.fill(CORRECTION)
    page.get_by_role("button", name="Save correction").click()
    expect(page.locator("#expected-row")).to_have_text(CORRECTION)

    page.goto(f"/t/{team.slug}/interactions/?model=dates")
    expect(page.get_by_text(QUESTION)).to_be_visible()
    page.get_by_role("button", name="Make a dataset of these").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name of the dataset").fill("Corrected dates")
    dialog.get_by_role("button", name="Make a dataset of these").click()
    expect(page.get_by_text("Corrected dates").first).to_be_visible()
    assert Dataset.objects.get(team=team, name="Corrected dates")

    page.goto(f"/t/{team.slug}/deployments/")
    page.get_by_role("link", name="dates").first.click()
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("Rolled back").first).to_be_visible()
