"""Trainer callbacks: events, checkpoints, evaluations and the decision to stop."""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from workers.contract.events import CheckpointEvent, Event, LogEvent, MetricsEvent, RolloutsEvent
from workers.contract.spec import JobSpec
from workers.engine import checkpoint, errors, parallel
from workers.engine.progress import Progress
from workers.engine.training.alarms import Alarms
from workers.engine.training.checkpointing import CheckpointingMixin
from workers.engine.training.judge_failures import JudgeFailures

NOT_SAVED = "The checkpoint of step {} was not written: {}. The next one is tried when it is due."
STEPS_WITHOUT_GRADE = 3  # consecutive steps without any grade that end the job
GRADING_WARNINGS = 10  # the log repeats the reason of failed gradings this often at most
COURSE = 6  # steps of the trainer's log that an error about a breakdown shows


@dataclass
class Reporter(TrainerCallback):  # type: ignore[misc]
    """Emits the events of training, writes checkpoints and stops on request.

    The evaluation after step N runs before step N + 1 and after the checkpoint of step N. A resume from N
    therefore repeats it, and none is lost.
    """

    spec: JobSpec
    out: Path
    trainer: CheckpointingMixin
    progress: Progress
    emit: Callable[[Event], None]
    stopping: Callable[[], bool]
    evaluate: Callable[[int], None]
    train_seconds: Callable[[], float]
    alarms: Alarms
    should_finish: Callable[[], bool]
    sealed_step: int = 0
    pause: errors.Paused | None = None
    _judge_failures: JudgeFailures = field(default_factory=JudgeFailures)
    _steps_without_grade: int = 0
    _grading_warnings: int = 0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._evaluate_if_due()
        self.progress.pause_clock()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.trainer.remember_state()
        state, control = self.trainer.state, self.trainer.control
        last = state.global_step >= state.max_steps
        due = state.global_step % self.spec.grpo.checkpoint_every == 0
        due = due or self._is_evaluated(state.global_step)  # its reward will say if it is worth keeping
        ends = last or self.stopping() or self.should_finish()
        control.should_save, control.should_training_stop = due or ends, ends

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        if "loss" not in logs:
            return  # TRL's summary at the end
        step, recorder = self.trainer.state.global_step, self.trainer.recorder
        values = {**self.trainer.take_metrics(logs["step_time"]), **logs}
        values |= self.alarms.measure_gains(step, recorder)
        finite = self.emit_metrics(values)
        self.emit(RolloutsEvent(step=step, rollouts=recorder.rollouts))
        self.refuse_not_finite(step, logs, self.trainer.state.log_history)
        self._check_grading(step)
        self._pause_for(self.alarms.check_step(step, finite, recorder))
        self.progress.count_step()
        share_decision(self.trainer.control)

    def emit_metrics(self, values: Mapping[str, float | None]) -> dict[str, float]:
        """Emit the step's finite values and return them."""
        state = self.trainer.state
        finite = {name: float(v) for name, v in values.items() if v is not None and math.isfinite(v)}
        self.emit(MetricsEvent(step=state.global_step, total_steps=state.max_steps, values=finite))
        return finite

    def on_save(self, *_: Any, **__: Any) -> None:
        step = self.trainer.state.global_step
        written = Path(self.trainer.args.output_dir) / f"checkpoint-{step}"
        final = self.out / "checkpoints" / f"step-{step}"
        try:
            if self.trainer.save_problem:
                raise OSError(errno.ENOSPC, self.trainer.save_problem)
            self.alarms.save(written)
            checkpoint.seal(written, final, step, self.train_seconds(), checkpoint.fingerprint(self.spec))
        except OSError as error:
            shutil.rmtree(written, ignore_errors=True)
            # A full disk costs a checkpoint, and the job only if it ends with this step.
            if not errors.is_disk_full(error) or self.trainer.control.should_training_stop:
                raise
            self.emit(LogEvent(level="warning", message=NOT_SAVED.format(step, error.strerror)))
            return
        self.sealed_step = step
        self.emit(CheckpointEvent(step=step, path=str(final.relative_to(self.out))))

    def save_interrupted(self) -> None:
        """Save the last complete step after the next one was interrupted."""
        if self.trainer.undo_step():
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
            # TRL has drawn the order of the next epoch already and draws it again after the resume.
            self.trainer.undo_step()
            self._save_now(step)
            raise

    def _is_evaluated(self, step: int) -> bool:
        every = self.spec.evaluation.every
        return every > 0 and step > 0 and step % every == 0

    def _save_now(self, step: int) -> None:
        if self.sealed_step != step:
            self.trainer._save_checkpoint(self.trainer.model, trial=None)
            self.on_save()

    def refuse_not_finite(
        self, step: int, logs: Mapping[str, float], history: Sequence[Mapping[str, float]] = ()
    ) -> None:
        """Raise ``EngineError`` if loss or gradient norm is infinite or not a number."""
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise errors.not_finite(step, name, logs[name], history[-COURSE:])

    def _pause_for(self, reason: errors.Paused | None) -> None:
        self.pause = self.pause or reason
        if self.pause:
            self.trainer.control.should_save = self.trainer.control.should_training_stop = True

    def _check_grading(self, step: int) -> None:
        """Log why gradings fail. Pause the job if its judges fail, end it if nothing is graded any more."""
        recorder = self.trainer.recorder
        self._pause_for(self._judge_failures.check_step(step, recorder.rollouts))
        detail = recorder.first_failure()
        if detail and self._grading_warnings < GRADING_WARNINGS:
            self._grading_warnings += 1
            self.emit(LogEvent(level="warning", message=f"step {step}: grading failed: {detail}"))
        nothing_graded = all(rollout.reward is None for rollout in recorder.rollouts)
        self._steps_without_grade = self._steps_without_grade + 1 if nothing_graded else 0
        if self._steps_without_grade == STEPS_WITHOUT_GRADE and not self.pause:
            raise errors.grading_failed(f"of {STEPS_WITHOUT_GRADE} steps in a row", detail)


class FollowerCallback(TrainerCallback):  # type: ignore[misc]
    """Applies the leader's decision at the end of a step in a follower."""

    def on_log(self, _: Any, __: Any, control: Any, logs: dict[str, Any], **___: Any) -> None:
        if "loss" in logs:
            share_decision(control)


def share_decision(control: Any) -> None:
    """Give every process the leader's decision on saving and stopping."""
    decision = parallel.broadcast((control.should_save, control.should_training_stop))
    control.should_save, control.should_training_stop = decision
