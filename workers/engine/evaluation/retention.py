"""What a model still does: suites scored before and after, and how far the policy has moved from the base.

Forgetting of a suite is base minus tuned, paired by row. The drift is the forward KL on answers that the base
wrote, which predicts forgetting where distance in weights does not (arXiv 2509.04259).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from workers.contract.events import Drift, EvaluationEvent, Interval, RetentionEvent
from workers.contract.spec import EvaluationSettings, JobSpec
from workers.contract.workload import DRIFT_ANSWERS
from workers.engine.base_model.initial_adapter import reference
from workers.engine.base_model.models import folded
from workers.engine.evaluation.evaluate import Evaluator, Split, Stage
from workers.engine.evaluation.statistics import bootstrap
from workers.engine.progress import Progress
from workers.engine.prompts.data import Row, checked_path, choose, read_rows
from workers.grading import GradeAnswers, Judges, compares_answers, open_graders

LOGITS = 1 << 27  # numbers a forward pass may hold, 512 MiB in float32
ANSWERS = 64  # answers a forward pass may hold

Tokens = tuple[list[int], list[int]]  # a prompt and its answer


@dataclass(frozen=True)
class OpenSuite:
    """A suite with its rows read and its grader ready."""

    name: str
    rows: list[Row]
    grade: GradeAnswers
    compares: bool


@contextmanager
def open_suites(spec: JobSpec, folder: Path, judges: Judges) -> Iterator[list[OpenSuite]]:
    """The job's suites, until the end. Raises what ``read_rows`` and ``open_grader`` raise."""
    graders = {suite.name: suite.grader for suite in spec.suites}
    rows = {suite.name: read_rows(checked_path(suite.rows, folder)) for suite in spec.suites}
    with open_graders(graders, seed=spec.seed, judges=judges) as opened:
        yield [
            OpenSuite(
                name,
                choose(rows[name], spec.evaluation.max_rows, spec.seed),
                opened[name],
                compares_answers(grader),
            )
            for name, grader in graders.items()
        ]


@dataclass
class Retention:
    """Scores suites with the evaluator's own machinery. Base answers and their log-probabilities are kept."""

    evaluator: Evaluator
    suites: dict[str, tuple[OpenSuite, Evaluator]]
    progress: Progress
    _base_logps: dict[tuple[Any, ...], list[torch.Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, suites: list[OpenSuite], evaluator: Evaluator, progress: Progress) -> Retention:
        """An evaluator for each suite: the job's, with the suite's grader and answers of its own."""

        def tick(answers: int) -> None:
            progress.suite_answers(answers)
            evaluator.check_stop()

        quiet = replace(evaluator.sampler, tick=tick)
        return cls(
            evaluator,
            {
                suite.name: (
                    suite,
                    Evaluator(
                        evaluator.model, quiet, suite.grade, evaluator.settings, evaluator.seed,
                        evaluator.check_stop, suite.compares,
                    ),
                )
                for suite in suites
            },
            progress,
        )  # fmt: skip

    def measure(
        self, stage: Stage, step: int, split: Split, rows: list[Row], samples: int
    ) -> Iterator[RetentionEvent]:
        """One event a suite; after training has begun, one more for the drift on the job's own ``rows``."""
        if stage != "before":
            drift = self._drift("", self.evaluator, rows, split, samples)
            yield RetentionEvent(stage=stage, step=step, rows=len(rows), samples_per_row=samples, drift=drift)
        for suite, evaluator in self.suites.values():
            yield self._score(suite, evaluator, stage, step)

    def _score(self, suite: OpenSuite, evaluator: Evaluator, stage: Stage, step: int) -> RetentionEvent:
        rows, samples = _amount(suite, evaluator.settings, stage, evaluator.seed)
        if stage == "before":
            return _told(suite.name, evaluator.before(rows, "validation", samples), None)
        event = evaluator.compare(stage, step, rows, "validation", samples)
        return _told(suite.name, event, self._drift(suite.name, evaluator, rows, "validation", samples))

    def _drift(
        self, suite: str, evaluator: Evaluator, rows: list[Row], split: Split, samples: int
    ) -> Drift | None:
        """``None`` where the base wrote nothing at all."""
        sampler, model = evaluator.sampler, evaluator.model
        each = min(samples, max(1, DRIFT_ANSWERS // len(rows)))
        answers = [drawn[:each] for drawn in evaluator.base_answers(rows, split, samples)]
        prompts = [sampler.renderer.encode(row.messages, row.tools) for row in rows]
        pairs = [(prompt, a.ids) for prompt, drawn in zip(prompts, answers, strict=True) for a in drawn]
        key = (suite, split, samples, len(rows))
        if key not in self._base_logps:
            with reference(model):
                self._base_logps[key] = _logps(evaluator, pairs)
        with folded(model):
            tuned = _logps(evaluator, pairs)
        self.progress.drift_answers(len(pairs))
        ratios = [(base - now).double() for base, now in zip(self._base_logps[key], tuned, strict=True)]
        return drift(ratios, each, evaluator.settings, evaluator.seed)


def _logps(evaluator: Evaluator, pairs: Sequence[Tokens]) -> list[torch.Tensor]:
    model, temperature = evaluator.model.get_base_model(), evaluator.sampler.temperature
    return log_probabilities(model, pairs, temperature, evaluator.check_stop)


def _amount(suite: OpenSuite, settings: EvaluationSettings, stage: Stage, seed: int) -> tuple[list[Row], int]:
    """Rows and answers to each: as many as validation uses, and for the verdict as many as the final test."""
    if stage == "after":
        return suite.rows, settings.samples_per_row
    return choose(suite.rows, settings.validation_max_rows, seed), settings.validation_samples_per_row


def _told(suite: str, event: EvaluationEvent, drift: Drift | None) -> RetentionEvent:
    return RetentionEvent(
        suite=suite,
        stage=event.stage,
        step=event.step,
        rows=event.comparison.rows if event.comparison else event.rows,
        samples_per_row=event.samples_per_row,
        base=event.base.reward,
        tuned=event.tuned.reward if event.tuned else None,
        forgetting=turned(event.difference) if event.difference else None,
        grading_errors=_more_errors(event),
        drift=drift,
        judge_cost=event.judge_cost,
    )


def _more_errors(event: EvaluationEvent) -> float:
    if event.tuned is None:
        return 0.0
    return max(0.0, event.tuned.grading_error_share - event.base.grading_error_share)


def turned(change: Interval) -> Interval:
    """Forgetting, base minus tuned, from the change, tuned minus base."""
    return change.scaled(-1.0)


def drift(
    ratios: Sequence[torch.Tensor], samples: int, settings: EvaluationSettings, seed: int
) -> Drift | None:
    """Forward KL from log-ratios log p_base - log p_tuned, one tensor (tokens,) for each answer of the base.

    KL(base || tuned) = E over base answers of the sum over tokens of the log-ratio. ``samples`` answers that
    follow each other belong to one row, the unit of the bootstrap. ``None`` if there are no tokens.
    """
    tokens = sum(len(ratio) for ratio in ratios)
    if not tokens:
        return None
    sums = [float(ratio.sum()) for ratio in ratios]
    by_row = [sum(sums[first : first + samples]) / samples for first in range(0, len(sums), samples)]
    interval = bootstrap(by_row, settings.confidence, settings.bootstrap_resamples, seed)
    return Drift(per_answer=interval, per_token=sum(sums) / tokens, tokens=tokens)


@torch.no_grad()
def log_probabilities(
    model: Any, pairs: Sequence[Tokens], temperature: float, check_stop: Callable[[], None]
) -> list[torch.Tensor]:
    """Log-probabilities (answer tokens,) of every answer under softmax(logits / temperature), on the CPU."""
    order = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))
    found: dict[int, torch.Tensor] = {}
    training = model.training
    model.eval()
    try:
        for places in _portions(order, pairs, model.config.get_text_config().vocab_size):
            found |= zip(places, _forward(model, [pairs[p] for p in places], temperature), strict=True)
            check_stop()
    finally:
        model.train(training)
    return [found[place] for place in range(len(pairs))]


def _portions(order: list[int], pairs: Sequence[Tokens], vocabulary: int) -> Iterator[list[int]]:
    """Neighbours in ``order``, which rises in length, so many that the logits of all stay within bounds."""
    portion: list[int] = []
    for place in order:
        longest = sum(map(len, pairs[place]))
        if portion and (len(portion) == ANSWERS or (len(portion) + 1) * longest * vocabulary > LOGITS):
            yield portion
            portion = []
        portion.append(place)
    if portion:
        yield portion


def _forward(model: Any, pairs: Sequence[Tokens], temperature: float) -> list[torch.Tensor]:
    """One pass over prompts and answers, padded on the right, where causal attention does not see it."""
    longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    seen = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(pairs):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        seen[row, : len(prompt) + len(answer)] = 1
    dropped = min(len(prompt) for prompt, _ in pairs) - 1  # places before the first answer's
    options = {"input_ids": ids.to(model.device), "attention_mask": seen.to(model.device)}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        logits = model(**options, logits_to_keep=longest - dropped).logits
    else:
        logits = model(**options).logits[:, dropped:]
    return [
        _chosen(logits[row, len(prompt) - 1 - dropped :], answer, temperature)
        for row, (prompt, answer) in enumerate(pairs)
    ]


def _chosen(logits: torch.Tensor, answer: list[int], temperature: float) -> torch.Tensor:
    """Log-probabilities (tokens,) from logits (tokens and more, vocabulary)."""
    wanted = torch.tensor(answer, dtype=torch.long, device=logits.device)[:, None]
    scaled = logits[: len(answer)].float() / temperature
    found: torch.Tensor = scaled.log_softmax(-1).gather(-1, wanted)[:, 0].cpu()
    return found
