"""Training: TRL is configured from the spec, and a callback turns what it does into events."""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from transformers.pytorch_utils import Conv1D
from trl import GRPOConfig

from workers.contract.events import CheckpointEvent, Event, LogEvent, MetricsEvent, RolloutsEvent
from workers.contract.spec import JobSpec
from workers.engine import checkpoint, errors, parallel
from workers.engine.base_model.initial_adapter import keep_reference
from workers.engine.base_model.models import Base
from workers.engine.base_model.targets import choose_layers
from workers.engine.fast import shared_prefix
from workers.engine.fast.architecture import known
from workers.engine.memory import MemoryPlan
from workers.engine.progress import Progress
from workers.engine.prompts.data import Row
from workers.engine.prompts.rendering import Renderer
from workers.engine.sampling import backends
from workers.engine.training.alarms import Alarms
from workers.engine.training.checkpointing import Keeping
from workers.engine.training.judge_failures import JudgeWatch
from workers.engine.training.rollouts import Recorder
from workers.engine.training.task_balance import Balance
from workers.engine.training.trainer import MeasuringTrainer

SHARED = "Each prompt is computed once a group: in sampling, in the loss and in the backward pass."
PLAIN = (
    "Every rollout computes its prompt anew, as plain TRL does: the architecture {} is not among those whose "
    "prompts can be shared, or the adapter has dropout."
)
NOT_SAVED = "The checkpoint of step {} was not written: {}. The next one is tried when it is due."
SHRUNK = "Memory ran out: the step is done again in passes of at most {} tokens."
STEPS_WITHOUT_GRADE = 3  # so many steps in a row without any grade end the job


def total_steps(spec: JobSpec, rows: int) -> int:
    """Optimiser steps of the whole job; raises ``EngineError`` if the rows do not fill one step."""
    per_epoch = rows // spec.grpo.prompts_per_step
    if per_epoch == 0:
        raise errors.too_few_rows(rows, spec.grpo.prompts_per_step)
    return spec.grpo.max_steps or per_epoch * spec.grpo.epochs


def shares_prompts(spec: JobSpec, base: Base) -> bool:
    """Whether a prompt is computed once a group: with dropout each copy would have noise of its own."""
    return known(base.model) and spec.lora.dropout == 0


def rollouts(spec: JobSpec) -> int:
    """Rollouts of one step."""
    return spec.grpo.group_size * spec.grpo.prompts_per_step


def grpo_config(
    spec: JobSpec, out: Path, steps: int, plan: MemoryPlan, sampling: backends.Backend
) -> GRPOConfig:
    """The spec in TRL's words, with TRL's defaults that do not suit every machine set by hand."""
    grpo = spec.grpo
    return GRPOConfig(
        output_dir=str(out / "checkpoints" / ".unsealed"),
        max_steps=steps,
        # A step is one batch for TRL; the trainer divides it into passes that keep groups whole.
        per_device_train_batch_size=rollouts(spec) // parallel.size(),
        gradient_accumulation_steps=1,
        gradient_checkpointing=plan.gradient_checkpointing,
        num_generations=grpo.group_size,
        max_completion_length=grpo.max_completion_length,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=grpo.warmup_steps,
        max_grad_norm=grpo.max_grad_norm,
        beta=grpo.beta,
        temperature=grpo.temperature,
        loss_type=grpo.loss_type,
        scale_rewards=grpo.scale_rewards,
        epsilon=grpo.epsilon,
        epsilon_high=grpo.epsilon_high,
        mask_truncated_completions=grpo.mask_truncated_completions,
        router_aux_loss_coef=0.0,  # routers are frozen: balancing them is not the adapter's work
        seed=spec.seed,
        # The weights are in the device's precision already, in trainer and sampler alike: no autocast on top.
        bf16=False,
        use_cpu=spec.resources.device == "cpu",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        ddp_timeout=parallel.PATIENCE,
        report_to=[],
        disable_tqdm=True,
        **sampling.options,
    )


def lora_config(spec: JobSpec, model: PreTrainedModel) -> LoraConfig:
    """PEFT's config of a fresh adapter. Raises ``EngineError`` if the targets cannot be adapted."""
    lora, names = spec.lora, choose_layers(model, spec.lora)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(names),
        fan_in_fan_out=all(isinstance(model.get_submodule(name), Conv1D) for name in names),
        task_type="CAUSAL_LM",
    )


def prompt_dataset(rows: list[Row], renderer: Renderer) -> Dataset:
    """The rows as TRL reads them, rendered here: TRL would apply the template without tools and rewrites."""

    def look_up(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [rows[i] for i in batch["row"]]
        prompts = [renderer.render(row.messages, row.tools) for row in chosen]
        return {"prompt": prompts, "row": batch["row"]}

    return Dataset.from_dict({"row": list(range(len(rows)))}).with_transform(look_up)


def build_trainer(
    spec: JobSpec,
    out: Path,
    base: Base,
    rows: list[Row],
    recorder: Recorder,
    steps: int,
    plan: MemoryPlan,
    emit: Callable[[Event], None],
    start: PeftModel | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> MeasuringTrainer:
    """The trainer with a fresh adapter on the base model, or with the one that ``start`` continues.

    Equal specs give equal initial weights.
    """
    shares = shares_prompts(spec, base)
    if shares:
        shared_prefix.prepare(base.model)
    emit(LogEvent(message=SHARED if shares else PLAIN.format(base.model.config.model_type)))
    sampling = backends.choose(base.model.device.type, shares)
    emit(LogEvent(message=sampling.message))

    def shrunk(tokens: int) -> None:
        emit(LogEvent(level="warning", message=SHRUNK.format(tokens)))

    trainer = MeasuringTrainer(
        model=start or base.model,
        args=grpo_config(spec, out, steps, plan, sampling),
        train_dataset=prompt_dataset(rows, base.renderer),
        processing_class=base.tokenizer,
        peft_config=None if start else lora_config(spec, base.model),
        recorder=recorder,
        plan=plan,
        shares=shares,
        shrunk=shrunk,
        check_stop=check_stop,
        balance=Balance.of(spec, rows),
    )
    if start:
        keep_reference(start)
    trainer.remove_callback(PrinterCallback)
    return trainer


@dataclass
class Reporter(TrainerCallback):  # type: ignore[misc]
    """Emits the events of training, writes checkpoints and stops when told to.

    The evaluation after step N runs before step N + 1 and after the checkpoint of step N, so that a resume
    from N repeats it and none is lost.
    """

    spec: JobSpec
    out: Path
    trainer: Keeping
    progress: Progress
    emit: Callable[[Event], None]
    stopping: Callable[[], bool]
    evaluate: Callable[[int], None]
    train_seconds: Callable[[], float]
    alarms: Alarms
    sealed_step: int = 0
    finish: Callable[[], bool] = lambda: False
    pause: errors.Paused | None = None
    _judges: JudgeWatch = field(default_factory=JudgeWatch)
    _ungraded: int = 0
    _errors_told: int = 0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._evaluate_if_due()
        self.progress.pause_clock()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.trainer.remember()
        state, control = self.trainer.state, self.trainer.control
        last = state.global_step >= state.max_steps
        due = state.global_step % self.spec.grpo.checkpoint_every == 0
        if parallel.size() > 1:  # an evaluation that is broken off saves nothing: followers would not
            due = due or self._is_evaluated(state.global_step)
        ends = last or self.stopping() or self.finish()
        control.should_save, control.should_training_stop = due or ends, ends

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        if "loss" not in logs:
            return  # TRL's summary at the end
        step, total = self.trainer.state.global_step, self.trainer.state.max_steps
        recorder = self.trainer.recorder
        values = {**self.trainer.take_metrics(logs["step_time"]), **logs}
        values |= self.alarms.measure(step, recorder)
        finite = {name: float(v) for name, v in values.items() if v is not None and math.isfinite(v)}
        rollouts = recorder.rollouts
        self.emit(MetricsEvent(step=step, total_steps=total, values=finite))
        self.emit(RolloutsEvent(step=step, rollouts=rollouts))
        self._refuse_not_finite(step, logs, self.trainer.state.log_history)
        self._watch_grading(step, all(rollout.reward is None for rollout in rollouts))
        self._pause_for(self.alarms.step(step, finite, recorder))
        self.progress.step()
        agree(self.trainer.control)

    def on_save(self, *_: Any, **__: Any) -> None:
        step = self.trainer.state.global_step
        written = Path(self.trainer.args.output_dir) / f"checkpoint-{step}"
        final = self.out / "checkpoints" / f"step-{step}"
        try:
            if self.trainer.not_saved:
                raise OSError(errno.ENOSPC, self.trainer.not_saved)
            self.alarms.save(written)
            checkpoint.seal(written, final, step, self.train_seconds(), checkpoint.fingerprint(self.spec))
        except OSError as error:
            self._go_on_without(step, written, error)
            return
        self.sealed_step = step
        self.emit(CheckpointEvent(step=step, path=str(final.relative_to(self.out))))

    def _go_on_without(self, step: int, written: Path, error: OSError) -> None:
        """A full disk costs a checkpoint, not the job, unless the job ends with this step."""
        shutil.rmtree(written, ignore_errors=True)
        if not errors.is_disk_full(error) or self.trainer.control.should_training_stop:
            raise error
        self.emit(LogEvent(level="warning", message=NOT_SAVED.format(step, error.strerror)))

    def stop_here(self) -> None:
        """A step was broken off: the last whole step is saved, as if nothing had begun after it."""
        if self.trainer.go_back():
            self._save_now(self.trainer.state.global_step)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if not self.stopping() and not self.pause:
            self._evaluate_if_due()
        shutil.rmtree(self.trainer.args.output_dir, ignore_errors=True)

    def _evaluate_if_due(self) -> None:
        step = self.trainer.state.global_step
        if not self._is_evaluated(step):
            return
        try:
            self.progress.pause_clock()
            self.evaluate(step)
        except (errors.Stopped, errors.Paused):
            self.trainer.go_back()  # the next epoch's order has been drawn already, and will be again
            self._save_now(step)
            raise

    def _is_evaluated(self, step: int) -> bool:
        every = self.spec.evaluation.every
        return every > 0 and step > 0 and step % every == 0

    def _save_now(self, step: int) -> None:
        if self.sealed_step != step:
            self.trainer._save_checkpoint(self.trainer.model, trial=None)
            self.on_save()

    def _refuse_not_finite(
        self, step: int, logs: dict[str, Any], before: Sequence[dict[str, Any]] = ()
    ) -> None:
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise errors.not_finite(step, name, logs[name], before[-6:])

    def _pause_for(self, reason: errors.Paused | None) -> None:
        self.pause = self.pause or reason
        if self.pause:
            self.trainer.control.should_save = self.trainer.control.should_training_stop = True

    def _watch_grading(self, step: int, nothing_graded: bool) -> None:
        """Says in the log why gradings fail (ten times at most); pauses or ends a job without grades."""
        self._pause_for(self._judges.step(step, self.trainer.recorder.rollouts))
        detail = self.trainer.recorder.first_failure()
        if detail and self._errors_told < 10:
            self._errors_told += 1
            self.emit(LogEvent(level="warning", message=f"step {step}: grading failed: {detail}"))
        self._ungraded = self._ungraded + 1 if nothing_graded else 0
        if self._ungraded == STEPS_WITHOUT_GRADE and not self.pause:
            raise errors.grading_failed(f"of {STEPS_WITHOUT_GRADE} steps in a row", detail)


class Following(TrainerCallback):  # type: ignore[misc]
    """In a follower: what the leader decided at a step's end is done here, too."""

    def on_log(self, _: Any, __: Any, control: Any, logs: dict[str, Any], **___: Any) -> None:
        if "loss" in logs:
            agree(control)


def agree(control: Any) -> None:
    """The leader's word on saving and stopping becomes every process's."""
    told = parallel.leaders((control.should_save, control.should_training_stop))
    control.should_save, control.should_training_stop = told


def threads(cores: int) -> None:
    """PyTorch uses the cores the job was given and no more."""
    torch.set_num_threads(cores)
