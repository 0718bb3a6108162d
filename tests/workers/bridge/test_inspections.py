"""A worker inspects base models that people add: the real engine in a child process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from django.conf import settings

from webapp.registry.models import BaseModel, Inspection
from webapp.registry.services import add_base_model
from webapp.teams.models import Team, User
from workers.bridge.inspections import inspect_base

pytestmark = pytest.mark.django_db(transaction=True)
STARTER = Path(settings.BASE_DIR) / "workers/starter/model"


def inspected(base: BaseModel) -> Inspection:
    inspect_base(Inspection.objects.get(base=base).pk)
    return Inspection.objects.get(base=base)


def test_a_sound_folder_passes_and_a_cut_off_one_fails_by_name(
    team: Team, alice: User, tmp_path: Path
) -> None:
    folder = shutil.copytree(STARTER, tmp_path / "base")
    base = add_base_model(team, alice, "in-house", path=str(folder))
    sound = inspected(base)
    assert sound.state == Inspection.State.FINISHED, sound.report
    assert sound.report["facts"]["parameters"] == 1_830_976
    assert sound.report["facts"]["system_role"] is True
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    again = add_base_model(team, alice, "in-house-again", path=str(folder))
    damaged = inspected(again)
    assert damaged.state == Inspection.State.FAILED
    assert "model.safetensors cannot be read" in damaged.report["problem"]["message"]
    assert "bug in Groove" not in str(damaged.report)


def test_a_model_that_the_hub_does_not_give_fails_with_a_remedy(team: Team, alice: User) -> None:
    """The tests have no hub; the remedy explains what to do without one."""
    found = inspected(add_base_model(team, alice, "nobody/has-this"))
    assert found.state == Inspection.State.FAILED
    assert found.report["problem"]["code"] == "hub_unreachable"
    assert "HF_ENDPOINT" in found.report["problem"]["remedy"]
