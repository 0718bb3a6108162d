"""Ending training before its last step: on request, or at the checkpoint that a model is promoted from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workers.contract.spec import JobSpec
from workers.engine import errors, parallel
from workers.engine.base_model.models import adapter_sha256
from workers.engine.checkpoint import Checkpoint
from workers.engine.training.checkpointing import Keeping


def never() -> bool:
    """The answer where nobody asks for anything."""
    return False


@dataclass(frozen=True)
class Finish:
    """Decides at a step boundary whether training ends there.

    An adapter that no step has changed yet cannot be packaged: then training goes on until one has.
    """

    requested: Callable[[], bool]
    trainer: Keeping
    initial_sha256: str

    def __call__(self) -> bool:
        return self.requested() and adapter_sha256(self.trainer.model) != self.initial_sha256

    def load(self, spec: JobSpec, checkpoint: Checkpoint | None, steps: int) -> bool:
        """True, with the adapter loaded, if nothing is left to train after ``checkpoint``."""
        if checkpoint is None:
            return False
        last = bool(spec.promoted_from) or checkpoint.step >= steps
        if last or self.requested():
            self.trainer.take_finished(checkpoint.path, checkpoint.step)
            last = last or self()
        return agree_on_end(checkpoint, last)


def agree_on_end(checkpoint: Checkpoint | None, finished: bool = False) -> bool:
    """The leader's decision about ``checkpoint``, in every process."""
    return bool(parallel.leaders(finished)) if checkpoint else False


def check_promotion(spec: JobSpec, checkpoint: Checkpoint | None) -> None:
    """Raises ``EngineError`` if a promotion is not given the checkpoint that it names."""
    wanted = spec.promoted_from
    if wanted and (checkpoint is None or checkpoint.step != wanted.step):
        raise errors.EngineError(
            "checkpoint_missing",
            f"The checkpoint of step {wanted.step} that should become a model is not there.",
            "Promote another checkpoint of the job.",
        )
