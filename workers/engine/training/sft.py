"""SFT: the same adapter, trained by TRL's SFTTrainer on demonstrations."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from workers.contract.events import MetricsEvent
from workers.contract.memory import Work
from workers.contract.spec import JobSpec, SftSettings
from workers.engine import errors
from workers.engine.base_model.initial_adapter import keep_reference
from workers.engine.base_model.models import Base
from workers.engine.evaluation.retention import log_probabilities
from workers.engine.memory import MemoryPlan, peak
from workers.engine.prompts.data import checked_path
from workers.engine.training.checkpointing import Keeping
from workers.engine.training.device_usage import Usage
from workers.engine.training.grpo import Reporter, lora_config
from workers.engine.training.rollouts import Recorder

SINCE_START = {"num_tokens"}  # TRL counts it from the process's start, so a resume would tell another number
WARMUP_SHARE = 10  # at most a tenth of the steps, or a short job would never reach its learning rate


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the answer that should follow it."""

    row_id: str
    messages: list[dict[str, Any]]
    completion: str
    tools: list[dict[str, Any]] = field(default_factory=list)
    reasoning: str = ""


def settings(spec: JobSpec) -> SftSettings:
    """The spec's SFT settings, which ``JobSpec`` promises for it."""
    assert spec.sft is not None, "an sft job without sft settings"
    return spec.sft


def total_steps(spec: JobSpec) -> int:
    """Optimiser steps of the whole job; the last step of an epoch may be a smaller batch."""
    sft = settings(spec)
    return math.ceil(sft.rows.rows / sft.batch_size) * sft.epochs


def work(spec: JobSpec, longest_prompt: int) -> Work:
    """A batch in the words of the memory's plan: every row computes its own prompt."""
    return Work(longest_prompt, spec.grpo.max_completion_length, settings(spec).batch_size, 1)


def read(spec: JobSpec, folder: Path, train: Collection[str]) -> list[Demonstration]:
    """The demonstrations. Raises ``EngineError`` if one is unreadable or not of a training row (a leak)."""
    path = checked_path(settings(spec).rows, folder)
    with path.open(encoding="utf-8") as stream:
        lines = [(number, line) for number, line in enumerate(stream, start=1) if line.strip()]
    found = [_demonstration(path, number, line) for number, line in lines]
    if not found:
        raise errors.no_demonstrations()
    if foreign := [each.row_id for each in found if each.row_id not in train]:
        raise errors.foreign_demonstrations(foreign)
    return found


def _demonstration(path: Path, number: int, line: str) -> Demonstration:
    try:
        value = json.loads(line)
        tools = value.get("tools") or []
        reasoning = str(value.get("reasoning") or "")
        return Demonstration(
            str(value["row_id"]), value["messages"], str(value["completion"]), tools, reasoning
        )
    except (ValueError, TypeError, KeyError) as error:
        said = f"not an object with row_id, messages and completion ({error})"
        raise errors.bad_row(path, number, said) from error


def dataset(spec: JobSpec, base: Base, demonstrations: Sequence[Demonstration]) -> Dataset:
    """Columns ``input_ids`` and ``completion_mask`` (1 on the answer and its end), as TRL takes them.

    The prompt is encoded as for sampling and the answer follows it as the model would have written it, so
    what is learnt is what is evaluated. Raises ``EngineError`` for answers that no evaluation would let end.
    """
    limit, columns, too_long = spec.grpo.max_completion_length, [], []
    end = base.renderer.end_of_turn(demonstrations[0].messages)
    for each in demonstrations:
        text = base.renderer.render(each.messages, each.tools)
        prompt = base.renderer.encode_text(text)
        completion = base.renderer.with_thoughts(text, each.completion, each.reasoning)
        answer = [*base.renderer.encode_text(completion), end]
        if len(answer) > limit:
            too_long.append(each.row_id)
        columns.append(
            {"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)}
        )
    if too_long:
        raise errors.demonstrations_too_long(too_long, limit)
    return Dataset.from_list(columns)


def sft_config(spec: JobSpec, out: Path, steps: int, plan: MemoryPlan, longest: int) -> SFTConfig:
    """The spec in TRL's words. A batch is divided into passes of at most ``plan.tokens`` tokens."""
    sft, grpo = settings(spec), spec.grpo
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
        # The weights are in the device's precision already: no autocast on top.
        bf16=False,
        use_cpu=spec.resources.device == "cpu",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


class DemonstrationTrainer(Keeping, SFTTrainer):  # type: ignore[misc]
    """TRL's SFTTrainer with what the engine asks of a trainer. ``recorder`` knows the job's training rows."""

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
        """Time and speed; prompts count among the tokens, for they are computed too."""
        tokens, self._tokens_before = self._total_train_tokens - self._tokens_before, self._total_train_tokens
        used = peak() | self._usage.take()
        return {"step_time": step_time, "tokens_per_second": tokens / step_time, **used}

    def logprobs(self, prompt_ids: list[int], completion_ids: list[int]) -> list[float]:
        """The log-probabilities that the trained model gives the tokens of one completion."""
        model = self.accelerator.unwrap_model(self.model)
        pairs = [(prompt_ids, completion_ids)]
        found = log_probabilities(model, pairs, self.temperature, self._check_stop)
        return [float(value) for value in found[0]]


def build_trainer(
    spec: JobSpec,
    out: Path,
    base: Base,
    demonstrations: Sequence[Demonstration],
    recorder: Recorder,
    steps: int,
    plan: MemoryPlan,
    start: PeftModel | None,
    check_stop: Callable[[], None],
) -> DemonstrationTrainer:
    """The trainer with an adapter as the RFT job's: same shape, same initial weights, or the same start."""
    rows = dataset(spec, base, demonstrations)
    trainer = DemonstrationTrainer(
        model=start or base.model,
        args=sft_config(spec, out, steps, plan, max(map(len, rows["input_ids"]))),
        train_dataset=rows,
        processing_class=base.tokenizer,
        peft_config=None if start else lora_config(spec, base.model),
        recorder=recorder,
        temperature=spec.grpo.temperature,
        check_stop=check_stop,
    )
    if start:
        keep_reference(start)
    trainer.remove_callback(PrinterCallback)
    return trainer


@dataclass
class SftReporter(Reporter):
    """As ``Reporter``; a step has TRL's numbers and no rollouts."""

    _began: float = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        super().on_step_begin()
        self._began = time.perf_counter()

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        if "loss" not in logs:
            return  # TRL's summary at the end
        state = self.trainer.state
        values = {name: value for name, value in logs.items() if name not in SINCE_START}
        values |= self.trainer.take_metrics(time.perf_counter() - self._began)
        finite = {name: float(v) for name, v in values.items() if v is not None and math.isfinite(v)}
        self.emit(MetricsEvent(step=state.global_step, total_steps=state.max_steps, values=finite))
        self._refuse_not_finite(state.global_step, logs, state.log_history)
        self.progress.step()
