"""Export of a tuned model in a browser: request, wait for the worker, download."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from playwright.sync_api import Page, expect

from tests.e2e.graders.test_graders import sign_up
from tests.workers.engine.test_exports import STARTER, tuned
from webapp.registry.models import TunedModel
from webapp.registry.services import ensure_starter_model, register_model
from webapp.teams.models import User

MAKING_MS = 120_000


def stored(dana: User, package: Path) -> TunedModel:
    """A tuned model, as a job stores it."""
    team, prefix, files = dana.memberships.get().team, "jobs/exported/adapter-1", []
    for path in package.iterdir():
        default_storage.save(f"{prefix}/{path.name}", ContentFile(path.read_bytes()))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        files.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sha256})
    return register_model(team, ensure_starter_model(), "ft:starter", prefix, files)


def test_an_export_is_made_checked_and_downloaded(page: Page, live: str, tmp_path: Path) -> None:
    sign_up(page)
    model = stored(User.objects.get(), tuned(STARTER, tmp_path / "package"))
    page.goto(model.get_absolute_url())
    section = page.get_by_role("region", name="Exports")
    expect(section.get_by_role("button", name="Export: Merged GGUF")).to_be_visible()
    section.get_by_role("button", name="Export: GGUF adapter").click()
    expect(section.get_by_text("read back with gguf")).to_be_visible(timeout=MAKING_MS)
    with page.expect_download() as download:
        section.get_by_role("link", name="Download: GGUF adapter").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert names == {"adapter.gguf", "base.gguf", "Modelfile", "README.md", "SHA256SUMS"}
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    assert not found.violations_count, found.generate_report()
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
