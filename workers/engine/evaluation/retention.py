"""Retention: suites scored before and after training, and the drift of the policy from the base.

Forgetting of a suite is base minus tuned, paired by row. The drift is the forward KL on completions of the
base, which predicts forgetting where the distance in weights does not (arXiv 2509.04259).
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
from workers.contract.workload import DRIFT_COMPLETIONS
from workers.engine.base_model.initial_adapter import use_reference
from workers.engine.base_model.models import fold_adapter
from workers.engine.evaluation.evaluate import Evaluator, Split, Stage
from workers.engine.evaluation.statistics import bootstrap
from workers.engine.progress import Progress
from workers.engine.prompts.data import Row, find_file, read_rows, sample_rows
from workers.grading import GradeAnswers, Judges, compares_answers, open_graders

MAX_LOGITS = 1 << 27  # of a forward pass: 512 MiB in float32
MAX_COMPLETIONS = 64  # of a forward pass

Tokens = tuple[list[int], list[int]]  # a prompt and its completion


@dataclass(frozen=True)
class OpenSuite:
    """A suite with its rows read and its grader ready."""

    name: str
    rows: list[Row]
    grade: GradeAnswers
    compares: bool


@contextmanager
def open_suites(spec: JobSpec, folder: Path, judges: Judges) -> Iterator[list[OpenSuite]]:
    """Open the job's suites. Raises what ``read_rows`` and ``open_grader`` raise."""
    graders = {suite.name: suite.grader for suite in spec.suites}
    rows = {suite.name: read_rows(find_file(suite.rows, folder)) for suite in spec.suites}
    with open_graders(graders, seed=spec.seed, judges=judges) as opened:
        yield [
            OpenSuite(
                name,
                sample_rows(rows[name], spec.evaluation.max_rows, spec.seed),
                opened[name],
                compares_answers(grader),
            )
            for name, grader in graders.items()
        ]


@dataclass
class Retention:
    """Scores suites as the evaluator does. Completions of the base are sampled and scored by it once."""

    evaluator: Evaluator
    suites: dict[str, tuple[OpenSuite, Evaluator]]
    progress: Progress
    _base_logps: dict[tuple[str | int, ...], list[torch.Tensor]] = field(default_factory=dict)

    @classmethod
    def create(cls, suites: list[OpenSuite], evaluator: Evaluator, progress: Progress) -> Retention:
        """Give each suite an evaluator like the job's, with the suite's grader."""

        def tick(completions: int) -> None:
            progress.count_suite_completions(completions)
            evaluator.check_stop()

        sampler = replace(evaluator.sampler, tick=tick, player=None)  # rows of suites are not played
        return cls(
            evaluator,
            {
                suite.name: (
                    suite,
                    Evaluator(
                        evaluator.model, sampler, suite.grade, evaluator.settings, evaluator.seed,
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
        """Yield one event per suite and, once training has begun, one for the drift on the job's ``rows``."""
        if stage != "before":
            drift = self._drift("", self.evaluator, rows, split, samples)
            yield RetentionEvent(stage=stage, step=step, rows=len(rows), samples_per_row=samples, drift=drift)
        for suite, evaluator in self.suites.values():
            yield self._score(suite, evaluator, stage, step)

    def _score(self, suite: OpenSuite, evaluator: Evaluator, stage: Stage, step: int) -> RetentionEvent:
        rows, samples = _select_rows(suite, evaluator.settings, stage, evaluator.seed)
        if stage == "before":
            return _retention_event(suite.name, evaluator.evaluate_base(rows, "validation", samples), None)
        event = evaluator.compare(stage, step, rows, "validation", samples)
        drift = self._drift(suite.name, evaluator, rows, "validation", samples)
        return _retention_event(suite.name, event, drift)

    def _drift(
        self, suite: str, evaluator: Evaluator, rows: list[Row], split: Split, samples: int
    ) -> Drift | None:
        """Measure the drift; ``None`` if the base wrote nothing at all."""
        sampler, model = evaluator.sampler, evaluator.model
        each = min(samples, max(1, DRIFT_COMPLETIONS // len(rows)))
        completions = [own[:each] for own in evaluator.sample_base(rows, split, samples)]
        prompts = [sampler.renderer.encode(row.messages, row.tools) for row in rows]
        pairs = [(prompt, c.ids) for prompt, own in zip(prompts, completions, strict=True) for c in own]
        masks = [c.mask for own in completions for c in own]
        key = (suite, split, samples, len(rows))
        if key not in self._base_logps:
            with use_reference(model):
                self._base_logps[key] = _score_pairs(evaluator, pairs)
        with fold_adapter(model):
            tuned = _score_pairs(evaluator, pairs)
        self.progress.count_drift_completions(len(pairs))
        ratios = [
            _select_written((base - now).double(), mask)
            for base, now, mask in zip(self._base_logps[key], tuned, masks, strict=True)
        ]
        return compute_drift(ratios, each, evaluator.settings, evaluator.seed)


def _select_written(values: torch.Tensor, mask: list[int] | None) -> torch.Tensor:
    """Return the values of tokens that the model wrote: of an episode not all."""
    return values if mask is None else values[torch.tensor(mask, dtype=torch.bool)]


def _score_pairs(evaluator: Evaluator, pairs: Sequence[Tokens]) -> list[torch.Tensor]:
    model, temperature = evaluator.model.get_base_model(), evaluator.sampler.temperature
    return log_probabilities(model, pairs, temperature, evaluator.check_stop)


def _select_rows(
    suite: OpenSuite, settings: EvaluationSettings, stage: Stage, seed: int
) -> tuple[list[Row], int]:
    """Return rows and samples per row: as in validation, and after training as in the final test."""
    if stage == "after":
        return suite.rows, settings.samples_per_row
    return sample_rows(suite.rows, settings.validation_max_rows, seed), settings.validation_samples_per_row


def _retention_event(suite: str, event: EvaluationEvent, drift: Drift | None) -> RetentionEvent:
    return RetentionEvent(
        suite=suite,
        stage=event.stage,
        step=event.step,
        rows=event.comparison.rows if event.comparison else event.rows,
        samples_per_row=event.samples_per_row,
        base=event.base.reward,
        tuned=event.tuned.reward if event.tuned else None,
        forgetting=negate(event.difference) if event.difference else None,
        grading_errors=_added_errors(event),
        drift=drift,
        judge_cost=event.judge_cost,
    )


def _added_errors(event: EvaluationEvent) -> float:
    """Return by how much tuning raised the share of failed gradings."""
    if event.tuned is None:
        return 0.0
    return max(0.0, event.tuned.grading_error_share - event.base.grading_error_share)


def negate(change: Interval) -> Interval:
    """Return forgetting (base minus tuned) from the change (tuned minus base)."""
    return change.scaled(-1.0)


def compute_drift(
    ratios: Sequence[torch.Tensor], samples: int, settings: EvaluationSettings, seed: int
) -> Drift | None:
    """Return the forward KL from log-ratios log p_base - log p_tuned, one tensor (tokens,) per completion.

    KL(base || tuned) = E over completions of the base of the sum over tokens of the log-ratio. ``samples``
    consecutive completions belong to one row, the unit of the bootstrap. ``None`` if there are no tokens.
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
    """Return log-probabilities (tokens,) of every completion under softmax(logits / temperature), on CPU."""
    order = sorted(range(len(pairs)), key=lambda index: sum(map(len, pairs[index])))
    found: dict[int, torch.Tensor] = {}
    training = model.training
    model.eval()
    try:
        for portion in _divide(order, pairs, model.config.get_text_config().vocab_size):
            found |= zip(portion, _forward(model, [pairs[i] for i in portion], temperature), strict=True)
            check_stop()
    finally:
        model.train(training)
    return [found[index] for index in range(len(pairs))]


def _divide(order: list[int], pairs: Sequence[Tokens], vocabulary: int) -> Iterator[list[int]]:
    """Yield neighbours in ``order``, which ascends in length, with few enough logits for one pass."""
    portion: list[int] = []
    for index in order:
        longest = sum(map(len, pairs[index]))
        too_many = (len(portion) + 1) * longest * vocabulary > MAX_LOGITS
        if portion and (len(portion) == MAX_COMPLETIONS or too_many):
            yield portion
            portion = []
        portion.append(index)
    if portion:
        yield portion


def _forward(model: Any, pairs: Sequence[Tokens], temperature: float) -> list[torch.Tensor]:
    """Run one pass over prompts and completions, padded on the right: causal attention ignores it there."""
    longest = max(len(prompt) + len(completion) for prompt, completion in pairs)
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, completion) in enumerate(pairs):
        ids[row, : len(prompt) + len(completion)] = torch.tensor(prompt + completion)
        mask[row, : len(prompt) + len(completion)] = 1
    dropped = min(len(prompt) for prompt, _ in pairs) - 1  # positions before the first completion token
    options = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        logits = model(**options, logits_to_keep=longest - dropped).logits
    else:
        logits = model(**options).logits[:, dropped:]
    return [
        _select_logprobs(logits[row, len(prompt) - 1 - dropped :], completion, temperature)
        for row, (prompt, completion) in enumerate(pairs)
    ]


def _select_logprobs(logits: torch.Tensor, completion: list[int], temperature: float) -> torch.Tensor:
    """Return log-probabilities (tokens,) from logits (at least tokens, vocabulary)."""
    ids = torch.tensor(completion, dtype=torch.long, device=logits.device)[:, None]
    scaled = logits[: len(completion)].float() / temperature
    logps: torch.Tensor = scaled.log_softmax(-1).gather(-1, ids)[:, 0].cpu()
    return logps
