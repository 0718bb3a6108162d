"""Ending training before its last step: on request, or at the checkpoint that is promoted to a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workers.contract.spec import JobSpec
from workers.engine import errors, parallel
from workers.engine.base_model.models import adapter_sha256
from workers.engine.checkpoint import Checkpoint
from workers.engine.training.checkpointing import CheckpointingMixin


def never_finish() -> bool:
    """Default of ``Job.finishing``."""
    return False


@dataclass(frozen=True)
class EarlyFinish:
    """Decides at the end of a step whether training ends there.

    An adapter that no step has changed cannot be packaged: training goes on until one has.
    """

    requested: Callable[[], bool]
    trainer: CheckpointingMixin
    initial_sha256: str

    def __call__(self) -> bool:
        return self.requested() and adapter_sha256(self.trainer.model) != self.initial_sha256

    def load(self, spec: JobSpec, checkpoint: Checkpoint | None, steps: int) -> bool:
        """Return True, with the adapter loaded, if nothing is left to train after ``checkpoint``."""
        if checkpoint is None:
            return False
        last = bool(spec.promoted_from) or checkpoint.step >= steps
        if last or self.requested():
            self.trainer.load_finished(checkpoint.path, checkpoint.step)
            last = last or self()
        return share_end(checkpoint, last)


def share_end(checkpoint: Checkpoint | None, finished: bool = False) -> bool:
    """Return in every process whether the leader ends training at ``checkpoint``."""
    return bool(parallel.broadcast(finished)) if checkpoint else False


def check_promotion(spec: JobSpec, checkpoint: Checkpoint | None) -> None:
    """Raise ``EngineError`` unless a promotion has the checkpoint that it names."""
    promoted = spec.promoted_from
    if promoted and (checkpoint is None or checkpoint.step != promoted.step):
        raise errors.EngineError(
            "checkpoint_missing",
            f"The checkpoint of step {promoted.step}, which should become a model, is missing.",
            "Promote another checkpoint of the job.",
        )
