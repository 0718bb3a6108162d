"""Upload of an adapter in a browser: errors are shown at the field, then it is stored."""

from __future__ import annotations

import json
import os
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.site.test_every_page import sign_in
from tests.web.adapters import CONFIG, packed, weights
from webapp.registry.models import TunedModel
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User


def test_an_adapter_is_uploaded_saying_how_far_it_is_and_what_is_wrong(
    page: Page, site: str, team: Team, alice: User, tmp_path: Path
) -> None:
    ensure_starter_model()
    wrong, right = tmp_path / "wrong.zip", tmp_path / "right.zip"
    wrong.write_bytes(packed({"adapter_model.bin": b"x"}))
    files = {"adapter_config.json": json.dumps(CONFIG).encode(), "adapter_model.safetensors": weights()}
    right.write_bytes(packed(files | {"optimizer.bin": os.urandom(600_000)}))
    sign_in(page, site, alice)
    page.goto(f"/t/{team.slug}/models/upload/")
    page.get_by_label("Name").fill("Ours")
    page.get_by_label("Base model").select_option(label="groove/starter")
    page.get_by_label("Adapter, as a zip file").set_input_files(wrong)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("alert")).to_contain_text("adapter_config.json")
    expect(page.get_by_role("button", name="Upload and check")).to_be_enabled()
    expect(page.get_by_label("Name")).to_have_value("Ours")

    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
    page.get_by_label("Adapter, as a zip file").set_input_files(right)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.locator("[data-sent]")).to_contain_text("of 0.6 MiB sent")
    expect(page.get_by_role("heading", level=1, name="Ours")).to_be_visible()
    assert TunedModel.objects.get().uploaded
