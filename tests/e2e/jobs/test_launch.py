"""The new-job form's script: marks of presets, and undo of a base model change."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.e2e.site.test_every_page import SMALL, sign_in
from webapp.registry.models import BaseModel
from webapp.seeding.seed import seed
from webapp.teams.models import Team, User


def test_presets_are_marked_and_a_base_model_change_can_be_undone(
    page: Page, site: str, team: Team, alice: User
) -> None:
    seed(team, alice, SMALL)
    other = BaseModel.objects.create(team=team, model_id="big", settings={"grpo": {"learning_rate": 4e-6}})
    sign_in(page, site, alice)
    page.goto(f"/t/{team.slug}/jobs/new/")
    quick, standard = page.locator("#preset-quick"), page.locator("#preset-standard")
    expect(standard).to_have_attribute("aria-current", "true")
    quick.click()
    expect(quick).to_have_attribute("aria-current", "true")
    expect(standard).not_to_have_attribute("aria-current", "true")
    page.locator("[name=grpo__max_steps]").fill("77")
    expect(page.locator("[data-preset][aria-current]")).to_have_count(0)

    page.get_by_text("Advanced", exact=True).click()
    base, rate = page.locator("[name=base_model]"), page.locator("[name=grpo__learning_rate]")
    before, first = rate.input_value(), base.input_value()
    page.locator("[name=lora__rank]").fill("7")
    base.select_option(other.uid)
    expect(rate).to_have_value("4e-06")
    expect(rate).to_be_visible()  # Advanced stays open
    expect(page.locator("[name=lora__rank]")).to_have_value("7")
    page.get_by_role("button", name="Back to").click()
    expect(base).to_have_value(first)
    expect(rate).to_have_value(before)
