"""Checks of an environment before a model trains in it: can it be solved, and only by solving it?

Pure functions over a backend; sessions are played at the same time. Each check returns a finding with its
evidence, and a remedy if something is wrong.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from workers.contract.json_types import JsonObject
from workers.environments.backend import Backend, Call, Score, Session, SessionLost, ToolResult

CheckName = Literal["splits", "oracle", "empty_policy", "constant_policy", "determinism"]
Script = list[tuple[str, JsonObject]]

SAMPLE_TASKS = 24
CONFIRMING_TASKS = 300
CONFIRMED_SCRIPTS = 2
REPEATED_TASKS = 8
MOST_SCRIPTS = 10
SESSIONS_AT_ONCE = 64
MOST_EMPTY_REWARD = 0.05
MOST_CONSTANT_REWARD = 0.25
SHOWN_EVIDENCE = 5
SHOWN_CHARACTERS = 200
NOISE = 1e-6


@dataclass(frozen=True)
class Finding:
    """Outcome of a check. ``passed`` is None if it could not be made; ``value`` is what was measured."""

    check: CheckName
    passed: bool | None
    summary: str
    value: float | None = None
    evidence: list[str] = field(default_factory=list)
    remedy: str = ""


@dataclass
class Played:
    """An episode that a script played. ``lost`` says why it has no reward."""

    task: JsonObject
    observations: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    reward: float | None = None
    lost: str = ""


def check_environment(backend: Backend, seed: int = 0) -> list[Finding]:
    """Return the findings of all checks, on a sample of tasks. Raises ``EnvironmentFault``."""
    splits = {split: backend.list_tasks(split) for split in backend.list_splits()}
    tasks = sample_tasks(splits, SAMPLE_TASKS, seed)
    if not tasks:
        return [check_splits(splits)]
    scripts = find_scripts(backend, tasks)
    return [
        check_splits(splits),
        check_oracle(backend, tasks, scripts),
        check_empty_policy(backend, tasks),
        check_constant_policy(backend, tasks, scripts, sample_tasks(splits, CONFIRMING_TASKS, seed + 1)),
        check_determinism(backend, tasks, scripts),
    ]


def sample_tasks(splits: dict[str, list[JsonObject]], count: int, seed: int) -> list[JsonObject]:
    """Return tasks of the split ``train``, or of the first one without it, at random."""
    tasks = splits.get("train") or next(iter(splits.values()), [])
    return random.Random(seed).sample(tasks, min(count, len(tasks)))  # noqa: S311


def find_scripts(backend: Backend, tasks: Sequence[JsonObject]) -> list[Script] | None:
    """Return the oracle's calls for each task; None without an oracle. Raises ``EnvironmentFault``."""
    scripts = [backend.find_oracle_calls(task) for task in tasks]
    return None if None in scripts else [script for script in scripts if script is not None]


def play_scripts(backend: Backend, tasks: Sequence[JsonObject], scripts: Sequence[Script]) -> list[Played]:
    """Play a script for each task, a number of sessions at the same time."""
    played: list[Played] = []
    for start in range(0, len(tasks), SESSIONS_AT_ONCE):
        part = slice(start, start + SESSIONS_AT_ONCE)
        played += _play_together(backend, tasks[part], scripts[part])
    return played


def _play_together(backend: Backend, tasks: Sequence[JsonObject], scripts: Sequence[Script]) -> list[Played]:
    played = [Played(task) for task in tasks]
    opened: dict[int, Session] = {}
    for index, session in enumerate(backend.open_sessions(tasks)):
        if isinstance(session, SessionLost):
            played[index].lost = str(session)
        else:
            opened[index] = session
            played[index].observations.append(session.prompt)
    running = dict(opened)
    for step in range(max(map(len, scripts), default=0)):
        acting = [index for index in running if step < len(scripts[index])]
        results = backend.call_all([Call(running[index], *scripts[index][step]) for index in acting])
        for index, result in zip(acting, results, strict=True):
            if _note(played[index], result):
                del running[index]
    scored = [index for index in opened if not played[index].lost]
    for index, score in zip(scored, backend.score_all([opened[index] for index in scored]), strict=True):
        if isinstance(score, Score):
            played[index].reward = score.reward
        else:
            played[index].lost = str(score)
    for session in opened.values():
        session.close()
    return played


def _note(played: Played, result: ToolResult | SessionLost) -> bool:
    """Note what a call did. Return True if the episode is over."""
    if isinstance(result, SessionLost):
        played.lost = str(result)
        return True
    played.observations.append(result.text)
    if result.error:
        played.errors.append(result.error)
    return result.finished


# --- the checks ------------------------------------------------------------------------------------


def check_splits(splits: dict[str, list[JsonObject]]) -> Finding:
    """Every split has tasks, and no task is in two of them."""
    empty = [split for split, tasks in splits.items() if not tasks]
    seen: dict[str, str] = {}
    evidence: list[str] = []
    for split, tasks in splits.items():
        texts = {json.dumps(task, sort_keys=True) for task in tasks}
        evidence += [f"in {seen[text]} and {split}: {_cut(text)}" for text in sorted(texts & seen.keys())]
        seen |= dict.fromkeys(texts, split)
    if empty or not splits:
        summary = f"no tasks in {', '.join(empty)}" if empty else "the environment has no splits"
        return Finding("splits", False, summary, remedy="Return at least one task for every split.")
    if evidence:
        summary = f"{len(evidence)} tasks are in two splits, so the test would measure what was trained on"
        remedy = "Give each split its own tasks, for example by ranges of seeds."
        return Finding("splits", False, summary, len(evidence), evidence[:SHOWN_EVIDENCE], remedy)
    sizes = ", ".join(f"{split} {len(tasks)}" for split, tasks in splits.items())
    return Finding("splits", True, f"tasks by split: {sizes}; none in two")


def check_oracle(backend: Backend, tasks: Sequence[JsonObject], scripts: Sequence[Script] | None) -> Finding:
    """The oracle earns 1.0 on every task of the sample."""
    if scripts is None:
        remedy = "Write _oracle(self), which returns calls that solve the task after reset."
        return Finding(
            "oracle",
            None,
            "the environment has no oracle, so nobody knows if it can be solved",
            remedy=remedy,
        )
    played = play_scripts(backend, tasks, scripts)
    failed = [each for each in played if each.reward is None or abs(each.reward - 1.0) > NOISE]
    value = 1 - len(failed) / len(played)
    if failed:
        summary = f"the oracle earns 1.0 on {len(played) - len(failed)} of {len(played)} tasks"
        remedy = "Correct _oracle or get_reward for these tasks, or leave the tasks out."
        return Finding("oracle", False, summary, value, _show(failed), remedy)
    return Finding("oracle", True, f"the oracle earns 1.0 on all {len(played)} tasks tried", value)


def check_empty_policy(backend: Backend, tasks: Sequence[JsonObject]) -> Finding:
    """A policy that calls nothing earns about 0."""
    played = play_scripts(backend, tasks, [[] for _ in tasks])
    lost = [each for each in played if each.reward is None]
    mean = _average(played)
    summary = f"a model that calls no tool earns {mean:.2f} on average"
    if lost:
        summary = f"{len(lost)} of {len(played)} episodes without a call have no reward"
        remedy = "Let get_reward return a number, 0.0 if nothing was done."
        return Finding("empty_policy", False, summary, mean, _show(lost), remedy)
    if abs(mean) > MOST_EMPTY_REWARD:
        paid = [each for each in played if abs(each.reward or 0.0) > MOST_EMPTY_REWARD]
        remedy = "Let get_reward return 0.0 until the task is done."
        return Finding("empty_policy", False, summary, mean, _show(paid), remedy)
    return Finding("empty_policy", True, summary, mean)


def check_constant_policy(
    backend: Backend,
    tasks: Sequence[JsonObject],
    scripts: Sequence[Script] | None,
    confirming: Sequence[JsonObject],
) -> Finding:
    """No fixed list of calls earns 0.25 or more; the lists come from the oracle.

    All are tried on ``tasks``, and the best ones again on more tasks, which decide: a few tasks can be lucky.
    """
    if scripts is None:
        remedy = "Write _oracle(self); its calls are what is tried on the other tasks."
        return Finding("constant_policy", None, "without an oracle there are no calls to try", remedy=remedy)
    candidates = list(list_constant_scripts(scripts))
    if not candidates:
        return Finding("constant_policy", None, "the oracle makes no calls", remedy="Correct _oracle.")
    ranked = sorted(candidates, key=lambda script: -_measure(backend, tasks, script))[:CONFIRMED_SCRIPTS]
    means = [_measure(backend, confirming, script) for script in ranked]
    value = max(means)
    summary = f"the best of {len(candidates)} fixed lists of calls earns {value:.2f} on average"
    if value < MOST_CONSTANT_REWARD:
        return Finding("constant_policy", True, summary, value)
    best = ranked[means.index(value)]
    evidence = [_cut(", ".join(f"{name}({json.dumps(arguments)})" for name, arguments in best))]
    remedy = "Vary the tasks more evenly, and pay less for what is right without looking at the task."
    return Finding("constant_policy", False, summary, value, evidence, remedy)


def _measure(backend: Backend, tasks: Sequence[JsonObject], script: Script) -> float:
    return _average(play_scripts(backend, tasks, [script for _ in tasks]))


def list_constant_scripts(scripts: Sequence[Script]) -> Iterator[Script]:
    """Yield the oracle's most common lists of calls, then its most common last calls alone."""
    whole = Counter(json.dumps(script) for script in scripts if script)
    last = Counter(json.dumps(script[-1:]) for script in scripts if script)
    common = [text for text, _ in whole.most_common(MOST_SCRIPTS // 2)]
    common += [text for text, _ in last.most_common(MOST_SCRIPTS - len(common)) if text not in common]
    for text in common:
        yield [(name, arguments) for name, arguments in json.loads(text)]


def check_determinism(
    backend: Backend, tasks: Sequence[JsonObject], scripts: Sequence[Script] | None
) -> Finding:
    """The same task and the same calls give the same observations and reward, in another order too."""
    sample = tasks[:REPEATED_TASKS]
    calls = list(scripts[: len(sample)]) if scripts else [_call_bare_tools(backend) for _ in sample]
    first = play_scripts(backend, sample, calls)
    again = play_scripts(backend, sample[::-1], calls[::-1])[::-1]
    evidence = [_describe_difference(a, b) for a, b in zip(first, again, strict=True) if _differ(a, b)]
    value = len(evidence) / len(sample)
    if evidence:
        summary = (
            f"{len(evidence)} of {len(sample)} tasks played twice with the same calls gave other results"
        )
        remedy = (
            "Let reset depend on the task alone. random is seeded for you; do not use the time, os.urandom, "
            "uuid or anything that other sessions change."
        )
        return Finding("determinism", False, summary, value, evidence[:SHOWN_EVIDENCE], remedy)
    return Finding("determinism", True, f"{len(sample)} tasks played twice gave the same results", value)


def _call_bare_tools(backend: Backend) -> Script:
    """Return a call of every tool that needs no argument."""
    functions = [tool["function"] for tool in backend.list_tools()]
    return [
        (str(each["name"]), {})
        for each in functions
        if isinstance(each, dict)
        and isinstance(each["parameters"], dict)
        and "required" not in each["parameters"]
    ]


def _differ(first: Played, second: Played) -> bool:
    return (first.observations, first.reward, bool(first.lost)) != (
        second.observations,
        second.reward,
        bool(second.lost),
    )


def _describe_difference(first: Played, second: Played) -> str:
    for number, (a, b) in enumerate(zip(first.observations, second.observations, strict=False)):
        if a != b:
            what = f"call {number}" if number else "reset"
            return f"{_cut(json.dumps(first.task))}: {what} gave {_cut(a)!r}, then {_cut(b)!r}"
    first_end, second_end = first.lost or first.reward, second.lost or second.reward
    return f"{_cut(json.dumps(first.task))}: the reward was {first_end}, then {second_end}"


def _average(played: Sequence[Played]) -> float:
    """Return the mean reward; a lost episode counts as 0 here."""
    return sum(each.reward or 0.0 for each in played) / len(played)


def _show(played: Sequence[Played]) -> list[str]:
    """Return the first episodes as evidence: the task, and the reward or why there is none."""
    shown = []
    for each in played[:SHOWN_EVIDENCE]:
        end = f"lost: {each.lost}" if each.lost else f"reward {each.reward}"
        errors = f"; {_cut(each.errors[0])}" if each.errors else ""
        shown.append(f"{_cut(json.dumps(each.task))}: {end}{errors}")
    return shown


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
