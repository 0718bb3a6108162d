"""The model server under load, by real HTTP, against the engine's sampler and transformers."""

from __future__ import annotations

import json
from statistics import median

from tests.bench.jobs import cores, python
from tests.bench.pages import p95
from tests.bench.result import Result
from tests.bench.scale import sized

PAIRS, ROUNDS = sized(5, 1), sized(2, 1)
REQUESTS, TOKENS, ADAPTERS = sized(64, 8), sized(64, 8), sized(16, 2)
STREAMS, ANSWERS = sized(8, 2), sized(25, 2)
FIRST_TOKEN_MS = 150.0


def _measure(what: str) -> list[dict[str, float]]:
    numbers = (PAIRS, ROUNDS, REQUESTS, TOKENS, ADAPTERS, STREAMS, ANSWERS)
    said = python("tests.bench.probes.serve_probe", what, *map(str, numbers))
    return [json.loads(line) for line in said.splitlines()]


def _compare(name: str, what: str, other: str, goal: float, unit: str) -> Result:
    pairs = _measure(what)
    ratios = [pair["served"] / pair[other] for pair in pairs]
    return Result(
        benchmark=name,
        value=round(median(ratios), 2),
        unit=unit,
        goal=goal,
        at_least=True,
        runs=[round(ratio, 2) for ratio in ratios],
        note=f"{REQUESTS} requests of {TOKENS} tokens, {cores()} threads, client beside it; medians "
        f"{median(pair['served'] for pair in pairs):.0f} against "
        f"{median(pair[other] for pair in pairs):.0f} tokens a second",
    )


def throughput() -> Result:
    """Concurrent requests by HTTP against the engine's sampler on the same prompts."""
    unit = "tokens a second, ratio to the engine's own sampler"
    return _compare("serve_throughput", "sampler", "sampler", 0.6, unit)


def speedup() -> Result:
    """The same against transformers' ``generate``, one prompt after the other."""
    unit = "tokens a second, ratio to model.generate one by one"
    return _compare("serve_speedup", "generate", "generate", 3.0, unit)


def adapter_mix() -> Result:
    """The same with many adapters in one batch against one adapter."""
    unit = f"tokens a second with {ADAPTERS} adapters in one batch, ratio to one adapter"
    return _compare("adapter_mix", "adapters", "one", 0.6, unit)


def first_token() -> Result:
    """Time from a request to the first text, while as many streams are open all the time."""
    times = [run["milliseconds"] for run in _measure("streams")]
    return Result(
        benchmark="first_token",
        value=round(p95(times), 1),
        unit=f"ms until the first text, 95th percentile, {STREAMS} concurrent streams",
        goal=FIRST_TOKEN_MS,
        runs=[round(median(times), 1), round(p95(times), 1), round(max(times), 1)],
        note=f"{len(times)} answers of {TOKENS} tokens, {cores()} threads, client on the same machine; "
        "runs are median, 95th percentile and maximum",
    )
