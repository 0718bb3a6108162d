"""Failures of a job, each with a code, the cause and a remedy for the person who launched it."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from workers.contract.events import DoneEvent, ErrorEvent, Event
from workers.contract.health import Finding


class EngineError(Exception):
    """A failure of the job. It becomes an ``error`` event."""

    def __init__(self, code: str, message: str, remedy: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.remedy, self.detail = code, message, remedy, detail


class Paused(EngineError):
    """The job pauses until somebody removes the cause. Complete steps have been saved."""


class Stopped(Exception):
    """The job was stopped by SIGTERM. Complete steps have been saved."""


# --- data ------------------------------------------------------------------------------------------


def file_missing(path: Path) -> EngineError:
    return EngineError(
        "data_missing",
        f"The data file {path.name} is not at {path}.",
        "Launch the job again. That writes its files anew.",
    )


def hash_differs(path: Path, expected: str, found: str) -> EngineError:
    return EngineError(
        "data_hash_mismatch",
        f"The data file {path.name} is not the one of this job: its sha256 is {found}, expected {expected}.",
        "The file changed or was cut short after the job was launched. Launch the job again.",
    )


def bad_row(path: Path, line: int, reason: str) -> EngineError:
    return EngineError(
        "data_row_invalid",
        f"{path.name}, line {line}: {reason}.",
        "Correct the row in the dataset, upload a new version and launch the job with it.",
    )


def no_demonstrations() -> EngineError:
    return EngineError(
        "too_few_rows",
        "The job has no demonstrations to learn from.",
        "Choose another source of demonstrations: accepted rollouts, or a template over rows' fields.",
    )


def foreign_demonstrations(row_ids: list[str]) -> EngineError:
    return EngineError(
        "data_row_invalid",
        f"{len(row_ids)} demonstrations do not belong to rows of the train split: {', '.join(row_ids[:5])}.",
        "Remove them: held-out rows that are trained on cannot measure an improvement.",
    )


def demonstrations_too_long(row_ids: list[str], limit: int) -> EngineError:
    return EngineError(
        "demonstration_too_long",
        f"{len(row_ids)} demonstrations have more than {limit} tokens with their end: "
        f"{', '.join(row_ids[:5])}.",
        "Raise the maximum completion length, or remove them: an evaluation would cut such completions.",
    )


def too_few_rows(rows: int, needed: int) -> EngineError:
    return EngineError(
        "too_few_rows",
        f"The training split has {rows} rows, but one step needs {needed} different prompts.",
        f"Add rows, or set prompts per step to {max(rows, 1)} or less.",
    )


def unknown_task(split: str, row_id: str, task: str, known: list[str]) -> EngineError:
    return EngineError(
        "data_row_invalid",
        f"Row {row_id} of the {split} split belongs to the task {task!r}; the job has {', '.join(known)}.",
        "Add the task to the job, or remove its rows from the split.",
    )


def task_without_rows(tasks: list[str]) -> EngineError:
    return EngineError(
        "data_missing",
        f"No row of the train split belongs to {', '.join(tasks)}.",
        "Add training rows to every task, or remove the task from the job.",
    )


def rows_too_long(split: str, row_ids: list[str], longest: int, limit: int) -> EngineError:
    listed = ", ".join(row_ids[:5]) + (" and others" if len(row_ids) > 5 else "")
    return EngineError(
        "prompt_too_long",
        f"{len(row_ids)} rows of the {split} split are longer than {limit} tokens "
        f"(the longest has {longest}): {listed}.",
        "Raise the maximum prompt length, or shorten or remove these rows.",
    )


def context_too_short(needed: int, context: int) -> EngineError:
    return EngineError(
        "context_too_short",
        f"The longest prompt and its completion need {needed} tokens; the model's context has {context}.",
        "Lower the maximum completion length, shorten the longest rows, or choose another base model.",
    )


def no_held_out_rows() -> EngineError:
    return EngineError(
        "no_held_out_rows",
        "The dataset has neither a validation nor a test split, so no improvement can be measured.",
        "Set a validation or test share above zero in the dataset.",
    )


# --- machine ---------------------------------------------------------------------------------------


def cuda_missing() -> EngineError:
    return EngineError(
        "cuda_missing",
        "The job needs a GPU, but PyTorch on this worker finds none.",
        "Install the CUDA build of torch and check nvidia-smi, or launch the job on CPU.",
    )


def uneven_prompts(prompts: int, processes: int) -> EngineError:
    return EngineError(
        "uneven_prompts",
        f"The {prompts} prompts of a step cannot be divided evenly among {processes} GPUs.",
        f"Set the prompts per step to a multiple of {processes}, or choose another number of GPUs.",
    )


def follower_lost(rank: int) -> EngineError:
    return EngineError(
        "follower_lost",
        f"The process on the job's GPU {rank} ended before the job did.",
        "See the job's log for the reason, then resume the job from its last checkpoint.",
    )


def drifted(step: int) -> EngineError:
    return EngineError(
        "drifted",
        f"After step {step} the job's processes no longer hold the same adapter.",
        "A bug in Groove or a faulty device. Resume from the last checkpoint, with one GPU if it recurs.",
    )


def out_of_memory(detail: str) -> EngineError:
    return EngineError(
        "out_of_memory",
        "The GPU's memory is too small for this job.",
        "Lower the completion length, the group size or the prompts per step, or use a larger GPU.",
        detail,
    )


DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DISK_FULL_WORDS = (
    "no space left",
    "file too large",
    "disk quota",
    "writestream",
    "iostream error",
    "unexpected pos",  # torch.save: fewer bytes arrived in the file than were written
)


def is_disk_full(error: BaseException) -> bool:
    """Return True if there was no space to write. Libraries in Rust and C++ report it in the text only."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return True
    text = str(error).lower()
    return any(words in text for words in DISK_FULL_WORDS)


def disk_full(detail: str) -> Paused:
    return Paused(
        "disk_full",
        "The worker's disk is full, so the job was paused.",
        "Free space on the disk of the job folders, then resume the job from its last checkpoint.",
        detail,
    )


# --- grading ---------------------------------------------------------------------------------------


def grading_unavailable(reason: str, remedy: str) -> EngineError:
    return EngineError("grading_unavailable", f"The grader cannot run here: {reason}", remedy)


def grader_invalid(reason: str) -> EngineError:
    return EngineError(
        "grader_invalid",
        f"The grader's definition cannot grade anything: {reason}",
        "Correct the grader, save it as a new version and launch the job with it.",
    )


def judge_failing(where: str, detail: str) -> Paused:
    return Paused(
        "judge_failing",
        f"The judge failed {where}, so the job was paused: groups without a grade teach nothing.",
        "Check the judge's endpoint, key, limits and budget under Judges, then resume the job.",
        detail,
    )


def environment_fault(cause: str, remedy: str, line: int | None) -> EngineError:
    place = "" if line is None else f", line {line} of its source"
    return EngineError("environment_failed", f"The environment failed{place}: {cause}", remedy)


def environment_differs(row_id: str, prompt: str) -> EngineError:
    return EngineError(
        "environment_changed",
        f"The environment now begins the task of row {row_id} with another prompt than the dataset has.",
        "Create the dataset of tasks again from this version of the environment. If they differ even then, "
        "its reset() is not a function of the task alone.",
        prompt[:1000],
    )


def template_without_calls() -> EngineError:
    return EngineError(
        "template_without_tools",
        "The environment has tools, but the chat template of the base model shows none, or writes calls in a "
        "form that is not known here.",
        "Choose a base model that is trained to call tools, or a chat template that shows them.",
    )


def grading_failed(where: str, detail: str) -> EngineError:
    return EngineError(
        "grading_failed",
        f"The grader failed on every completion {where}, so there is no reward to learn from.",
        "Try the grader on a few rows in its test pane and correct it.",
        detail,
    )


def alarm_raised(step: int, finding: Finding) -> Paused:
    return Paused(
        finding.rule.code,
        f"Paused at step {step}: {finding.rule.message}",
        finding.rule.remedy,
        f"Rule: {finding.threshold}. Measured: {finding.summary}.",
    )


# --- training, checkpoints, package ----------------------------------------------------------------


def preflight_against(reason: str, remedy: str) -> Paused:
    return Paused(
        "preflight",
        f"The preflight advises against training: {reason}",
        f"{remedy} Or resume the job to train against the advice.",
    )


def not_finite(step: int, name: str, value: float, course: Sequence[Mapping[str, float]] = ()) -> EngineError:
    """``course`` is the trainer's log of the steps before the breakdown."""
    names = ("step", "reward", "loss", "grad_norm", "entropy")
    lines = [", ".join(f"{key} {each[key]:.4g}" for key in names if key in each) for each in course]
    return EngineError(
        "not_finite",
        f"Training broke down at step {step}: {name} is {value}.",
        "Check the rollouts of this step and the gradient norm before it. Lower the learning rate or the "
        "clipping norm of gradients, then launch a clone; the last checkpoint is from before the breakdown.",
        "\n".join(lines),
    )


def checkpoint_damaged(path: Path, reason: str) -> EngineError:
    return EngineError(
        "checkpoint_damaged",
        f"The checkpoint {path} cannot be used: {reason}.",
        "Resume from an earlier checkpoint, or launch the job again.",
    )


def checkpoint_of_other_job(path: Path) -> EngineError:
    return EngineError(
        "checkpoint_mismatch",
        f"The checkpoint {path} belongs to a job with other settings, data or grader.",
        "Resume with the spec that wrote it, or launch the job again.",
    )


def weights_unchanged() -> EngineError:
    return EngineError(
        "weights_unchanged",
        "Training left the adapter's weights exactly as they were, so there is nothing to package.",
        "Check the share of groups without signal: if it is 1, all completions of a prompt had the same "
        "reward. Change the grader or the data, or raise the learning rate or the number of steps.",
    )


def package_not_reproduced(detail: str) -> EngineError:
    return EngineError(
        "package_not_reproduced",
        "The packaged adapter, loaded in a fresh process, does not reproduce the trainer's "
        "log-probabilities, so it was not released.",
        "This is a bug in Groove or a faulty machine. Resume from the last checkpoint to package again.",
        detail,
    )


def unexpected(error: BaseException, detail: str) -> EngineError:
    return EngineError(
        "unexpected",
        f"The engine met an unexpected error: {type(error).__name__}: {error}",
        "This is a bug in Groove. Report it with the detail, and resume from the last checkpoint.",
        detail,
    )


def emit_failure(
    emit: Callable[[Event], None], error: Exception, step: int = 0, train_seconds: float = 0.0
) -> None:
    """Emit why the job fails or pauses, and its end. Any other error than ``EngineError`` is a bug."""
    known = _classify(error)
    print(f"{known.code}: {known.message} {known.remedy}\n{known.detail}", file=sys.stderr)
    emit(ErrorEvent(code=known.code, message=known.message, remedy=known.remedy, detail=known.detail))
    outcome: Literal["paused", "failed"] = "paused" if isinstance(known, Paused) else "failed"
    emit(DoneEvent(outcome=outcome, step=step, train_seconds=train_seconds))


def _classify(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    detail = "".join(traceback.format_exception(error))
    if type(error).__name__ == "OutOfMemoryError":
        return out_of_memory(detail)
    if is_disk_full(error):
        return disk_full(detail)
    return unexpected(error, detail)
