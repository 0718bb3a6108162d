"""The main job as a user clicks it: upload, grade, train, watch, compare, download."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from webapp.registry.services import ensure_starter_model

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "workers" / "starter" / "sample" / "dataset.jsonl"
TRAINING_MS = 240_000
SETTINGS = {
    "Max steps": "6",
    "Preflight rows": "6",
    "Group size": "4",
    "Prompts per step": "4",
    "Max completion length": "32",
    "Checkpoint every": "3",
    "Max rows": "6",
    "Validation max rows": "6",
    "Samples per row": "2",
    "Validation samples per row": "2",
    "Every": "3",
    "CPU cores": "2",
}
BARRIERS: list[str] = []
# Only what a downloader has: torch, transformers and peft.
LOAD = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(adapter)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], add_generation_prompt=True,
                                    return_tensors="pt", return_dict=True)["input_ids"]
with torch.no_grad():
    tuned = model(ids).logits
    with model.disable_adapter():
        base_logits = model(ids).logits
assert (tuned - base_logits).abs().max() > 0, "the adapter changes nothing"
"""


def sign_up(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Create account").click()
    page.get_by_label("Email").fill("dana@example.com")
    page.get_by_label("Password").fill("a long enough phrase")
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="First steps")).to_be_visible()


def audit(page: Page) -> None:
    """Note what breaks WCAG 2 A or AA on this page; the test fails at its end with all of it."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
    if found.violations_count:
        BARRIERS.append(f"{page.url}\n{found.generate_report()}")


def upload(page: Page, folder: Path) -> None:
    """A file with a bad line is explained; the mended one becomes a version."""
    rows = SAMPLE.read_text().splitlines()[:300]
    broken, mended = folder / "broken.jsonl", folder / "orders.jsonl"
    broken.write_text("\n".join([*rows[:20], '{"messages": [', *rows[20:30]]) + "\n")
    mended.write_text("\n".join(rows) + "\n")
    page.get_by_role("link", name="Datasets", exact=True).click()
    page.get_by_role("link", name="Upload").first.click()
    page.get_by_label("File").set_input_files(broken)
    page.get_by_label("Name").fill("Orders")
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("21", exact=True).first).to_be_visible()
    audit(page)
    page.get_by_role("link", name="Datasets").first.click()
    page.get_by_role("link", name="Upload").first.click()
    page.get_by_label("File").set_input_files(mended)
    page.get_by_label("Name").fill("Orders")
    page.get_by_role("button", name="Upload and check").click()
    page.get_by_role("button", name="Create dataset").click()
    expect(page.get_by_role("heading", name="Orders")).to_be_visible()
    audit(page)


def grade(page: Page) -> None:
    """A grader is written, tried on rows in the sandbox and on the base model's answers, and saved."""
    page.get_by_role("link", name="Graders", exact=True).click()
    page.get_by_role("link", name="New grader").click()
    page.get_by_label("Name").fill("Fields")
    page.get_by_role("button", name="Create grader").click()
    expect(page.locator(".cm-editor")).to_be_visible()
    page.get_by_role("button", name="Run on rows").click()
    expect(page.get_by_text("Mean reward 1.000")).to_be_visible(timeout=60_000)
    page.get_by_text("Rows and completions").click()
    page.get_by_label("Samples of a base model").check()
    page.get_by_role("button", name="Run on rows").click()
    expect(page.get_by_text("over 40 completions")).to_be_visible(timeout=90_000)
    audit(page)


def launch(page: Page) -> None:
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_role("link", name="New job").first.click()
    page.get_by_text("Advanced", exact=True).click()
    for label, value in SETTINGS.items():
        page.get_by_label(label, exact=True).fill(value)
    audit(page)
    page.get_by_role("button", name="Launch job").click()


def watch(page: Page) -> None:
    """Charts draw while it trains; a reload loses nothing; the end shows by itself."""
    reward = page.locator("figure[data-title=Reward]")
    expect(reward).to_be_visible(timeout=TRAINING_MS)
    page.reload()
    reward.scroll_into_view_if_needed()
    expect(reward.locator("canvas")).to_be_visible()
    expect(page.get_by_role("link", name="View model")).to_be_visible(timeout=TRAINING_MS)
    metrics = page.request.get(page.url.split("?")[0] + "metrics/").json()
    assert metrics["steps"] == [0, 1, 2, 3, 4, 5, 6]  # 0: the base, on held-out rows
    audit(page)


def look_at_rollouts(page: Page) -> None:
    page.get_by_role("link", name="Rollouts").click()
    expect(page.get_by_text("96 rollouts")).to_be_visible()
    page.locator("a[data-row]").first.click()
    expect(page.get_by_role("heading", name="Group", exact=True)).to_be_visible()
    audit(page)
    page.go_back()
    page.go_back()


def compare(page: Page) -> None:
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(page.get_by_text("Training helped").first).to_be_visible()
    expect(page.locator("[data-curves] canvas")).to_be_visible()
    expect(page.get_by_role("heading", name="Rows gained and lost")).to_be_visible()
    audit(page)
    page.go_back()


def download(page: Page, folder: Path) -> Path:
    """The archive's files match their checksums."""
    page.get_by_role("link", name="View model").click()
    audit(page)
    with page.expect_download() as started:
        page.get_by_role("link", name="Download adapter").click()
    archive, target = folder / "adapter.zip", folder / "adapter"
    started.value.save_as(archive)
    zipfile.ZipFile(archive).extractall(target)
    adapter = next(target.rglob("adapter_config.json")).parent
    for line in (adapter / "SHA256SUMS").read_text().splitlines():
        sha256, name = line.split(maxsplit=1)
        assert hashlib.sha256((adapter / name).read_bytes()).hexdigest() == sha256
    assert (
        json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
        == "groove/starter"
    )
    return adapter


@pytest.mark.usefixtures("live")
def test_a_newcomer_goes_from_sign_up_to_an_adapter_that_loads_with_plain_peft(
    page: Page, tmp_path: Path
) -> None:
    ensure_starter_model()
    sign_up(page)
    audit(page)
    upload(page, tmp_path)
    grade(page)
    launch(page)
    watch(page)
    look_at_rollouts(page)
    compare(page)
    adapter = download(page, tmp_path)
    base = str(ROOT / "workers" / "starter" / "model")
    subprocess.run([sys.executable, "-I", "-c", LOAD, base, str(adapter)], cwd=tmp_path, check=True)
    assert not BARRIERS, "\n".join(BARRIERS)
