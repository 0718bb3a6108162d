"""The model server draws from the distribution that a request asks for, and ends where it should."""

from __future__ import annotations

import random
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.engine_jobs import SPECIAL, WORDS, tiny_tokenizer
from workers.engine.prompts.rendering import Renderer
from workers.serve.detokenizer import Detokenizer
from workers.serve.rows import Row, Settings
from workers.serve.sampling import sample

VOCABULARY = [*SPECIAL, *WORDS]
SCORES = st.lists(st.floats(-8, 8), min_size=2, max_size=12)
STEPS = st.lists(st.integers(-512, 512).map(lambda number: number / 64), min_size=2, max_size=12)


RENDERER = Renderer(tiny_tokenizer(), [1, 2])


def make_row(seed: int = 0, **options: Any) -> Row:
    chosen = Settings(**{"limit": 8, **options})
    return Row(chosen, random.Random(seed), Detokenizer(RENDERER, chosen.stop, live=False), frozenset([1, 2]))


def draw(scores: torch.Tensor, rows: list[Row]) -> list[int]:
    return [token for token, _ in sample(scores, rows)]


def encode(text: str) -> list[int]:
    return [VOCABULARY.index(word) for word in text.split()]


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
    drawn = draw(torch.tensor([scores] * 200), rows)
    assert set(drawn) <= set(np.flatnonzero(expected > 0).tolist()) | set(_ties(expected, scores))


def _ties(expected: np.ndarray, scores: list[float]) -> list[int]:
    """Tokens as likely as the last one of the nucleus in float32: rounding may put them before it."""
    least = min(scores[token] for token in np.flatnonzero(expected > 0))
    return [token for token, score in enumerate(scores) if abs(score - least) < 1e-4]


def test_tokens_come_as_often_as_they_are_likely() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, -1.0])
    rows = [make_row(seed, temperature=0.7, top_p=0.9) for seed in range(20_000)]
    counts = np.bincount(draw(scores.expand(20_000, -1), rows), minlength=4) / 20_000
    expected = keep_nucleus(scores.numpy().astype(float), 0.7, 0.9)
    assert counts == pytest.approx(expected, abs=4 * 0.5 / 20_000**0.5)


@given(STEPS, st.sampled_from([{"temperature": 0.0}, {"top_p": 0.0}, {"temperature": 0.0, "top_p": 0.5}]))
def test_temperature_0_and_top_p_0_take_the_most_likely_token(
    scores: list[float], options: dict[str, float]
) -> None:
    (token,) = draw(torch.tensor([scores]), [make_row(**options)])
    assert torch.tensor(scores)[token] == torch.tensor(scores).max()


@given(st.lists(SCORES.filter(lambda each: len(each) >= 6), min_size=2, max_size=5), st.integers(0, 9))
def test_a_row_draws_the_same_token_in_any_company(batch: list[list[float]], seed: int) -> None:
    logits = torch.tensor([scores[:6] for scores in batch])
    tops = [1.0 if number % 2 else 0.8 for number in range(len(batch))]
    together = draw(logits, [make_row(seed + n, top_p=top_p) for n, top_p in enumerate(tops)])
    alone = [draw(logits[n : n + 1], [make_row(seed + n, top_p=top_p)])[0] for n, top_p in enumerate(tops)]
    assert together == alone


class _Last(random.Random):
    """The largest number that ``random`` can return."""

    def random(self) -> float:
        return 1 - 2**-53


def test_the_last_number_of_the_generator_draws_a_token_that_has_a_chance() -> None:
    row = make_row(top_p=0.9)
    row.random = _Last()
    (token,) = draw(torch.tensor([[5.0, 4.0, -30.0, -40.0]]), [row])
    assert token in (0, 1)


# --- penalties, biases and log-probabilities --------------------------------------------------------


def test_penalties_and_biases_change_the_logits() -> None:
    row = make_row(
        presence_penalty=0.5, frequency_penalty=1.0, bias=((3, 9.0),), temperature=0.0, scores=True
    )
    row.counts.update([0, 0, 1])
    logits = torch.tensor([[4.0, 3.0, 2.0, -8.0]])  # less 2.5, less 1.5, as it is, and with 9 more
    ((token, scores),) = sample(logits, [row])
    assert token == 2
    assert scores is not None
    assert scores.model == pytest.approx(float(logits.log_softmax(-1)[0, 2]))


def test_a_bias_of_minus_100_bans_a_token() -> None:
    assert (
        draw(torch.tensor([[5.0, 0.0]] * 50), [make_row(n, bias=((0, -100.0),)) for n in range(50)])
        == [1] * 50
    )


@settings(max_examples=30)
@given(SCORES, st.floats(0.3, 2), st.floats(0.05, 1))
def test_scores_are_those_of_the_model_and_of_the_distribution_that_was_sampled(
    scores: list[float], temperature: float, top_p: float
) -> None:
    row = make_row(temperature=temperature, top_p=top_p, scores=True, top=2)
    ((token, found),) = sample(torch.tensor([scores]), [row])
    assert found is not None
    own = torch.tensor(scores).log_softmax(-1)
    assert found.model == pytest.approx(float(own[token]), abs=1e-5)
    expected = keep_nucleus(np.array(scores), temperature, top_p)
    if not _ties(expected, scores)[1:]:
        assert found.sampled == pytest.approx(log(expected[token]), abs=1e-4)
    assert [value for _, value in found.top] == pytest.approx(own.topk(2).values.tolist(), abs=1e-5)


# --- where a completion ends -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "options", "text", "finish"),
    [
        ("red blue <end>", {}, "red blue", "stop"),
        ("red <turn>", {}, "red", "stop"),
        ("red blue green", {"limit": 3}, "red blue green", "length"),
        ("red <end>", {"limit": 2}, "red", "stop"),
        ("red blue green", {"stop": ("blue",)}, "red ", "stop"),
        ("red blue green", {"stop": ("green", "blue")}, "red ", "stop"),
        ("red blue", {"stop": ("d b",)}, "re", "stop"),
        ("red blue", {"stop": ("cold",)}, "red blue", None),
    ],
)
def test_a_completion_ends_at_its_end_token_its_stop_text_or_its_limit(
    tokens: str, options: dict[str, Any], text: str, finish: str | None
) -> None:
    row = make_row(**options)
    for token in encode(tokens):
        if row.finish is None:
            row.add(token)
    assert row.detokenizer.finish() == text
    assert row.finish == finish
    assert row.future.done() == (row.finish is not None)
