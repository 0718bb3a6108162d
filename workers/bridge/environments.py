"""Environments in the sandbox for pages: inspections, datasets of tasks, plays of people and oracles."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from webapp.environments.findings import Finding, FindingKind, Inspected, Move, Progress, TaskSplit
from webapp.environments.models import EnvironmentInspection, EnvironmentVersion, Play, TaskDataset
from webapp.environments.queues import INSPECTIONS, PLAYS, TASK_DATASETS
from webapp.environments.servers.services import read_secrets
from webapp.environments.task_rows import check_splits, encode_row, store_tasks
from webapp.work.errors import LeaseLost, WorkFailed
from workers.bridge.running import run_item
from workers.contract.environments import EndReason, ToolCall, Turn
from workers.contract.json_types import JsonObject
from workers.environments import checks, open_backend
from workers.environments.backend import Backend, EnvironmentFault, Score, Session, SessionLost
from workers.environments.checks import check_environment
from workers.grading import GradingUnavailable

TITLES: dict[checks.CheckName, str] = {
    "splits": "Every split has tasks of its own",
    "oracle": "The oracle solves the tasks",
    "empty_policy": "Doing nothing earns nothing",
    "constant_policy": "The same calls for every task earn little",
    "determinism": "Equal calls give equal results",
}
EXPLOITS = ("empty_policy", "constant_policy")
SHOWN_TASKS = 100  # of a split, on pages
SESSIONS = 64  # open at a time


def inspect_environment(inspection_id: int) -> None:
    """Run a queued inspection."""
    run_item(INSPECTIONS, inspection_id, _inspect)


def make_task_dataset(made_id: int) -> None:
    """Make a queued dataset of tasks."""
    run_item(TASK_DATASETS, made_id, _make_dataset)


def continue_play(play_id: int) -> None:
    """Replay the moves of a queued play."""
    run_item(PLAYS, play_id, _continue)


@contextmanager
def open_version(version: EnvironmentVersion) -> Iterator[Backend]:
    """Open the version's environment in the sandbox. Raises ``WorkFailed`` with line, cause and remedy."""
    try:
        with open_backend(version.definition, read_secrets([version])) as backend:
            yield backend
    except EnvironmentFault as error:
        line = f"Line {error.line}: " if error.line else ""
        raise WorkFailed(f"{line}{error.cause}.", error.remedy) from error
    except GradingUnavailable as error:
        raise WorkFailed(error.reason, error.remedy) from error


# --- inspections -----------------------------------------------------------------------------------


def _inspect(inspection: EnvironmentInspection, _folder: Path, _lost: threading.Event) -> None:
    with open_version(inspection.version) as backend:
        checked = [] if inspection.version.at_server else check_environment(backend)  # a test plays nothing
        tasks = {split: backend.list_tasks(split) for split in backend.list_splits()}
        every = [task for each in tasks.values() for task in each]
        filled = [{name for name, value in task.items() if value is not None} for task in every]
        found = Inspected(
            system_prompt=backend.system_prompt,
            max_tool_calls=backend.max_tool_calls,
            tools=backend.list_tools(),
            splits=[
                TaskSplit(name=name, count=len(each), tasks=each[:SHOWN_TASKS])
                for name, each in tasks.items()
            ],
            required=sorted(set.intersection(*filled)) if filled else [],
            fields=sorted({name for task in every for name in task}),
            findings=[_describe_finding(each) for each in checked],
        )
    INSPECTIONS.finish(inspection, found=found)


def _describe_finding(checked: checks.Finding) -> Finding:
    """Return a check's result as pages show it. What a model could exploit only warns."""
    kind: FindingKind = "success"
    if not checked.passed:
        kind = "warning" if checked.passed is None or checked.check in EXPLOITS else "error"
    return Finding(
        kind=kind, title=TITLES[checked.check], text=f"{checked.summary[:1].upper()}{checked.summary[1:]}.",
        remedy=checked.remedy, evidence=checked.evidence,
    )  # fmt: skip


# --- datasets of tasks -----------------------------------------------------------------------------


def _make_dataset(made: TaskDataset, folder: Path, lost: threading.Event) -> None:
    path = folder / "tasks.jsonl"
    with open_version(made.version) as backend, path.open("w", encoding="utf-8") as file:
        splits = backend.list_splits()
        check_splits(splits)
        for split in splits:
            for line in _write_rows(backend, split, backend.list_tasks(split)[: made.most], lost):
                file.write(line)
    store_tasks(made, path)


def _write_rows(
    backend: Backend, split: str, tasks: Sequence[JsonObject], lost: threading.Event
) -> Iterator[str]:
    """Yield a row for each task, with the prompt that its session begins with."""
    tools = backend.list_tools()
    for start in range(0, len(tasks), SESSIONS):
        if lost.is_set():
            raise LeaseLost
        some = tasks[start : start + SESSIONS]
        for number, (task, opened) in enumerate(
            zip(some, backend.open_sessions(some), strict=True), start + 1
        ):
            session = _require(opened, f"Task {number} of {split}")
            yield encode_row(split, task, backend.system_prompt, session.prompt, tools)
            session.close()


def _require(opened: Session | SessionLost, what: str) -> Session:
    if isinstance(opened, SessionLost):
        raise WorkFailed(f"{what} did not start: {opened}", "Correct reset, and save a version.")
    return opened


# --- plays -----------------------------------------------------------------------------------------


def _continue(play: Play, _folder: Path, _lost: threading.Event) -> None:
    with open_version(play.version) as backend:
        moves = _find_oracle_moves(backend, play.task) if play.by_oracle else play.moves
        session = _require(backend.open_sessions([play.task])[0], "The task")
        progress = replay(backend, session, moves)
        session.close()
    PLAYS.finish(play, progress=progress, moves=moves)


def _find_oracle_moves(backend: Backend, task: JsonObject) -> list[Move]:
    calls = backend.find_oracle_calls(task)
    if calls is None:
        raise WorkFailed("The environment has no oracle.", "Write a method _oracle that returns the calls.")
    return [{"tool": name, "arguments": arguments} for name, arguments in calls]


def replay(backend: Backend, session: Session, moves: Sequence[Move]) -> Progress:
    """Make the moves in a fresh session until one ends the episode; only then it has a score."""
    turns: list[Turn] = []
    end: EndReason | None = None
    score = Score(None)
    try:
        for move in moves:
            end = _make_move(session, move, turns)
            if end is None and sum(len(turn.tool_calls) for turn in turns) >= backend.max_tool_calls:
                end = "call_limit"
            if end is not None:
                score = session.score()
                break
    except SessionLost as lost:
        end, score = "session_lost", Score(None, feedback=str(lost))
    return Progress(
        system_prompt=backend.system_prompt,
        prompt=session.prompt,
        turns=turns,
        end=end,
        reward=score.reward,
        metrics=score.metrics,
        feedback=score.feedback,
    )


def _make_move(session: Session, move: Move, turns: list[Turn]) -> EndReason | None:
    """Make a move and add its turns. Return why the episode ended, if it did."""
    if "message" in move:
        turns.append(Turn(role="assistant", content=move["message"]))
        reply = session.reply(move["message"])
        if reply is None:
            return "answered"
        turns.append(Turn(role="user", content=reply))
        return None
    name, arguments = move["tool"], move["arguments"]
    turns.append(Turn(role="assistant", content="", tool_calls=[ToolCall(name=name, arguments=arguments)]))
    result = session.call(name, arguments)
    turns.append(
        Turn(
            role="tool", content=result.text, tool=name, error=result.error, reward=result.reward,
            seconds=result.seconds,
        )
    )  # fmt: skip
    return "finished" if result.finished else None
