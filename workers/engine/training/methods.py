"""Trainers of the methods in ``contract.methods``. Data preparation and evaluation are shared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from peft import PeftModel

from workers.contract.events import Event
from workers.contract.memory import Work
from workers.contract.spec import JobSpec
from workers.engine import parallel
from workers.engine.base_model.models import Base
from workers.engine.memory import MemoryPlan
from workers.engine.prompts.data import Row
from workers.engine.training import sft
from workers.engine.training.alarms import Alarms
from workers.engine.training.checkpointing import Keeping
from workers.engine.training.grpo import Reporter, build_trainer, rollouts, total_steps
from workers.engine.training.rollouts import Recorder
from workers.grading import GradeAnswers


class Rft:
    """Reinforcement by the job's grader."""

    reporter: type[Reporter] = Reporter
    alarms: type[Alarms] = Alarms

    def __init__(self, spec: JobSpec, folder: Path) -> None:
        self.spec, self.folder = spec, folder

    def steps(self, rows: int) -> int:
        """Optimiser steps of the whole job on so many training rows."""
        return total_steps(self.spec, rows)

    def work(self, longest_prompt: int) -> Work:
        """The largest pieces that are in memory together."""
        grpo = self.spec.grpo
        own = rollouts(self.spec) // parallel.size()
        return Work(longest_prompt, grpo.max_completion_length, own, grpo.group_size)

    def recorder(self, rows: list[Row], grade: GradeAnswers, base: Base) -> Recorder:
        """What knows the training rows and grades the rollouts of a step."""
        return Recorder(rows, grade, base.renderer, base.eos_ids)

    def trainer(
        self,
        out: Path,
        base: Base,
        recorder: Recorder,
        steps: int,
        plan: MemoryPlan,
        emit: Callable[[Event], None],
        start: PeftModel | None,
        check_stop: Callable[[], None],
    ) -> Keeping:
        """The trainer, ready to begin."""
        rows = recorder.rows
        return build_trainer(self.spec, out, base, rows, recorder, steps, plan, emit, start, check_stop)


class Silent(Alarms):
    """Alarms of a control run: raises nothing and pauses nothing."""

    def step(self, *_: Any) -> None:
        return None


class Placebo(Rft):
    """The same by rewards that say nothing about the answers."""

    alarms = Silent

    def recorder(self, rows: list[Row], grade: GradeAnswers, base: Base) -> Recorder:
        return Recorder(rows, grade, base.renderer, base.eos_ids, placebo_seed=self.spec.seed)


class Sft(Rft):
    """Supervised training on demonstrations."""

    reporter = sft.SftReporter
    alarms = Silent

    def steps(self, rows: int) -> int:
        return sft.total_steps(self.spec)

    def work(self, longest_prompt: int) -> Work:
        return sft.work(self.spec, longest_prompt)

    def trainer(
        self,
        out: Path,
        base: Base,
        recorder: Recorder,
        steps: int,
        plan: MemoryPlan,
        emit: Callable[[Event], None],
        start: PeftModel | None,
        check_stop: Callable[[], None],
    ) -> Keeping:
        known = {row.row_id for row in recorder.rows}
        shown = sft.read(self.spec, self.folder, known)
        return sft.build_trainer(self.spec, out, base, shown, recorder, steps, plan, start, check_stop)


TRAINERS: dict[str, type[Rft]] = {"rft": Rft, "placebo": Placebo, "sft": Sft}


def open_method(spec: JobSpec, folder: Path) -> Rft:
    """Return the method of a job; the spec's paths are relative to ``folder``."""
    return TRAINERS[spec.method](spec, folder)
