"""The interface of training methods: a ``TrainContext`` goes in, a trainer comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel

from workers.contract.events import Event
from workers.contract.memory import Work
from workers.contract.spec import JobSpec
from workers.engine.base_model.models import Base
from workers.engine.episodes.player import Player
from workers.engine.memory import MemoryPlan
from workers.engine.prompts.data import Row
from workers.engine.training.alarms import Alarms
from workers.engine.training.checkpointing import CheckpointingMixin
from workers.engine.training.reporting import Reporter
from workers.engine.training.rollouts.recorder import Recorder
from workers.grading import GradeAnswers


def never_stop() -> None:
    """Default of ``TrainContext.check_stop``."""


@dataclass(frozen=True)
class TrainContext:
    """Everything that a trainer is built from.

    ``recorder`` holds the training rows. ``initial_adapter`` is the base model with the adapter that training
    continues; without it the trainer adds a fresh one. ``player`` plays rows that have an environment.
    ``check_stop`` raises ``errors.Stopped``.
    """

    out: Path
    base: Base
    recorder: Recorder
    steps: int
    plan: MemoryPlan
    emit: Callable[[Event], None]
    initial_adapter: PeftModel | None = None
    player: Player | None = None
    check_stop: Callable[[], None] = never_stop


class TrainingMethod(ABC):
    """Trains one job. ``contract.methods`` describes the method to people."""

    reporter: type[Reporter] = Reporter
    alarms: type[Alarms] = Alarms

    def __init__(self, spec: JobSpec, folder: Path) -> None:
        self.spec, self.folder = spec, folder

    @abstractmethod
    def count_steps(self, rows: int) -> int:
        """Return the optimiser steps of the whole job on this number of training rows."""

    @abstractmethod
    def describe_work(self, longest_prompt: int) -> Work:
        """Return what memory must hold together in one step of this process."""

    def build_recorder(self, rows: list[Row], grade: GradeAnswers, base: Base) -> Recorder:
        """Return the recorder, which holds the training rows and grades rollouts."""
        return Recorder(rows, grade, base.renderer, base.eos_ids)

    @abstractmethod
    def build_trainer(self, context: TrainContext) -> CheckpointingMixin:
        """Return a trainer that has not trained yet. Raises ``EngineError``."""
