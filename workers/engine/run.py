"""One job from its spec to its package: prepare, measure the base, train, compare, package."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from workers.contract.base_models import model_config
from workers.contract.events import DoneEvent, EvaluationEvent, Event, LogEvent
from workers.contract.memory import Estimate, estimate
from workers.contract.methods import METHODS
from workers.contract.spec import DataFile, JobSpec
from workers.contract.workload import RemainingWork, Workload
from workers.engine import checkpoint, errors, parallel
from workers.engine.base_model import initial_adapter, model_errors
from workers.engine.base_model.models import Base, adapter_sha256, embedding_rows, load, pick_device
from workers.engine.base_model.targets import describe_frozen, find_layers
from workers.engine.episodes.environments import offer_tools, open_environments
from workers.engine.episodes.player import Player
from workers.engine.episodes.writers import TurnSampling
from workers.engine.evaluation import retention, task_graders
from workers.engine.evaluation.evaluate import Evaluator, Split
from workers.engine.evaluation.preflight import Preflight
from workers.engine.fast.architecture import is_known
from workers.engine.memory import plan_memory, shape_of
from workers.engine.packaging import package
from workers.engine.progress import Progress
from workers.engine.prompts.data import Row, find_file, read_rows
from workers.engine.prompts.rendering import RenderingError
from workers.engine.sampling.batches import Sampler
from workers.engine.sampling.scoring import refuse_disagreement
from workers.engine.training.alarms import Alarms, open_held_out_grader
from workers.engine.training.checkpointing import CheckpointingMixin
from workers.engine.training.early_finish import EarlyFinish, check_promotion, never_finish, share_end
from workers.engine.training.grpo import shares_prompts
from workers.engine.training.interface import TrainContext, TrainingMethod
from workers.engine.training.methods import open_method
from workers.engine.training.reporting import FollowerCallback
from workers.engine.training.trainer import MeasuringTrainer
from workers.environments.backend import Backend
from workers.grading import (
    GradeAnswers,
    GradeResult,
    GraderInvalid,
    GradingUnavailable,
    Judges,
)

MEMORY = "About {:.2f} GiB of memory will be needed, with passes of at most {:,} tokens (an estimate)."
PROBED_ROWS = 16  # the shortest and the longest of these prompts check an unknown architecture
THOUGHTS = {
    "final": "The model can think between {} and {}. Graders see the final answer, and thoughts as "
    "sample.reasoning; a completion cut inside its thoughts has an empty final answer.",
    "whole": "The model can think between {} and {}. Graders see the whole completion, thoughts included.",
}
LOST_SECONDS = 5.0  # a follower whose end broke a collective operation is found within this time
Emit = Callable[[Event], None]


@dataclass(frozen=True)
class HeldOut:
    """Rows that base and tuned are compared on. ``final`` is the sealed test split if there is one."""

    validation: list[Row]
    final: list[Row]
    final_split: Split


@dataclass
class Job:
    """One run of the engine on one spec.

    ``stopping`` is true once the job must stop, ``finishing`` once its training must end early.
    """

    spec: JobSpec
    folder: Path
    out: Path
    emit: Emit
    stopping: Callable[[], bool]
    judges: Judges = field(default_factory=Judges)
    finishing: Callable[[], bool] = never_finish
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    step: int = 0
    progress: Progress | None = None
    memory: Estimate | None = None
    method: TrainingMethod = field(init=False)
    alarms: Alarms = field(init=False)
    _retention: retention.Retention = field(init=False)
    _trained_before: float = 0.0
    _longest_prompt: int = 1
    _train_began: float | None = None
    _train_ended: float | None = None

    def __post_init__(self) -> None:
        self.method = open_method(self.spec, self.folder)
        self.alarms = self.method.alarms(self.spec.alarm, self.emit, self.spec.evaluation.pass_threshold)

    @property
    def train_seconds(self) -> float:
        """Wall time of training and its evaluations, with that of earlier attempts up to their checkpoint."""
        if self._train_began is None:
            return self._trained_before
        return self._trained_before + (self._train_ended or time.perf_counter()) - self._train_began

    def run(self, resume: Path | None) -> Path:
        """Do the whole job and return its package. Raises ``EngineError`` or ``Stopped``."""
        spec = self.spec
        started_from = checkpoint.open_checkpoint(resume, checkpoint.fingerprint(spec)) if resume else None
        check_promotion(spec, started_from)
        if started_from:
            self.step, self._trained_before = started_from.step, started_from.train_seconds
            self.alarms.load(started_from.path)
        train_rows, held_out = self._read()
        steps = self.method.count_steps(len(train_rows))
        work = self._build_workload(train_rows, held_out, steps)
        progress = Progress(
            self.emit, steps - self.step, work.remaining_after(self.step), spec.grpo.rollouts_per_step
        )
        self.progress = progress
        try:
            with (
                task_graders.open_by_task(spec, self.judges) as grade,
                open_held_out_grader(spec, self.judges) as held_out_grade,
                retention.open_suites(spec, self.folder, self.judges) as suites,
                open_environments(spec, self.secrets) as environments,
            ):
                offer_tools(environments, [*train_rows, *held_out.validation, *held_out.final])
                base = self._load(train_rows, held_out, suites)
                player = self._build_player(base, environments, self._choose_check(progress))
                trainer, evaluator = self._build(base, train_rows, grade, steps, progress, player)
                self._retention = retention.Retention.create(suites, evaluator, progress)
                trainer.recorder.held_out = held_out_grade
                trainer.recorder.held_out_answers = spec.alarm.held_out_answers
                initial = adapter_sha256(trainer.model)
                if started_from is None:
                    self._measure_base(evaluator, held_out, progress)
                    self._preflight(trainer, evaluator, train_rows, progress, work)
                finish = EarlyFinish(self.finishing, trainer, initial)
                self._train(trainer, evaluator, held_out, progress, started_from, steps, finish)
                progress.end_training(work.after_training())
                lineage = self._compare(base, evaluator, held_out, progress, initial, steps)
        except GradingUnavailable as error:
            raise errors.grading_unavailable(error.reason, error.remedy) from error
        except GraderInvalid as error:
            raise errors.grader_invalid(str(error)) from error
        progress.enter("package", total=1, unit="packages")
        return package.build(lineage, trainer, evaluator.sampler, self.out, self.check_stop)

    def follow(self, resume: Path | None) -> None:
        """Train with the leader, in a follower, and do nothing else."""
        started_from = (
            checkpoint.open_checkpoint(resume, checkpoint.fingerprint(self.spec)) if resume else None
        )
        train_rows, held_out = self._read()
        steps = self.method.count_steps(len(train_rows))
        progress = Progress(self.emit, steps, RemainingWork())
        base = self._load(train_rows, held_out, [])
        with open_environments(self.spec, self.secrets) as environments:
            offer_tools(environments, train_rows)
            player = self._build_player(base, environments, self._choose_check(progress))
            trainer, _ = self._build(base, train_rows, _refuse_to_grade, steps, progress, player)
            trainer.add_callback(FollowerCallback())
            if not share_end(started_from):
                trainer.train(resume_from_checkpoint=str(started_from.path) if started_from else None)

    def check_stop(self, _: int = 0) -> None:
        """Raises ``Stopped`` once the job must stop. Long operations call it often."""
        if self.progress:
            self.progress.emit_if_due()
        if self.stopping():
            raise errors.Stopped

    # --- prepare ---------------------------------------------------------------------------------

    def _read(self) -> tuple[list[Row], HeldOut]:
        files, spec = self.spec.dataset, self.spec
        settings = spec.evaluation

        def rows(file: DataFile | None) -> list[Row]:
            return read_rows(find_file(file, self.folder)) if file and file.rows else []

        train, validation, test = rows(files.train), rows(files.validation), rows(files.test)
        if not validation and not test:
            raise errors.no_held_out_rows()
        task_graders.check_tasks(spec, {"train": train, "validation": validation, "test": test})
        final, split = (test, "test") if test else (validation, "validation")
        return train, HeldOut(
            task_graders.sample_each_task(validation, settings.validation_max_rows, spec.seed),
            task_graders.sample_each_task(final, settings.max_rows, spec.seed),
            "test" if split == "test" else "validation",
        )

    def _build_workload(self, train: list[Row], held_out: HeldOut, steps: int) -> Workload:
        spec = self.spec
        return Workload(
            spec.evaluation,
            spec.preflight,
            spec.grpo.group_size,
            steps,
            train=len(train),
            validation=len(held_out.validation),
            final=len(held_out.final),
            suites=[suite.rows.rows for suite in spec.suites],
            has_preflight=METHODS[spec.method].has_preflight,
        )

    def _load(self, train: list[Row], held_out: HeldOut, suites: list[retention.OpenSuite]) -> Base:
        spec = self.spec
        if spec.grpo.prompts_per_step % parallel.size():
            raise errors.uneven_prompts(spec.grpo.prompts_per_step, parallel.size())
        torch.set_num_threads(max(1, spec.resources.cpu_cores // parallel.size()))
        base = load(spec.base_model, self.folder, pick_device(spec.resources.device), spec.chat)
        splits = {"train": train, "held-out": [*held_out.validation, *held_out.final]}
        self._check_lengths(base, splits | {f"suite {suite.name}": suite.rows for suite in suites})
        self._log_rendering(base, train[0])
        if held_out.final_split == "validation":
            message = "There is no test split: base and tuned are compared on the validation rows at the end."
            self.emit(LogEvent(level="warning", message=message))
        self.check_stop()
        return base

    def _log_rendering(self, base: Base, row: Row) -> None:
        """Log what graders do not see of a completion."""
        if markers := base.renderer.markers:
            message = THOUGHTS[self.spec.chat.grade].format(markers.open, markers.close)
            self.emit(LogEvent(message=message))
        elif prefix := base.renderer.find_generation_prefix(row.messages):
            message = f"The chat template begins every completion with {prefix!r}; graders see what follows."
            self.emit(LogEvent(level="warning", message=message))

    def _check_lengths(self, base: Base, splits: dict[str, list[Row]]) -> None:
        """Raise ``EngineError`` with the rows that are too long, before any time is spent on them."""
        limit, longest_of_all = self.spec.grpo.max_prompt_length, 0
        for split, rows in splits.items():
            lengths = {row.row_id: self._count_tokens(base, row) for row in rows}
            longest = max(lengths.values(), default=0)
            if longest > limit:
                too_long = [row_id for row_id, length in lengths.items() if length > limit]
                raise errors.rows_too_long(split, too_long, longest, limit)
            longest_of_all = max(longest_of_all, longest)
        self._longest_prompt = longest_of_all
        needed = longest_of_all + self.spec.grpo.max_completion_length
        context = model_config.find(base.model.config.get_text_config(), "context")
        if context is not None and needed > context:
            raise errors.context_too_short(needed, context)

    def _count_tokens(self, base: Base, row: Row) -> int:
        try:
            ids = base.renderer.encode(row.messages, row.tools)
        except RenderingError as error:
            raise model_errors.template_refuses(base.ref.id, row.row_id, str(error)) from error
        if (largest := max(ids, default=0)) >= embedding_rows(base.model):
            raise model_errors.tokens_beyond_model(base.ref.id, largest, embedding_rows(base.model))
        return len(ids)

    def _choose_check(self, progress: Progress) -> Callable[[], None]:
        """Return what training calls often: it stops the job, or only reports progress.

        With followers no step is interrupted: they would wait for ever for its end.
        """
        return self.check_stop if parallel.size() == 1 else progress.emit_if_due

    def _build_player(
        self, base: Base, environments: dict[str, Backend], check: Callable[[], None]
    ) -> Player | None:
        """Return what plays the rows that have an environment; ``None`` if no row has one."""
        if not environments:
            return None
        grpo = self.spec.grpo
        sampling = TurnSampling(base.renderer, grpo.temperature, base.eos_ids, check)
        return Player.create(environments, sampling, self.spec.episode, grpo.max_completion_length)

    def _build(
        self,
        base: Base,
        train: list[Row],
        grade: GradeAnswers,
        steps: int,
        progress: Progress,
        player: Player | None,
    ) -> tuple[CheckpointingMixin, Evaluator]:
        spec = self.spec
        recorder = self.method.build_recorder(train, grade, base)
        work = replace(self.method.describe_work(self._longest_prompt), shares=shares_prompts(spec, base))
        plan = plan_memory(base.model, spec.lora.rank, work)
        self.memory = estimate(
            shape_of(base.model), spec.lora.rank, work, plan.tokens, plan.gradient_checkpointing
        )
        self.emit(LogEvent(message=MEMORY.format(self.memory.total / 2**30, plan.tokens)))
        if frozen := describe_frozen(base.model, find_layers(base.model, spec.lora.targets)):
            self.emit(LogEvent(level="warning", message=frozen))
        context = TrainContext(
            self.out,
            base,
            recorder,
            steps,
            plan,
            self.emit,
            initial_adapter=initial_adapter.attach(spec, base.model, self.folder),
            check_stop=self._choose_check(progress),
            player=player,
        )
        trainer = self.method.build_trainer(context)
        if not is_known(base.model):
            prompts = [base.renderer.encode(row.messages, row.tools) for row in train[:PROBED_ROWS]]
            refuse_disagreement(base, trainer, prompts, spec.grpo.temperature)

        def tick(completions: int) -> None:
            progress.count_completions(completions)
            self.check_stop()

        sampler = Sampler(
            base.renderer, base.eos_ids, spec.grpo.temperature, spec.grpo.max_completion_length, tick, player
        )
        evaluator = Evaluator(
            trainer.accelerator.unwrap_model(trainer.model),
            sampler,
            grade,
            spec.evaluation,
            spec.seed,
            self.check_stop,
            task_graders.any_compares(spec),
        )
        return trainer, evaluator

    # --- train and compare -----------------------------------------------------------------------

    def _measure_base(self, evaluator: Evaluator, held_out: HeldOut, progress: Progress) -> None:
        """Evaluate the base on validation rows. Without such rows it is measured at the end only."""
        rows, samples = held_out.validation, self.spec.evaluation.validation_samples_per_row
        if rows:
            progress.enter("preflight", total=len(rows) * samples, unit="completions")
            self._emit_evaluation(evaluator, evaluator.evaluate_base(rows, "validation", samples), rows)

    def _preflight(
        self,
        trainer: CheckpointingMixin,
        evaluator: Evaluator,
        train: list[Row],
        progress: Progress,
        work: Workload,
    ) -> None:
        """Emit the preflight. If it advises against training, pause the job unless the spec forbids that."""
        settings = self.spec.preflight
        if not settings.rows or not METHODS[self.spec.method].has_preflight:
            return
        assert isinstance(trainer, MeasuringTrainer), "only that trainer samples as training does"
        each = max(settings.samples_per_row, self.spec.grpo.group_size)
        progress.enter("preflight", total=min(settings.rows, len(train)) * each, unit="completions")
        flight = Preflight(
            self.spec, trainer, evaluator.sampler, evaluator.grade, work.steps, work.final,
            work, self.check_stop,
        )  # fmt: skip
        event = flight.run(train)
        self.emit(event)
        if event.verdict != "go" and settings.on_no_go == "pause":
            raise errors.preflight_against(event.reason, event.remedy)

    def _train(
        self,
        trainer: CheckpointingMixin,
        evaluator: Evaluator,
        held_out: HeldOut,
        progress: Progress,
        started_from: checkpoint.Checkpoint | None,
        steps: int,
        finish: EarlyFinish,
    ) -> None:
        progress.enter("train", done=self.step, total=steps)
        reporter = self.method.reporter(
            spec=self.spec,
            out=self.out,
            trainer=trainer,
            progress=progress,
            emit=self.emit,
            stopping=self.stopping,
            evaluate=partial(self._evaluate, evaluator, held_out),
            train_seconds=lambda: self.train_seconds,
            alarms=self.alarms,
            should_finish=finish,
            sealed_step=self.step,
        )
        trainer.add_callback(reporter)
        self._train_began = time.perf_counter()
        try:
            if finish.load(self.spec, started_from, steps):
                reporter.on_train_end()
            else:
                trainer.train(resume_from_checkpoint=str(started_from.path) if started_from else None)
        except errors.Stopped:
            reporter.save_interrupted()
            raise
        finally:
            self.step, self._train_ended = trainer.state.global_step, time.perf_counter()
        if reporter.pause:
            raise reporter.pause
        self.check_stop()

    def _evaluate(self, evaluator: Evaluator, held_out: HeldOut, step: int) -> None:
        if held_out.validation:
            samples = self.spec.evaluation.validation_samples_per_row
            event = evaluator.compare("during", step, held_out.validation, "validation", samples)
            self._emit_evaluation(evaluator, event, held_out.validation)

    def _emit_evaluation(self, evaluator: Evaluator, event: EvaluationEvent, rows: list[Row]) -> None:
        """Emit the evaluation, the same for each of the job's tasks, and its retention."""
        for each in [event, *evaluator.split_by_task(event, rows)]:
            self.emit(each)
        self.alarms.remember_evaluation(event)
        for retained in self._retention.measure(
            event.stage, event.step, event.split, rows, event.samples_per_row
        ):
            self.emit(retained)

    def _compare(
        self,
        base: Base,
        evaluator: Evaluator,
        held_out: HeldOut,
        progress: Progress,
        initial_sha256: str,
        steps: int,
    ) -> package.Lineage:
        rows, samples = held_out.final, self.spec.evaluation.samples_per_row
        progress.enter("evaluate", total=2 * len(rows) * samples, unit="completions")
        event = evaluator.compare("after", self.step, rows, held_out.final_split, samples)
        self._emit_evaluation(evaluator, event, rows)
        return package.Lineage(self.spec, base, self.step, steps, self.train_seconds, initial_sha256, event)


def _refuse_to_grade(answers: object, groups: object = None) -> list[GradeResult]:
    raise AssertionError("only the leader grades")


def run_job(job: Job, resume: Path | None, followers: parallel.Followers | None = None) -> int:
    """Run ``job``, emit how it ended and return the exit status of the process."""
    try:
        path = job.run(resume)
    except errors.Stopped:
        job.emit(DoneEvent(outcome="stopped", step=job.step, train_seconds=job.train_seconds))
        return 0
    except Exception as error:
        lost = (
            followers.find_lost(LOST_SECONDS)
            if followers and not isinstance(error, errors.EngineError)
            else None
        )
        cause = errors.follower_lost(lost) if lost else error
        errors.emit_failure(job.emit, cause, job.step, job.train_seconds)
        return 0 if isinstance(error, errors.Paused) else 1
    done = DoneEvent(
        outcome="succeeded",
        step=job.step,
        package=str(path.relative_to(job.out)),
        train_seconds=job.train_seconds,
    )
    job.emit(done)
    return 0
