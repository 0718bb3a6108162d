"""Suites are scored before and after, forgetting has its interval, and the drift is the forward KL."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model

from tests.workers.conftest import SpecWriter
from tests.workers.engine_jobs import (
    GRADER,
    TEMPLATES,
    events_of,
    of_type,
    rows,
    run_engine,
    tiny_model,
    tiny_tokenizer,
    write_split,
)
from workers.contract.events import Interval
from workers.contract.spec import EvaluationSettings
from workers.engine.base_model.models import fold_adapter
from workers.engine.evaluation.retention import compute_drift, log_probabilities, negate
from workers.engine.packaging.verify import completion_logprobs
from workers.engine.prompts.data import Row
from workers.engine.prompts.rendering import Renderer
from workers.engine.sampling.batches import Sampler

SETTINGS = EvaluationSettings(bootstrap_resamples=200)
RATIO = st.floats(-5, 5, allow_nan=False)


def tuned_model() -> PeftModel:
    config = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
    model = tiny_model()
    model.lm_head.weight.data *= 50  # policies that prefer something, so that the two differ
    return get_peft_model(model, config)


def go_on(*_: Any) -> None:
    """Nobody asks the job to stop."""


@given(st.lists(st.lists(RATIO, min_size=1, max_size=5), min_size=4, max_size=4))
def test_the_drift_sums_over_tokens_and_averages_over_answers(answers: list[list[float]]) -> None:
    found = compute_drift([torch.tensor(a, dtype=torch.float64) for a in answers], 2, SETTINGS, 0)
    assert found is not None
    assert found.tokens == sum(map(len, answers))
    assert found.per_answer.mean == pytest.approx(np.mean([sum(a) for a in answers]), abs=1e-9)
    assert found.per_token * found.tokens == pytest.approx(sum(map(sum, answers)), abs=1e-9)
    assert found.per_answer.low is None, "two rows allow no interval"


@given(st.lists(RATIO, min_size=3, max_size=3).map(sorted))
def test_forgetting_is_the_change_turned_around(bounds: list[float]) -> None:
    low, mean, high = bounds
    forgetting = negate(Interval(mean=mean, low=low, high=high))
    assert (forgetting.low, forgetting.mean, forgetting.high) == (-high, -mean, -low)
    assert negate(forgetting) == Interval(mean=mean, low=low, high=high)


def test_without_a_token_there_is_no_drift() -> None:
    assert compute_drift([torch.empty(0), torch.empty(0)], 2, SETTINGS, 0) is None


def test_log_probabilities_do_not_depend_on_what_else_is_in_the_batch() -> None:
    model, generator = tiny_model(), torch.Generator().manual_seed(1)

    def words(number: int) -> list[int]:
        return [int(word) for word in torch.randint(4, 19, (number,), generator=generator)]

    pairs = [(words(prompt), words(answer)) for prompt, answer in ((3, 8), (9, 1), (1, 5), (4, 0))]
    found = log_probabilities(model, pairs, 0.7, go_on)
    for (prompt, answer), logps in zip(pairs, found, strict=True):
        alone = completion_logprobs(model, prompt, answer, 0.7) if answer else torch.empty(0)
        torch.testing.assert_close(logps, alone)


def test_the_estimate_is_the_exact_kl_of_the_next_token() -> None:
    """Answers of one token: their KL can be summed over the whole vocabulary."""
    model, tokenizer, temperature = tuned_model(), tiny_tokenizer(), 1.3
    sampler = Sampler(Renderer(tokenizer, [1, 2]), [1, 2], temperature, 1)
    prompts = [sampler.renderer.encode(Row(**row).messages) for row in rows(2)]
    with model.disable_adapter():
        answers = sampler(model.get_base_model(), prompts, 4000, 0)
    pairs = [(p, a.ids) for p, drawn in zip(prompts, answers, strict=True) for a in drawn]

    def both(work: Any) -> tuple[Any, Any]:
        with model.disable_adapter():
            base = work()
        with fold_adapter(model):
            return base, work()

    base, tuned = both(lambda: log_probabilities(model.get_base_model(), pairs, temperature, go_on))
    found = compute_drift([b - t for b, t in zip(base, tuned, strict=True)], 4000, SETTINGS, 0)

    def policy() -> torch.Tensor:
        logits = [model.get_base_model()(torch.tensor([prompt])).logits[0, -1] for prompt in prompts]
        return (torch.stack(logits) / temperature).log_softmax(-1).detach()

    p, q = both(policy)
    exact = float((p.exp() * (p - q)).sum(-1).mean())
    spread = float((p.exp() * (p - q) ** 2).sum(-1).mean() ** 0.5) / 8000**0.5
    assert exact > 0.1
    assert found is not None
    assert abs(found.per_answer.mean - exact) < 4 * spread


def suite(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "rows": write_split(folder, name, rows(30)[24:]), "grader": GRADER, **more}


def test_a_job_scores_its_suites_at_every_evaluation_and_its_training_stays_the_same(
    tmp_path: Path, write_spec: SpecWriter
) -> None:
    length = {"type": "string_check", "operation": "like", "name": "long", **TEMPLATES}
    suites = [suite(tmp_path, "old", max_loss=0.1), suite(tmp_path, "other") | {"grader": length}]
    assert run_engine("run", write_spec(suites=suites), "--out", tmp_path / "with") == 0
    assert run_engine("run", write_spec(), "--out", tmp_path / "without") == 0
    events, plain = events_of(tmp_path / "with"), events_of(tmp_path / "without")

    told = of_type(events, "retention")
    places = [(e.stage, e.step) for e in told if e.suite == "old"]
    assert places == [("before", 0), ("during", 2), ("during", 4), ("during", 6), ("after", 6)]
    assert {e.suite for e in told} == {"", "old", "other"}
    before, *later = [e for e in told if e.suite == "old"]
    assert (before.tuned, before.forgetting, before.drift) == (None, None, None)
    for event in later:
        assert event.forgetting.mean == pytest.approx(event.base.mean - event.tuned.mean)
        assert (event.forgetting.low, event.forgetting.high) == (None, None)  # six rows: too few for one
        assert event.drift.tokens > 0
    assert {e.base.mean for e in later[:-1]} == {before.base.mean}  # the base is drawn once
    drifts = [e.drift.per_answer.mean for e in told if e.suite == "" and e.stage == "during"]
    assert 0 < drifts[0] < drifts[-1]
    assert all(first != second for first, second in pairwise(drifts))
    for one, two in zip(of_type(events, "metrics"), of_type(plain, "metrics"), strict=True):
        assert one.values["loss"] == two.values["loss"]
        assert one.values["reward"] == two.values["reward"]


def test_a_suite_with_rows_too_long_is_refused_before_training(
    tmp_path: Path, write_spec: SpecWriter
) -> None:
    long = [{**row, "messages": [{"role": "user", "content": "red " * 40}]} for row in rows(2)]
    given = {"name": "old", "rows": write_split(tmp_path, "old", long), "grader": GRADER}
    path = write_spec(suites=[given], grpo={"max_prompt_length": 30})
    assert run_engine("run", path, "--out", tmp_path / "out") == 1
    (error,) = of_type(events_of(tmp_path / "out"), "error")
    assert "suite old" in error.message
