"""SFT: the same adapter as in RFT, trained by TRL's SFTTrainer on demonstrations."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from workers.contract.json_types import JsonObject
from workers.contract.memory import Work
from workers.contract.spec import JobSpec, SftSettings
from workers.engine import errors
from workers.engine.base_model.initial_adapter import keep_reference
from workers.engine.base_model.models import Base
from workers.engine.evaluation.retention import log_probabilities
from workers.engine.memory import MemoryPlan, read_peak
from workers.engine.prompts.data import find_file
from workers.engine.training.alarms import SilentAlarms
from workers.engine.training.checkpointing import CheckpointingMixin
from workers.engine.training.device_usage import Usage
from workers.engine.training.grpo import lora_config
from workers.engine.training.interface import TrainContext, TrainingMethod
from workers.engine.training.reporting import Reporter
from workers.engine.training.rollouts.recorder import Recorder

SINCE_START = {"num_tokens"}  # TRL counts it from the start of the process: wrong after a resume
WARMUP_SHARE = 10  # a tenth of the steps at most, or a short job would never reach its learning rate


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the completion that should follow it."""

    row_id: str
    messages: list[JsonObject]
    completion: str
    tools: list[JsonObject] = field(default_factory=list)
    reasoning: str = ""


def get_settings(spec: JobSpec) -> SftSettings:
    """Return the spec's SFT settings, which ``JobSpec`` guarantees for this method."""
    assert spec.sft is not None, "an sft job without sft settings"
    return spec.sft


def read_demonstrations(spec: JobSpec, folder: Path, train: Collection[str]) -> list[Demonstration]:
    """Read the job's demonstrations.

    Raises ``EngineError`` if one is unreadable or does not belong to a training row, which would be a leak.
    """
    path = find_file(get_settings(spec).rows, folder)
    with path.open(encoding="utf-8") as stream:
        lines = [(number, line) for number, line in enumerate(stream, start=1) if line.strip()]
    found = [_parse_demonstration(path, number, line) for number, line in lines]
    if not found:
        raise errors.no_demonstrations()
    if foreign := [each.row_id for each in found if each.row_id not in train]:
        raise errors.foreign_demonstrations(foreign)
    return found


def _parse_demonstration(path: Path, number: int, line: str) -> Demonstration:
    try:
        value = json.loads(line)
        return Demonstration(
            row_id=str(value["row_id"]),
            messages=value["messages"],
            completion=str(value["completion"]),
            tools=value.get("tools") or [],
            reasoning=str(value.get("reasoning") or ""),
        )
    except (ValueError, TypeError, KeyError) as error:
        reason = f"not an object with row_id, messages and completion ({error})"
        raise errors.bad_row(path, number, reason) from error


def build_dataset(spec: JobSpec, base: Base, demonstrations: Sequence[Demonstration]) -> Dataset:
    """Return columns ``input_ids`` and ``completion_mask`` (1 on the completion and its end) for TRL.

    The prompt is encoded as for sampling, and the completion as the model would have written it. What is
    learnt is therefore what is evaluated. Raises ``EngineError`` for completions that evaluations would cut.
    """
    limit, columns, too_long = spec.grpo.max_completion_length, [], []
    end = base.renderer.find_end_of_turn(demonstrations[0].messages)
    for each in demonstrations:
        text = base.renderer.render(each.messages, each.tools)
        prompt = base.renderer.encode_text(text)
        completion = base.renderer.add_thoughts(text, each.completion, each.reasoning)
        ids = [*base.renderer.encode_text(completion), end]
        if len(ids) > limit:
            too_long.append(each.row_id)
        columns.append({"input_ids": prompt + ids, "completion_mask": [0] * len(prompt) + [1] * len(ids)})
    if too_long:
        raise errors.demonstrations_too_long(too_long, limit)
    return Dataset.from_list(columns)


def sft_config(spec: JobSpec, out: Path, steps: int, plan: MemoryPlan, longest: int) -> SFTConfig:
    """Return TRL's config of the job. A batch is divided into passes of at most ``plan.tokens`` tokens."""
    sft, grpo = get_settings(spec), spec.grpo
    rows = max(1, plan.tokens // longest)
    each = max(size for size in range(1, sft.batch_size + 1) if sft.batch_size % size == 0 and size <= rows)
    return SFTConfig(
        output_dir=str(out / "checkpoints" / ".unsealed"),
        max_steps=steps,
        per_device_train_batch_size=each,
        gradient_accumulation_steps=sft.batch_size // each,
        gradient_checkpointing=plan.gradient_checkpointing,
        learning_rate=sft.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(grpo.warmup_steps, steps // WARMUP_SHARE),
        max_grad_norm=grpo.max_grad_norm,
        completion_only_loss=True,
        router_aux_loss_coef=0.0,  # as in GRPO
        max_length=None,
        seed=spec.seed,
        # The weights already have the device's precision: no autocast on top.
        bf16=False,
        use_cpu=spec.resources.device == "cpu",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


class DemonstrationTrainer(CheckpointingMixin, SFTTrainer):  # type: ignore[misc]
    """TRL's SFTTrainer with checkpointing and metrics. ``recorder`` holds the job's training rows."""

    def __init__(
        self,
        *args: Any,
        recorder: Recorder,
        temperature: float,
        check_stop: Callable[[], None],
        **kwargs: Any,
    ) -> None:
        self.recorder, self.temperature, self._check_stop = recorder, temperature, check_stop
        self._tokens_before, self._usage = 0, Usage()
        super().__init__(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        self._check_stop()
        return super().training_step(*args, **kwargs)

    def take_metrics(self, step_time: float) -> dict[str, float]:
        """Return time and speed of the step. Prompts count among the tokens, since they are computed too."""
        tokens, self._tokens_before = self._total_train_tokens - self._tokens_before, self._total_train_tokens
        used = read_peak() | self._usage.take()
        return {"step_time": step_time, "tokens_per_second": tokens / step_time, **used}

    def logprobs(self, prompt_ids: list[int], completion_ids: list[int]) -> list[float]:
        """Return the log-probability of each token of one completion under the trained model."""
        model = self.accelerator.unwrap_model(self.model)
        pairs = [(prompt_ids, completion_ids)]
        found = log_probabilities(model, pairs, self.temperature, self._check_stop)
        return [float(value) for value in found[0]]


@dataclass
class SftReporter(Reporter):
    """As ``Reporter``. A step has TRL's numbers and no rollouts."""

    _step_began: float = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        super().on_step_begin()
        self._step_began = time.perf_counter()

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        if "loss" not in logs:
            return  # TRL's summary at the end
        state = self.trainer.state
        values = {name: value for name, value in logs.items() if name not in SINCE_START}
        self.emit_metrics(values | self.trainer.take_metrics(time.perf_counter() - self._step_began))
        self.refuse_not_finite(state.global_step, logs, state.log_history)
        self.progress.count_step()


class Sft(TrainingMethod):
    """Supervised training on demonstrations, with the same initial adapter as in RFT."""

    reporter = SftReporter
    alarms = SilentAlarms

    def count_steps(self, rows: int) -> int:
        """The last step of an epoch may be a smaller batch."""
        sft = get_settings(self.spec)
        return math.ceil(sft.rows.rows / sft.batch_size) * sft.epochs

    def describe_work(self, longest_prompt: int) -> Work:
        """The group size is 1, because every row computes its own prompt."""
        return Work(
            longest_prompt, self.spec.grpo.max_completion_length, get_settings(self.spec).batch_size, 1
        )

    def build_trainer(self, context: TrainContext) -> DemonstrationTrainer:
        spec, base, initial = self.spec, context.base, context.initial_adapter
        train = {row.row_id for row in context.recorder.rows}
        rows = build_dataset(spec, base, read_demonstrations(spec, self.folder, train))
        longest = max(map(len, rows["input_ids"]))
        trainer = DemonstrationTrainer(
            model=initial or base.model,
            args=sft_config(spec, context.out, context.steps, context.plan, longest),
            train_dataset=rows,
            processing_class=base.tokenizer,
            peft_config=None if initial else lora_config(spec, base.model),
            recorder=context.recorder,
            temperature=spec.grpo.temperature,
            check_stop=context.check_stop,
        )
        if initial:
            keep_reference(initial)
        trainer.remove_callback(PrinterCallback)
        return trainer
