"""Mixin for TRL trainers: steps that can be undone, and checkpoints that survive a full disk."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from pathlib import Path
from typing import Any

from workers.engine import errors, parallel
from workers.engine.base_model.models import adapter_sha256
from workers.engine.randomness import Randomness
from workers.engine.training.rollouts.recorder import Recorder


class CheckpointingMixin:
    """Comes before a trainer of TRL among the base classes.

    ``save_problem`` says why the last checkpoint was not written; empty if it was.
    """

    args: Any
    state: Any
    control: Any
    model: Any
    accelerator: Any
    add_callback: Any
    train: Any
    _load_from_checkpoint: Any
    recorder: Recorder
    temperature: float
    save_problem: str = ""
    _before_step: tuple[Randomness, int] | None = None

    @abstractmethod
    def logprobs(self, prompt_ids: list[int], completion_ids: list[int]) -> list[float]:
        """Return the log-probability that training gives each token of one completion."""

    @abstractmethod
    def take_metrics(self, step_time: float) -> dict[str, float]:
        """Return and reset the engine's metrics of the step that took ``step_time`` seconds.

        ``docs/metrics.md`` lists them.
        """

    def remember_state(self) -> None:
        """Save what an interrupted next step would change: random generators and the token count."""
        self._before_step = Randomness.now(), self.state.num_input_tokens_seen

    def undo_step(self) -> bool:
        """Restore the state after the last complete step; return False if this process has none."""
        if self._before_step is None:
            return False
        randomness, self.state.num_input_tokens_seen = self._before_step
        randomness.restore()
        return True

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save as TRL does. On a full disk delete the partial checkpoint and go on training."""
        self.save_problem = ""
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            # gather() is a barrier too: followers write their random states into the same folder.
            adapters = parallel.gather(adapter_sha256(self.model) if parallel.size() > 1 else "")
            if len({*adapters}) > 1:
                raise errors.drifted(self.state.global_step)
        except Exception as error:
            if not errors.is_disk_full(error):
                raise
            self.save_problem = str(error)
            shutil.rmtree(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}", True)

    def load_finished(self, checkpoint: Path, step: int) -> None:
        """Load the adapter of the last step without training on.

        ``train`` would continue to the end of an incomplete epoch.
        """
        self._load_from_checkpoint(str(checkpoint))
        self.state.global_step = step
