"""``ranking``: a judge compares all answers to one prompt with each other.

The rewards of a group are relative to it: they say which of its answers are better, not how good they are.
Equal answers are judged once, the order is shuffled by the job's seed, and a verdict that fails leaves the
whole group without rewards.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeVar, cast

from workers.contract.graders import RankingGrader
from workers.contract.json_types import JsonObject, JsonValue
from workers.grading import form_fields
from workers.grading.context import GradingContext
from workers.grading.examples import JUDGE
from workers.grading.form_fields import FormField
from workers.grading.judge.asking import DATA, build_failure, build_schema, quote_data
from workers.grading.judge.client import Judge, Question, Reply
from workers.grading.judge.verdicts import as_number
from workers.grading.kind import GraderKind
from workers.grading.results import Grade, GradeResult, GraderInvalid, GradingFault, Subject, add_usage
from workers.grading.template import parse_template

ALL_EQUAL = 0.5  # reward of equal answers; any number would do, since their advantage is 0
CANARY = "canary"
T = TypeVar("T")
REASON: JsonObject = {"type": "string"}
SCORE: JsonObject = {"type": "number", "minimum": 0, "maximum": 1}


class _CallFailed(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.detail)
        self.reply = reply


def open_ranking(grader: RankingGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches of whole groups. Raises ``GradingUnavailable``."""
    judge, task = context.judge(grader.model), parse_template(grader.context)

    async def grade_group(subjects: list[Subject]) -> list[GradeResult]:
        try:
            filled = task.fill(subjects[0])
        except GradingFault as fault:
            return [fault.result(0.0)] * len(subjects)
        return await _Group(grader, judge, filled, context.seed, subjects).grade()

    def grade(subjects: Sequence[Subject]) -> list[GradeResult]:
        indices: dict[str, list[int]] = {}
        for index, subject in enumerate(subjects):
            indices.setdefault(subject.group, []).append(index)
        groups = judge.run_all([grade_group([subjects[i] for i in group]) for group in indices.values()])
        by_index = {
            index: result
            for group, results in zip(indices.values(), groups, strict=True)
            for index, result in zip(group, results, strict=True)
        }
        return [by_index[index] for index in range(len(subjects))]

    return grade


@dataclass
class _Group:
    """The answers to one prompt."""

    grader: RankingGrader
    judge: Judge
    context: str
    seed: int
    subjects: list[Subject]

    def __post_init__(self) -> None:
        self.replies: list[Reply] = []
        distinct = sorted({subject.text for subject in self.subjects})
        digest = hashlib.sha256(json.dumps([self.seed, self.context, distinct]).encode()).digest()
        dice = random.Random(digest)  # noqa: S311 -- no secret
        canary = self.grader.canary
        self.has_canary = canary is not None and dice.random() < self.grader.canary_share
        self.has_canary = self.has_canary and canary not in distinct
        self.candidates = distinct + ([canary] if self.has_canary and canary is not None else [])
        dice.shuffle(self.candidates)

    async def grade(self) -> list[GradeResult]:
        """Return the grades in the order of the subjects; the first one carries the cost of the calls."""
        if len({subject.text for subject in self.subjects}) == 1:
            return [GradeResult(ALL_EQUAL) for _ in self.subjects]
        try:
            verdicts = await METHODS[self.grader.method](self)
        except _CallFailed as failure:
            results = [build_failure(failure.reply) for _ in self.subjects]
        else:
            results = [self._result(verdicts, subject.text) for subject in self.subjects]
        return [self._with_cost(result, first=index == 0) for index, result in enumerate(results)]

    def _result(self, verdicts: dict[str, _Verdict], text: str) -> GradeResult:
        verdict = verdicts[text]
        parts: dict[str, float | None] = {}
        if self.has_canary and self.grader.canary is not None:
            last = min(each.score for answer, each in verdicts.items() if answer != self.grader.canary)
            parts[CANARY] = float(verdicts[self.grader.canary].score <= last)
        return GradeResult(verdict.score, parts, explanation=verdict.reason)

    def _with_cost(self, result: GradeResult, first: bool) -> GradeResult:
        cached = all(reply.cached for reply in self.replies)
        if not first:
            return replace(result, cached=cached)
        used = [usage for reply in self.replies for usage in reply.usage.values()]
        seconds = sum(reply.seconds for reply in self.replies)
        usage = {self.grader.model: add_usage(used)} if used else {}
        return replace(result, cached=cached, usage=usage, seconds=seconds)

    # --- all at once -----------------------------------------------------------------------------

    async def listwise(self) -> dict[str, _Verdict]:
        """One call: every answer gets a score from 0 to 1."""
        ids = [str(number) for number in range(1, len(self.candidates) + 1)]
        task = (
            "You are given several answers to the same task. For each give a short reason, then a score from "
            '0 to 1 that says how good it is beside the others, in JSON: {"answers": {ID: {"reason": …, '
            '"score": …}, …}}. Equally good answers get equal scores.'
        )
        scores: JsonObject = dict.fromkeys(ids, build_schema({"reason": REASON, "score": SCORE}))
        schema = build_schema({"answers": build_schema(scores)})
        answers: list[JsonValue] = [
            {"id": i, "answer": text} for i, text in zip(ids, self.candidates, strict=True)
        ]
        found = await self._ask(
            task, {"answers": answers}, schema, lambda verdict: _read_scores(verdict, ids)
        )
        return {text: found[i] for i, text in zip(ids, self.candidates, strict=True)}

    # --- in pairs --------------------------------------------------------------------------------

    async def round_robin(self) -> dict[str, _Verdict]:
        """N(N-1)/2 calls: the share of comparisons that an answer wins; a tie is half a win."""
        pairs = list(combinations(self.candidates, 2))
        table = _Table(self.candidates)
        for pair, result in zip(pairs, await self._compare_pairs(pairs), strict=True):
            table.add(*pair, result)
        return table.verdicts(len(self.candidates) - 1)

    async def knockout(self) -> dict[str, _Verdict]:
        """N-1 calls: the share of rounds that an answer survives; after a tie the first one advances."""
        table, left, rounds = _Table(self.candidates), self.candidates, 0
        while len(left) > 1:
            pairs = list(zip(left[::2], left[1::2], strict=False))
            winners = left[len(pairs) * 2 :]
            for bye in winners:
                table.points[bye] += 1
            for pair, result in zip(pairs, await self._compare_pairs(pairs), strict=True):
                table.add(*pair, result)
                winners = [*winners, pair[1] if result.better == "2" else pair[0]]
            left, rounds = winners, rounds + 1
        return table.verdicts(rounds)

    async def _compare_pairs(self, pairs: list[tuple[str, str]]) -> list[_Match]:
        task = (
            "You are given two answers to the same task. Give a short reason, then say which one is better: "
            '"1", "2" or "tie", in JSON: {"reason": …, "better": …}.'
        )
        schema = build_schema({"reason": REASON, "better": {"type": "string", "enum": ["1", "2", "tie"]}})
        questions: list[JsonObject] = [
            {"answers": [{"id": "1", "answer": first}, {"id": "2", "answer": second}]}
            for first, second in pairs
        ]
        return await self.judge.gather([self._ask(task, each, schema, _read_match) for each in questions])

    # --- a call ----------------------------------------------------------------------------------

    async def _ask(
        self, task: str, answers: JsonObject, schema: JsonObject, read: Callable[[object], T]
    ) -> T:
        """Return what ``read`` makes of the verdict. Raises ``_CallFailed``."""
        system = f"{task} {DATA}\n\nWhat makes an answer better:\n{self.grader.rubric}"
        data = {"task": self.context, **answers} if self.context else answers
        messages = [{"role": "system", "content": system}, {"role": "user", "content": quote_data(data)}]
        question = Question(messages, schema, read, self.grader.sampling_params, cold=True)
        reply = await self.judge.ask(question)
        self.replies.append(reply)
        if reply.error_class:
            raise _CallFailed(reply)
        return cast(T, reply.value)


METHODS = {"listwise": _Group.listwise, "knockout": _Group.knockout, "round_robin": _Group.round_robin}


@dataclass(frozen=True)
class _Verdict:
    score: float
    reason: str


@dataclass(frozen=True)
class _Match:
    better: str
    reason: str


class _Table:
    """Points of a tournament: 1 a win, half a tie."""

    def __init__(self, answers: list[str]) -> None:
        self.points = dict.fromkeys(answers, 0.0)
        self._reasons: dict[str, list[str]] = {answer: [] for answer in answers}

    def add(self, first: str, second: str, match: _Match) -> None:
        won = {"1": 1.0, "2": 0.0, "tie": 0.5}[match.better]
        self.points[first] += won
        self.points[second] += 1 - won
        for answer in (first, second):
            self._reasons[answer].append(match.reason)

    def verdicts(self, most: int) -> dict[str, _Verdict]:
        """Return the verdicts; ``most`` is the highest possible number of points."""
        return {a: _Verdict(points / most, "\n".join(self._reasons[a])) for a, points in self.points.items()}


def _read_scores(verdict: Any, ids: list[str]) -> dict[str, _Verdict]:
    """Return the verdicts by id. Raises ``ValueError`` unless every id has a score."""
    found = verdict.get("answers") if isinstance(verdict, dict) else None
    if not isinstance(found, dict) or found.keys() != set(ids):
        raise ValueError(f"it must name each of these ids once: {', '.join(ids)}")
    scores = {i: as_number(one.get("score")) for i, one in found.items() if isinstance(one, dict)}
    if len(scores) < len(found) or not all(map(_is_share, scores.values())):
        raise ValueError("every score must be a number from 0 to 1")
    return {i: _Verdict(float(scores[i]), str(one.get("reason", ""))) for i, one in found.items()}


def _is_share(score: Any) -> bool:
    return isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1


def _read_match(verdict: Any) -> _Match:
    better = str(verdict.get("better")).strip().lower() if isinstance(verdict, dict) else ""
    if better not in ("1", "2", "tie"):
        raise ValueError('better must be "1", "2" or "tie"')
    return _Match(better, str(verdict.get("reason", "")))


def check_ranking(grader: RankingGrader) -> None:
    """Raise ``GraderInvalid`` for a context that differs within a group."""
    pieces = parse_template(grader.context).pieces
    if any(not isinstance(piece, str) and piece.namespace == "sample" for piece in pieces):
        raise GraderInvalid("context", "all answers of a group share it: it can use item only")


KIND = GraderKind(
    definition=RankingGrader,
    label="Ranking",
    explanation="A judge model compares all completions of one prompt with each other.",
    example={
        "type": "ranking",
        "name": "better",
        "model": JUDGE,
        "rubric": "The better answer agrees with the reference and says nothing beyond it.",
        "context": "Reference answer: {{item.reference}}",
        "method": "listwise",
        "canary": "I hope this helps!",
    },
    fields=(
        form_fields.MODEL,
        FormField("rubric", "What makes an answer better", "textarea"),
        FormField("context", "Context", "textarea"),
        FormField("method", "Method", "select", tuple(METHODS)),
    ),
    has_form=True,
    open=open_ranking,
    check=check_ranking,
    asks_judge=True,
    compares_answers=True,
)
