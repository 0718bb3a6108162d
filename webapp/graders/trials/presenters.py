"""The page of a trial: completions side by side, a histogram to filter by, what training could learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator

from webapp.graders.definitions.references import RowReference, reference_reader
from webapp.graders.models import Grader, GraderTrial
from webapp.graders.rows import GradedAnswer, Message
from webapp.graders.trials.error_groups import ErrorGroup, group_errors, is_repeated
from webapp.graders.trials.statistics import (
    Agreement,
    Discrimination,
    build_histogram,
    find_bin,
    find_edges,
    measure_agreement,
    measure_discrimination,
)
from workers import grading
from workers.contract.json_types import JsonObject

ROWS_A_PAGE = 10
NOT_GRADED = "none"
KEPT_IN_URL = ("trial", "bin", "page")


@dataclass(frozen=True)
class Bar:
    """One bin of the histogram; ``key`` selects it in the URL, ``top`` is where its bar begins, in %."""

    key: str
    label: str
    low: str
    count: int
    top: float
    selected: bool


class ResultCard(GradedAnswer):
    """A result with what its card shows. ``matches`` if the filter selects it."""

    index: int
    label: str
    matches: bool
    tokens: int
    repeated: bool


@dataclass(frozen=True)
class RowResults:
    """A row with its results, in the order of the columns."""

    row_id: str
    messages: list[Message]
    tools: list[JsonObject]
    reference: RowReference
    results: list[ResultCard]


@dataclass(frozen=True)
class TrialResults:
    """The results of a finished trial; ``page`` holds the rows that match the filter."""

    page: Page[RowResults]
    bars: list[Bar]
    selected: Bar | None
    samples: Discrimination | None
    agreement: Agreement | None
    tokens: int
    cost: float
    errors: list[ErrorGroup]
    judged: bool

    @property
    def filter(self) -> str:
        """The filter as the beginning of a query string."""
        return f"bin={self.selected.key}&" if self.selected else ""


def build_bench_url(grader: Grader, query: Mapping[str, str]) -> str:
    """Return the URL of the bench, with the trial and the filter in ``query``."""
    kept = {name: query[name] for name in KEPT_IN_URL if query.get(name)}
    return grader.get_absolute_url() + (f"?{urlencode(kept)}" if kept else "")


def build_trial_url(trial: GraderTrial) -> str:
    """Return the URL of the page with the trial: its grader's bench, or a page of its own."""
    return build_bench_url(trial.grader, {"trial": trial.uid}) if trial.grader else trial.get_absolute_url()


def describe_trial(trial: GraderTrial) -> str:
    """Describe the rows and completions of a trial in one line."""
    count, text = len(trial.rows), trial.choices.get("text")
    rows = f"{count} row{'' if count == 1 else 's'}"
    picks = {"first": f"The first {rows}", "random": f"{rows} at random", "search": f"{rows} with “{text}”"}
    description = picks.get(trial.choices.get("pick", "first"), rows)
    if trial.dataset_version:
        description += f" of {trial.dataset_version}, {trial.choices.get('split', 'train')}"
    sources = {
        "field": f"field {trial.choices.get('field')}",
        "typed": "a typed completion",
        "base_model": f"{trial.choices.get('samples')} samples of {trial.base_model}",
    }
    answers = [sources[source] for source in trial.choices.get("answers", []) if source in sources]
    return f"{description}; {', '.join(answers)}"


def present_results(trial: GraderTrial, query: Mapping[str, str]) -> TrialResults:
    """Return the trial's results; with ``?bin=`` only the rows with a completion in that bin."""
    rewards = [result["reward"] for result in trial.results]
    graded = [reward for reward in rewards if reward is not None]
    selected, errors = query.get("bin", ""), group_errors(trial)
    rows = _build_rows(trial, errors, find_edges(graded), selected)
    if selected:
        rows = [row for row in rows if any(result["matches"] for result in row.results)]
    bars = _build_bars(graded, len(rewards) - len(graded), selected)
    usage = [use for result in trial.results for use in (result.get("usage") or {}).values()]
    return TrialResults(
        page=Paginator(rows, ROWS_A_PAGE).get_page(query.get("page")),
        bars=bars,
        selected=next((bar for bar in bars if bar.selected), None),
        samples=_measure_samples(trial),
        agreement=_measure_agreement(trial),
        tokens=sum(use["total_tokens"] for use in usage),
        cost=sum(use["cost"] for use in usage),
        errors=errors,
        judged=bool(grading.judge_models(grading.validate(trial.definition))),
    )


def _build_rows(
    trial: GraderTrial, errors: list[ErrorGroup], edges: list[float], selected: str
) -> list[RowResults]:
    cards: list[list[ResultCard]] = [[] for _ in trial.rows]
    results: list[GradedAnswer] = trial.results
    for index, result in enumerate(results):
        key = NOT_GRADED if result["reward"] is None else str(find_bin(result["reward"], edges))
        cards[result["row"]].append(
            {
                **result,
                "index": index,
                "label": _label_source(trial, result),
                "matches": selected == key,
                "tokens": sum(use["total_tokens"] for use in (result.get("usage") or {}).values()),
                "repeated": is_repeated(result, errors),
            }
        )
    read = reference_reader(trial.definition, trial.grader)
    return [
        RowResults(row["row_id"], row["messages"], row.get("tools") or [], read(row["item"]), answers)
        for row, answers in zip(trial.rows, cards, strict=True)
    ]


def _label_source(trial: GraderTrial, result: GradedAnswer) -> str:
    """Return the source of a completion."""
    if result["source"] == "base_model":
        return f"Sample {result['number']}"
    return "Typed" if result["source"] == "typed" else str(trial.choices.get("field"))


def _build_bars(graded: list[float], not_graded: int, selected: str) -> list[Bar]:
    bins = build_histogram(graded)
    highest = max(1, not_graded, *(each.count for each in bins))

    def build_bar(key: str, label: str, low: str, count: int) -> Bar:
        return Bar(key, label, low, count, min(100 * (1 - count / highest), 98), key == selected)

    bars = [
        build_bar(str(index), f"reward {each.low:.2g} to {each.high:.2g}", f"{each.low:.2g}", each.count)
        for index, each in enumerate(bins)
    ]
    return bars + ([build_bar(NOT_GRADED, "not graded", "none", not_graded)] if not_graded else [])


# --- what training could learn ---------------------------------------------------------------------


def _measure_samples(trial: GraderTrial) -> Discrimination | None:
    """Return the discrimination of the base model's samples; None unless every row has two."""
    groups = _group_rewards(trial, lambda result: result["reward"], samples_only=True)
    return measure_discrimination(groups) if groups and min(map(len, groups)) > 1 else None


def _measure_agreement(trial: GraderTrial) -> Agreement | None:
    if not any("second" in result for result in trial.results):
        return None
    first = _group_rewards(trial, lambda result: result["reward"])
    second = _group_rewards(trial, lambda result: result["second"]["reward"])
    return measure_agreement(first, second)


def _group_rewards(
    trial: GraderTrial, reward: Callable[[GradedAnswer], float | None], *, samples_only: bool = False
) -> list[list[float | None]]:
    """Return the rewards of the completions of each row."""
    groups: dict[int, list[float | None]] = {}
    for result in trial.results:
        if not samples_only or result["source"] == "base_model":
            groups.setdefault(result["row"], []).append(reward(result))
    return list(groups.values())
