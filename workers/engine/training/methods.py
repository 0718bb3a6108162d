"""Trainers of the methods in ``contract.methods``. Data preparation and evaluation are shared."""

from __future__ import annotations

from pathlib import Path

from workers.contract import methods
from workers.contract.spec import JobSpec
from workers.engine.training.grpo import Placebo, Rft
from workers.engine.training.interface import TrainingMethod
from workers.engine.training.sft import Sft

TRAINERS: dict[str, type[TrainingMethod]] = {
    methods.RFT.id: Rft,
    methods.PLACEBO.id: Placebo,
    methods.SFT.id: Sft,
}


def open_method(spec: JobSpec, folder: Path) -> TrainingMethod:
    """Return the method of a job; the spec's paths are relative to ``folder``."""
    return TRAINERS[spec.method](spec, folder)
