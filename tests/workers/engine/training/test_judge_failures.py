"""A judge that fails pauses the job with the cause; what was learnt is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import SpecWriter
from tests.workers.engine_jobs import events_of, of_type, run_engine
from tests.workers.judge_server import Answer, JudgeServer
from workers.contract.events import Event, Rollout
from workers.engine.training.judge_failures import TOLERATED_SHARE, WINDOW_STEPS, JudgeFailures

JUDGE = {
    "type": "score_model",
    "name": "judge",
    "model": "m",
    "input": [{"role": "user", "content": "Score {{sample.output_text}} against {{item.reference}}."}],
}


def rollout(failed: bool) -> Rollout:
    return Rollout(
        index=0,
        group=0,
        row_id="r",
        prompt="",
        completion="",
        reward=None if failed else 0.5,
        error_class="model_grader_server_error" if failed else None,
        error_detail="HTTP 503" if failed else None,
        advantage=0.0,
        length=1,
        truncated=False,
        adapter_step=0,
    )


def steps_until_pause(failures_a_step: int, rollouts: int = 64, steps: int = 200) -> int | None:
    watch = JudgeFailures()
    batch = [rollout(index < failures_a_step) for index in range(rollouts)]
    return next((step for step in range(1, steps + 1) if watch.check_step(step, batch)), None)


def test_a_tenth_of_failures_is_borne_for_ever_and_more_is_not():
    tolerated = int(TOLERATED_SHARE * 60)
    assert steps_until_pause(tolerated, rollouts=60) is None
    assert steps_until_pause(tolerated + 1, rollouts=60) == 18  # 18 x 7 > 0.1 x 20 x 60
    assert steps_until_pause(60, rollouts=60) == 3


def test_old_failures_are_forgotten():
    watch = JudgeFailures()
    bad, good = [rollout(True)] * 8, [rollout(False)] * 8
    for _ in range(5):
        assert watch.check_step(1, bad) is None
        assert not any(watch.check_step(2, good) for _ in range(WINDOW_STEPS))


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with JudgeServer() as server:
        yield server


def run(write_spec: SpecWriter, folder: Path, judge: JudgeServer, *arguments: object) -> list[Event]:
    """Run the tiny job with the judge as its grader."""
    spec = write_spec(
        grader=JUDGE,
        judges={"m": {"base_url": judge.url, "model": "judge-1", "timeout_seconds": 5, "input_price": 10.0}},
        grpo={"checkpoint_every": 10},
    )
    assert run_engine("run", spec, "--out", folder, "--judge-cache", folder / "cache", *arguments) == 0
    return events_of(folder)


def test_a_judge_that_breaks_down_pauses_the_job_which_then_goes_on_where_it_was(
    write_spec: SpecWriter, tmp_path: Path, judge: JudgeServer
) -> None:
    broken = Answer(status=401)

    def behave(body: Any, number: int) -> Answer:
        return broken if mended is None and trained() else score(body)

    def trained() -> bool:
        return (tmp_path / "first/events.jsonl").read_text().count('"type":"rollouts"') >= 2

    mended: bool | None = None
    judge.behave = behave
    first = run(write_spec, tmp_path / "first", judge)
    assert first[-1].model_dump(include={"outcome", "step"}) == {"outcome": "paused", "step": 5}
    (error,) = of_type(first, "error")
    assert (error.code, "status 401" in error.detail, "Judges" in error.remedy) == (
        "judge_failing",
        True,
        True,
    )
    checkpoint = of_type(first, "checkpoint")[-1]
    mended = True
    second = run(write_spec, tmp_path / "second", judge, "--resume", tmp_path / "first" / checkpoint.path)
    assert second[-1].model_dump(include={"outcome", "step"}) == {"outcome": "succeeded", "step": 6}


def test_a_judges_tokens_price_and_reasons_are_reported(
    write_spec: SpecWriter, tmp_path: Path, judge: JudgeServer
) -> None:
    judge.behave = lambda body, number: score(body)
    events = run(write_spec, tmp_path / "out", judge)
    paid = sum(event.values.get("judge/m/cost", 0) for event in of_type(events, "metrics"))
    paid += sum(event.judge_cost.get("m", 0) for event in of_type(events, "evaluation"))
    assert paid == pytest.approx(len(judge.requests) * 100 * 10 / 1e6)
    assert of_type(events, "rollouts")[0].rollouts[0].explanation.startswith("length: ")
    assert of_type(events, "evaluation")[-1].details[0].tuned[0].explanation


def score(body: Any) -> Answer:
    """A reward that differs from answer to answer."""
    length = len(body["messages"][-1]["content"])
    steps = [{"description": "length", "conclusion": str(length)}]
    return Answer(json.dumps({"steps": steps, "result": length % 7 / 7}))
