"""An environment written to do harm harms nothing, is told why, and spoils no other session."""

from __future__ import annotations

import re

import pytest

from tests.workers.environments.hostile import CLASS, HEAD, RESETS, REWARDS, SOURCES, TOOLS, write_source
from workers.contract.environments import PythonEnvironment
from workers.environments.backend import Call, EnvironmentFault, Score, SessionLost
from workers.environments.python import PythonBackend
from workers.grading.results import Limits

LIMITS = Limits(
    item_seconds=0.4, load_seconds=2.0, grace_seconds=0.3, memory_bytes=512 << 20, reply_bytes=1 << 20
)
CASES = {name: expected for cases in (RESETS, TOOLS, REWARDS) for name, (_, expected) in cases.items()}
HONEST = 8


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """Play all cases at the same time, between honest sessions of the same processes."""
    names = ["honest"] * HONEST + list(CASES)
    with PythonBackend(PythonEnvironment(source=write_source()), LIMITS) as backend:
        return dict(zip([*map(str, range(HONEST)), *CASES], play(backend, names), strict=True))


def play(backend: PythonBackend, cases: list[str]) -> list[str]:
    """Open, call once and score a session a case; return what is told of each."""
    told = ["" for _ in cases]
    opened = backend.open_sessions([{"case": case} for case in cases])
    for index, session in enumerate(opened):
        told[index] = str(session) if isinstance(session, SessionLost) else f"prompt: {session.prompt}"
    sessions = {n: s for n, s in enumerate(opened) if not isinstance(s, SessionLost)}
    results = backend.call_all([Call(session, "act", {}) for session in sessions.values()])
    for index, result in zip(sessions, results, strict=True):
        if isinstance(result, SessionLost):
            told[index] = str(result)
        elif result.text != "fine":
            told[index] = result.text if result.error else f"text: {result.text}"
    scores = backend.score_all(list(sessions.values()))
    for index, score in zip(sessions, scores, strict=True):
        if isinstance(score, Score):
            told[index] = f"reward: {score.reward}" if told[index] == "prompt: Begin." else told[index]
        elif told[index] == "prompt: Begin.":
            told[index] = str(score)
    return told


@pytest.mark.parametrize("case", CASES)
def test_harm_is_named_and_costs_only_its_own_session(case: str, outcomes: dict[str, str]) -> None:
    assert re.search(CASES[case], outcomes[case], re.DOTALL), outcomes[case][:300]


def test_honest_sessions_between_hostile_ones_keep_their_rewards(outcomes: dict[str, str]) -> None:
    assert [outcomes[str(n)] for n in range(HONEST)] == ["reward: 1.0"] * HONEST


@pytest.mark.parametrize("name", SOURCES)
def test_a_hostile_source_is_refused_or_loses_its_sessions(name: str) -> None:
    top, expected = SOURCES[name]
    try:
        with PythonBackend(PythonEnvironment(source=f"{HEAD}\n{top}\n{CLASS}"), LIMITS) as backend:
            told = play(backend, ["honest"])[0]
    except EnvironmentFault as fault:
        told = fault.cause
    assert re.search(expected, told), told
