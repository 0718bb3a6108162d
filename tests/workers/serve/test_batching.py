"""Rows join and leave at any token; nobody waits long for others, and nobody's completion depends on them."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from tests.workers.engine_jobs import tiny_model, tiny_tokenizer
from workers.engine.prompts.rendering import Renderer
from workers.serve import batching
from workers.serve.batching import Batcher
from workers.serve.detokenizer import Detokenizer
from workers.serve.rows import Group, Row, Settings
from workers.serve.runners import Runner, build_runner
from workers.serve.runners.plain import PlainRunner

ENDS = frozenset([1, 2])
RENDERER = Renderer(tiny_tokenizer(), [1, 2])
RUNNERS = {"fast": build_runner, "plain": PlainRunner}


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> Runner:
    return RUNNERS[request.param](tiny_model().eval())


def build_group(
    prompt: list[int], seed: int = 0, rows: int = 1, ends: frozenset[int] = ENDS, **options: Any
) -> Group:
    settings = Settings(**{"limit": 8, "temperature": 1.5, **options})
    detokenizers = [Detokenizer(RENDERER, live=False) for _ in range(rows)]
    return Group(
        prompt,
        [Row(settings, random.Random(f"{seed}/{n}"), each, ends) for n, each in enumerate(detokenizers)],
    )


def finish(batcher: Batcher, rows: list[Row], steps: int = 500) -> list[list[int]]:
    for _ in range(steps):
        if all(row.future.done() for row in rows):
            return [row.ids for row in rows]
        batcher.run_step()
    raise AssertionError(f"not finished after {steps} steps")


def build_mixed() -> list[Group]:
    prompts = [[4 + seed] * (1 + 3 * seed) for seed in range(6)]
    return [build_group(p, seed, rows=1 + seed % 3, limit=3 + 2 * seed) for seed, p in enumerate(prompts)]


def test_rows_that_join_late_and_leave_early_are_as_alone(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = []
    for group in build_mixed():
        rows, batcher = [*group.rows], Batcher(runner)
        batcher.submit(group)
        alone += finish(batcher, rows)
    monkeypatch.setattr(batching, "LARGEST_CHUNK", 5)  # prompts are read in parts, too
    batcher, rows = Batcher(runner), []
    for group in build_mixed():
        rows += group.rows
        batcher.submit(group)
        batcher.run_step()
    assert finish(batcher, rows) == alone
    assert all(row.finish == ("stop" if row.ids[-1] in ENDS else "length") for row in rows)


def test_a_cancelled_row_leaves_the_batch_and_one_that_waits_never_joins(runner: Runner) -> None:
    batcher = Batcher(runner)
    first, second, third = (build_group([4, 5], seed, ends=frozenset(), limit=20) for seed in range(3))
    rows = [*first.rows, *second.rows, *third.rows]
    batcher.submit(first)
    batcher.submit(second)
    batcher.run_step()
    rows[0].future.cancel()
    third.rows[0].future.cancel()
    batcher.submit(third)
    finish(batcher, rows)
    assert [len(row.ids) for row in rows] == [1, 20, 0]
    assert batcher.rows == 0


def test_a_long_prompt_is_read_between_the_tokens_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "LARGEST_CHUNK", 16)
    batcher = Batcher(build_runner(tiny_model()))
    short = build_group([4, 5], ends=frozenset(), limit=50)
    (running,) = short.rows
    batcher.submit(short)
    batcher.run_step()
    long, late = build_group([6] * 120, limit=1), build_group([7], limit=1)
    waiting, quick = long.rows[0], late.rows[0]
    batcher.submit(long)
    batcher.submit(late)
    steps = 0
    while not waiting.future.done():
        before = len(running.ids)
        batcher.run_step()
        steps += 1
        assert len(running.ids) == before + 1  # a token at every step
        assert quick.future.done() or steps == 1  # overtakes the long prompt
    assert 120 // 16 <= steps < 20


def test_one_request_leaves_room_for_others() -> None:
    batcher = Batcher(build_runner(tiny_model()))
    large = build_group([4], rows=128, ends=frozenset(), limit=30)
    small = build_group([5], ends=frozenset(), limit=2)
    (row,) = small.rows
    batcher.submit(large)
    batcher.run_step()
    batcher.submit(small)
    batcher.run_step()
    batcher.run_step()
    assert row.future.done()
    assert batcher.rows == batching.GROUP_ROWS


def test_rows_wait_until_the_memory_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_TOKENS", 60)
    batcher = Batcher(build_runner(tiny_model()))
    groups = [build_group([4, 5], seed, ends=frozenset(), limit=18) for seed in range(5)]
    rows = [row for group in groups for row in group.rows]
    for group in groups:
        batcher.submit(group)
    batcher.run_step()
    assert batcher.rows == 3
    finish(batcher, rows)


def test_a_failure_fails_what_is_generated_and_later_requests_succeed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = build_runner(tiny_model())
    batcher = Batcher(runner)
    batcher.start()
    real = runner.step
    monkeypatch.setattr(runner, "step", lambda *given: torch.zeros(1) @ torch.zeros(2))
    failed = build_group([4, 5])
    (row,) = failed.rows
    batcher.submit(failed)
    with pytest.raises(RuntimeError):
        row.future.result(timeout=10)
    monkeypatch.setattr(runner, "step", real)
    group = build_group([4, 5])
    (row,) = group.rows
    batcher.submit(group)
    row.future.result(timeout=10)
    assert row.ids
