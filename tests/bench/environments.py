"""Cost of a tool call through the sandbox, one session at a time and 64 at once.

The overhead is the time of a call through the backend beyond a call of the bare method in this process:
arguments are checked, written, read behind both walls, answered, and the answer is checked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from tests.bench.result import Result
from tests.bench.scale import sized
from workers.contract.environments import PythonEnvironment
from workers.environments.backend import Call, Session, SessionLost
from workers.environments.python import PythonBackend

CALLS, ROUNDS, RUNS = sized((2000, 200, 5), (50, 5, 1))
SESSIONS = 64
SOURCE = '''
from typing import Literal

class Desk:
    """A desk with orders."""
    max_tool_calls = 1_000_000

    @classmethod
    def list_splits(cls) -> list[str]:
        return ["train"]

    @classmethod
    def list_tasks(cls, split: str) -> list[dict]:
        return [{"seed": 1}]

    def reset(self, seed: int) -> str:
        self.orders = {f"O{1000 + n}": f"order {n} of customer {seed}, 3 items, delivered" for n in range(20)}
        self.done = False
        return "A customer asks."

    def get_order(self, order_id: str, part: Literal["all", "status"] = "all") -> str:
        """Look up an order.

        Args:
            order_id: such as O1001
            part: what to show
        """
        return self.orders[order_id]

    def _finished(self) -> bool:
        return self.done

    def get_reward(self) -> float:
        return 0.0
'''
ARGUMENTS = {"order_id": "O1001", "part": "all"}


@contextmanager
def open_desk(sessions: int) -> Iterator[tuple[PythonBackend, list[Session]]]:
    with PythonBackend(PythonEnvironment(source=SOURCE)) as backend:
        opened = backend.open_sessions([{"seed": n} for n in range(sessions)])
        kept = [session for session in opened if not isinstance(session, SessionLost)]
        assert len(kept) == sessions
        yield backend, kept


def measure_median(call: Callable[[], object]) -> float:
    """Median seconds of a call."""
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times)


def call() -> Result:
    namespace: dict[str, type] = {}
    exec(SOURCE, namespace)
    bare = namespace["Desk"]()
    bare.reset(1)
    outside = measure_median(lambda: bare.get_order(**ARGUMENTS))
    with open_desk(1) as (_, (session,)):
        measure_median(lambda: session.call("get_order", ARGUMENTS))
        runs = [measure_median(lambda: session.call("get_order", ARGUMENTS)) - outside for _ in range(RUNS)]
    return Result(
        benchmark="env_call",
        value=round(median(runs) * 1e6, 1),
        unit="microseconds a call beyond the bare method",
        goal=150,
        runs=[round(run * 1e6, 1) for run in runs],
        note=f"medians of {CALLS} calls of one session, one after another",
    )


def throughput() -> Result:
    runs = []
    with open_desk(SESSIONS) as (backend, sessions):
        calls = [Call(session, "get_order", ARGUMENTS) for session in sessions]
        backend.call_all(calls)
        for _ in range(RUNS):
            started = time.perf_counter()
            for _ in range(ROUNDS):
                results = backend.call_all(calls)
            runs.append(ROUNDS * SESSIONS / (time.perf_counter() - started))
            assert not any(isinstance(result, SessionLost) or result.error for result in results)
    return Result(
        benchmark="env_throughput",
        value=round(median(runs)),
        unit=f"calls a second, {SESSIONS} sessions at once",
        goal=8000,
        runs=[round(run) for run in runs],
        note="a call of every session in one batch, again and again",
        at_least=True,
    )
