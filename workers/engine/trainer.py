"""TRL's GRPOTrainer with ears: it measures and records, and leaves the optimisation as it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from workers.engine.models import folded
from workers.engine.rollouts import Recorder


class EpochSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's sampler, but epoch e has its own order whether or not the epochs before were walked.

    TRL draws the orders one after another from one generator, so that a resume in a later epoch would begin
    with the first epoch's order again.
    """

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(self.seed + epoch)


class MeasuringTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPO as TRL does it, plus: rollouts recorded, phases timed, KL to the base measured."""

    def __init__(self, *args: Any, recorder: Recorder, **kwargs: Any) -> None:
        self.recorder = recorder
        self.measured: dict[str, float] = {}
        super().__init__(*args, reward_funcs=recorder.grader, **kwargs)

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        args = self.args
        return EpochSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=args.seed,
        )

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        with folded(self.accelerator.unwrap_model(self.model)):
            result = super()._generate_single_turn(*args, **kwargs)
        self._add("time/generation", time.perf_counter() - started)
        return result

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        self.recorder.set_advantages(output["advantages"].tolist())
        # TRL shuffles the rows next; the group travels with its row.
        output["group"] = torch.tensor(self.recorder.groups(), device=output["advantages"].device)
        return output

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self._last_logps = result[0].detach()
        return result

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        self._scored = (inputs, self._last_logps)
        return loss

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        started = time.perf_counter()
        self._measure_kl(*self._scored)
        self._add("time/measuring", time.perf_counter() - started)
        return loss

    @torch.no_grad()
    def _measure_kl(self, inputs: dict[str, Any], logps: torch.Tensor) -> None:
        """Adds this micro-batch to the KL of the policy to the base, on tokens that the policy sampled.

        k1 = log p - log q and k3 = q/p - 1 - log(q/p) with p the policy and q the base, see
        ``docs/metrics.md``. Where TRL has computed the base on all rows (beta above 0) that is used;
        otherwise one rollout a group is run through the base, which keeps the cost near 1 %.
        """
        mask, base = inputs["completion_mask"], inputs.get("ref_per_token_logps")
        if base is None:
            rows = first_of_each(inputs["group"].tolist())
            logps, mask, base = logps[rows], mask[rows], self._base_logps(inputs, rows)
        log_ratio = (base - logps) * mask
        self._add("tokens", float(mask.sum()))
        self._add("k1", float(-log_ratio.sum()))
        self._add("k3", float(((log_ratio.exp() - 1 - log_ratio) * mask).sum()))

    def _base_logps(self, inputs: dict[str, Any], rows: list[int]) -> Any:
        """Log-probabilities (rows, completion tokens) under the base: the adapter is switched off.

        The adapter starts at zero, so "off" is the base also after a resume (TRL issue 4723 is about an
        adapter that was trained before).
        """
        ids = torch.cat([inputs["prompt_ids"][rows], inputs["completion_ids"][rows]], dim=1)
        mask = torch.cat([inputs["prompt_mask"][rows], inputs["completion_mask"][rows]], dim=1)
        padding = int(mask.any(dim=0).int().argmax())
        keep = inputs["completion_ids"].size(1)
        with self.accelerator.unwrap_model(self.model).disable_adapter():
            logps, _, _ = self._get_per_token_logps_and_entropies(
                self.model, ids[:, padding:], mask[:, padding:], keep
            )
        return logps

    def take_finished(self, checkpoint: Path, step: int) -> None:
        """Loads the adapter of the last step. ``train`` would go on to the end of a half-done epoch."""
        self._load_from_checkpoint(str(checkpoint))
        self.state.global_step = step

    @torch.no_grad()
    def logprobs(self, prompt_ids: list[int], completion_ids: list[int]) -> list[float]:
        """The log-probabilities that training gives the tokens of one completion."""
        ids = torch.tensor([prompt_ids + completion_ids], device=self.accelerator.device)
        self.model.eval()
        values, _, _ = self._get_per_token_logps_and_entropies(
            self.model, ids, torch.ones_like(ids), len(completion_ids)
        )
        return [float(value) for value in values[0]]

    def _add(self, name: str, value: float) -> None:
        self.measured[name] = self.measured.get(name, 0.0) + value

    def take_metrics(self, step_time: float) -> dict[str, float]:
        """Our metrics of the step that just ended, see ``docs/metrics.md``; the next step starts anew."""
        measured, self.measured = self.measured, {}
        tokens = max(measured["tokens"], 1.0)
        generation, grading = measured["time/generation"], self.recorder.grading_seconds
        return {
            **self.recorder.metrics(),
            "kl_to_base": measured["k3"] / tokens,
            "kl_to_base/k1": measured["k1"] / tokens,
            "time/generation": generation,
            "time/training": step_time - generation - grading,
            "time/measuring": measured["time/measuring"],
            "tokens_per_second": self.recorder.completion_tokens() / step_time,
        }


def first_of_each(groups: list[int]) -> list[int]:
    """The places where each group appears first, rising."""
    return sorted({group: place for place, group in reversed(list(enumerate(groups)))}.values())
