"""The model server draws from the distribution that a request asks for, and ends where it should."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.authentication import AuthenticationError
from workers.serve.generate import Row, generate, sample

from tests.workers.engine_jobs import SPECIAL, WORDS, tiny_model, tiny_tokenizer
from workers.contract.spec import BaseModelRef
from workers.engine.base_model.models import Base
from workers.serve.chat import UNSUPPORTED, parse_request
from workers.serve.errors import ApiError, as_api_error, invalid_field

VOCABULARY = [*SPECIAL, *WORDS]
SCORES = st.lists(st.floats(-8, 8), min_size=2, max_size=12)
STEPS = st.lists(st.integers(-512, 512).map(lambda number: number / 64), min_size=2, max_size=12)


def make_row(seed: int = 0, **options: Any) -> Row:
    defaults = {"prompt": [4, 5], "limit": 8, "temperature": 1.0, "top_p": 1.0, "stop": []}
    return Row(**(defaults | options), random=random.Random(seed), constraint=None)


def encode(text: str) -> list[int]:
    return [VOCABULARY.index(word) for word in text.split()]


@pytest.fixture(scope="module")
def base() -> Base:
    return Base(BaseModelRef(id="tests/tiny"), Path(), None, tiny_model(), tiny_tokenizer(), [1, 2])


# --- sampling --------------------------------------------------------------------------------------


def keep_nucleus(scores: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """The distribution by its definition: the fewest most likely tokens that reach ``top_p``."""
    weights = np.exp((scores - scores.max()) / temperature)
    weights /= weights.sum()
    order = np.argsort(-weights, kind="stable")
    kept, total = [], 0.0
    for token in order:
        kept.append(token)
        total += weights[token]
        if total >= top_p:
            break
    cut = np.zeros_like(weights)
    cut[kept] = weights[kept]
    return cut / cut.sum()


@settings(max_examples=30)
@given(SCORES, st.floats(0.3, 2), st.floats(0.05, 0.99))
def test_the_nucleus_is_the_fewest_tokens_that_reach_top_p(
    scores: list[float], temperature: float, top_p: float
) -> None:
    expected = keep_nucleus(np.array(scores), temperature, top_p)
    rows = [make_row(seed, temperature=temperature, top_p=top_p) for seed in range(200)]
    drawn = sample(torch.tensor([scores] * 200), rows)
    assert set(drawn) <= set(np.flatnonzero(expected > 0).tolist()) | set(_ties(expected, scores))


def _ties(expected: np.ndarray, scores: list[float]) -> list[int]:
    """Tokens as likely as the last one of the nucleus in float32: rounding may put them before it."""
    least = min(scores[token] for token in np.flatnonzero(expected > 0))
    return [token for token, score in enumerate(scores) if abs(score - least) < 1e-4]


def test_tokens_come_as_often_as_they_are_likely() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, -1.0])
    rows = [make_row(seed, temperature=0.7, top_p=0.9) for seed in range(20_000)]
    counts = np.bincount(sample(scores.expand(20_000, -1), rows), minlength=4) / 20_000
    expected = keep_nucleus(scores.numpy().astype(float), 0.7, 0.9)
    assert counts == pytest.approx(expected, abs=4 * 0.5 / 20_000**0.5)


@given(STEPS, st.sampled_from([{"temperature": 0.0}, {"top_p": 0.0}, {"temperature": 0.0, "top_p": 0.5}]))
def test_temperature_0_and_top_p_0_take_the_most_likely_token(
    scores: list[float], options: dict[str, float]
) -> None:
    (token,) = sample(torch.tensor([scores]), [make_row(**options)])
    assert torch.tensor(scores)[token] == torch.tensor(scores).max()


@given(st.lists(SCORES.filter(lambda each: len(each) >= 6), min_size=2, max_size=5), st.integers(0, 9))
def test_a_row_draws_the_same_token_in_any_company(batch: list[list[float]], seed: int) -> None:
    logits = torch.tensor([scores[:6] for scores in batch])
    tops = [1.0 if number % 2 else 0.8 for number in range(len(batch))]
    together = sample(logits, [make_row(seed + n, top_p=top_p) for n, top_p in enumerate(tops)])
    alone = [sample(logits[n : n + 1], [make_row(seed + n, top_p=top_p)])[0] for n, top_p in enumerate(tops)]
    assert together == alone


class _Last(random.Random):
    """The largest number that ``random`` can return."""

    def random(self) -> float:
        return 1 - 2**-53


def test_the_last_number_of_the_generator_draws_a_token_that_has_a_chance() -> None:
    row = make_row(top_p=0.9)
    row.random = _Last()
    (token,) = sample(torch.tensor([[5.0, 4.0, -30.0, -40.0]]), [row])
    assert token in (0, 1)


# --- where a completion ends -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "options", "text", "finish"),
    [
        ("red blue <end>", {}, "red blue", "stop"),
        ("red <turn>", {}, "red", "stop"),
        ("red blue green", {"limit": 3}, "red blue green", "length"),
        ("red <end>", {"limit": 2}, "red", "stop"),
        ("red blue green", {"stop": ["blue"]}, "red ", "stop"),
        ("red blue green", {"stop": ["green", "blue"]}, "red ", "stop"),
        ("red blue", {"stop": ["d b"]}, "re", "stop"),
        ("red blue", {"stop": ["cold"]}, "red blue", None),
    ],
)
def test_a_completion_ends_at_its_end_token_its_stop_text_or_its_limit(
    base: Base, tokens: str, options: dict[str, Any], text: str, finish: str | None
) -> None:
    row = make_row(**options)
    for token in encode(tokens):
        if row.finish is None:
            row.add(token, base)
    assert row.text(base) == text
    assert row.finish == finish
    assert row.future.done() == (row.finish is not None)


def test_a_batch_ends_row_by_row_as_each_row_would_alone(base: Base) -> None:
    def build() -> list[Row]:
        return [
            make_row(seed, prompt=[4 + seed] * (1 + seed), limit=3 + seed, temperature=1.5)
            for seed in range(5)
        ]

    together, alone = build(), build()
    generate(base, together)
    for row in alone:
        generate(base, [row])
    assert [row.ids for row in together] == [row.ids for row in alone]
    assert all(row.finish == ("stop" if row.ids[-1] in base.eos_ids else "length") for row in together)
    assert all(len(row.ids) <= row.limit for row in together)


def test_a_cancelled_row_leaves_the_batch(base: Base) -> None:
    rows = [make_row(seed, limit=6) for seed in range(2)]
    rows[0].future.cancel()
    generate(base, rows)
    assert len(rows[0].ids) <= 1
    assert rows[1].finish is not None


# --- requests and errors ---------------------------------------------------------------------------

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def refuse(body: bytes) -> ApiError:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what the server decides by
        parse_request(body)
    return as_api_error(caught.value)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_a_bad_request(body: bytes) -> None:
    assert refuse(body).status == 400


@pytest.mark.parametrize("field", ["temperature", "top_p"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "2.5", '"hot"'])
def test_a_number_out_of_range_names_its_field(field: str, value: str) -> None:
    body = json.dumps(REQUEST)[:-1] + f', "{field}": {value}}}'
    error = refuse(body.encode())
    assert (error.status, error.body["error"]["param"]) == (400, field)  # type: ignore[index, call-overload]


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_field_that_would_change_the_completion_is_refused_unless_it_is_empty(name: str) -> None:
    error = refuse(json.dumps(REQUEST | {name: {"x": 1}}).encode())
    assert (error.status, error.body["error"]["param"]) == (400, name)  # type: ignore[index, call-overload]
    for empty in (None, False, 0, [], {}, ""):
        assert parse_request(json.dumps(REQUEST | {name: empty}).encode()).model == "m"


def test_null_means_the_default_and_other_fields_are_ignored() -> None:
    body = REQUEST | {"temperature": None, "n": None, "stop": None, "user": "me", "store": True}
    request = parse_request(json.dumps(body).encode())
    assert (request.temperature, request.n, request.stop, request.top_p) == (1.0, 1, [], 1.0)
    assert parse_request(json.dumps(REQUEST | {"stop": "."}).encode()).stop == ["."]


def test_an_empty_stop_text_is_refused() -> None:
    assert refuse(json.dumps(REQUEST | {"stop": [""]}).encode()).status == 400


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (ApiError(429, "busy", code="rate_limit_exceeded"), 429, "rate_limit_error", "rate_limit_exceeded"),
        (invalid_field("n", "too many"), 400, "invalid_request_error", "invalid_value"),
        (AuthenticationError(), 401, "invalid_request_error", "invalid_api_key"),
        (ZeroDivisionError("division by zero"), 500, "server_error", None),
    ],
)
def test_every_error_has_openais_shape(error: Exception, status: int, kind: str, code: str | None) -> None:
    found = as_api_error(error)
    body: Any = found.body["error"]
    assert (found.status, body["type"], body["code"]) == (status, kind, code)
    assert set(body) == {"message", "type", "param", "code"}
    assert body["message"]


def test_a_missing_field_is_told_from_a_wrong_one() -> None:
    missing: Any = refuse(b'{"model": "m"}').body["error"]
    assert (missing["code"], missing["param"]) == ("missing_required_parameter", "messages")
    wrong: Any = refuse(json.dumps(REQUEST | {"n": "x"}).encode()).body["error"]
    assert (wrong["code"], wrong["param"]) == ("invalid_value", "n")
