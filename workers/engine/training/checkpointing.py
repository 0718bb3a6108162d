"""What any of TRL's trainers needs around checkpoints: a step is whole or undone, a full disk is told."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from pathlib import Path
from typing import Any

from workers.engine import errors, parallel
from workers.engine.base_model.models import adapter_sha256
from workers.engine.randomness import Randomness
from workers.engine.training.rollouts import Recorder


class Keeping:
    """Goes before a trainer of TRL among a class's bases. ``not_saved`` says why a checkpoint is missing."""

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
    not_saved: str = ""
    _whole: tuple[Randomness, int] | None = None

    @abstractmethod
    def logprobs(self, prompt_ids: list[int], completion_ids: list[int]) -> list[float]:
        """The log-probabilities that training gives the tokens of one completion."""

    @abstractmethod
    def take_metrics(self, step_time: float) -> dict[str, float]:
        """Our metrics of the step that just ended (``docs/metrics.md``), which took ``step_time`` seconds."""

    def remember(self) -> None:
        """A step is whole: what a step that is broken off later must not have changed is kept."""
        self._whole = Randomness.now(), self.state.num_input_tokens_seen

    def go_back(self) -> bool:
        """Undoes a step that was broken off; False if no step has been whole in this process."""
        if self._whole is None:
            return False
        randomness, self.state.num_input_tokens_seen = self._whole
        randomness.restore()
        return True

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As TRL does. A full disk leaves nothing behind and is told in ``not_saved``: training goes on."""
        self.not_saved = ""
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            # Also waits: followers save their random states beside the rest.
            adapters = parallel.gathered(adapter_sha256(self.model) if parallel.size() > 1 else "")
            if len({*adapters}) > 1:
                raise errors.drifted(self.state.global_step)
        except Exception as error:
            if not errors.is_disk_full(error):
                raise
            self.not_saved = str(error)
            shutil.rmtree(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}", True)

    def take_finished(self, checkpoint: Path, step: int) -> None:
        """Loads the adapter of the last step. ``train`` would go on to the end of a half-done epoch."""
        self._load_from_checkpoint(str(checkpoint))
        self.state.global_step = step
