"""A trial as its page shows it: answers side by side, a histogram to filter by, what training could learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator

from webapp.graders.definitions.references import RowReference, reference_reader
from webapp.graders.models import Grader, GraderTrial
from webapp.graders.trials.error_groups import ErrorGroup, error_groups, is_repeated
from webapp.graders.trials.statistics import (
    Agreement,
    Discrimination,
    agreement,
    bin_of,
    discrimination,
    edges,
    histogram,
)
from workers import grading

ROWS_SHOWN = 10
NOT_GRADED = "none"
KEPT_IN_URL = ("trial", "bin", "page")
Json = dict[str, Any]


@dataclass(frozen=True)
class Bar:
    """One bin of the histogram; ``key`` selects it in the URL, ``top`` is where its bar begins, in %."""

    key: str
    label: str
    low: str
    count: int
    top: float
    selected: bool


@dataclass(frozen=True)
class Row:
    """A row with its results, in the order of the columns."""

    row_id: str
    messages: list[Json]
    tools: list[Json]
    reference: RowReference
    results: list[Json]


@dataclass(frozen=True)
class Shown:
    """Everything about a finished trial; ``page`` holds the rows that the filter leaves."""

    page: Page[Row]
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
        """The filter as it begins an address's query."""
        return f"bin={self.selected.key}&" if self.selected else ""


def address(grader: Grader, query: Mapping[str, str]) -> str:
    """The bench with the trial and the filter that ``query`` names."""
    kept = {name: query[name] for name in KEPT_IN_URL if query.get(name)}
    return grader.get_absolute_url() + (f"?{urlencode(kept)}" if kept else "")


def home(trial: GraderTrial) -> str:
    """Where the trial shows: on its grader's bench, or on a page of its own."""
    return address(trial.grader, {"trial": trial.uid}) if trial.grader else trial.get_absolute_url()


def chosen(trial: GraderTrial) -> str:
    """The rows and answers of a trial in one line."""
    count, text = len(trial.rows), trial.choices.get("text")
    rows = f"{count} row{'' if count == 1 else 's'}"
    picked = {"first": f"The first {rows}", "random": f"{rows} at random", "search": f"{rows} with “{text}”"}
    said = picked.get(trial.choices.get("pick", "first"), rows)
    if trial.dataset_version:
        said += f" of {trial.dataset_version}, {trial.choices.get('split', 'train')}"
    return f"{said}; {', '.join(_answers(trial))}"


def _answers(trial: GraderTrial) -> list[str]:
    said = {
        "field": f"field {trial.choices.get('field')}",
        "typed": "an answer typed",
        "base_model": f"{trial.choices.get('samples')} samples of {trial.base_model}",
    }
    return [said[source] for source in trial.choices.get("answers", []) if source in said]


def shown(trial: GraderTrial, query: Mapping[str, str]) -> Shown:
    """The trial's results, those of ``?bin=`` alone if it is set."""
    rewards = [result["reward"] for result in trial.results]
    scored = [reward for reward in rewards if reward is not None]
    borders, chosen = edges(scored), query.get("bin", "")
    results = [_result(index, result, borders, chosen) for index, result in enumerate(trial.results)]
    errors = error_groups(trial)
    for result in results:
        result["repeated"] = is_repeated(result, errors)
    rows = [row for row in _rows(trial, results) if not chosen or any(r["matches"] for r in row.results)]
    bars = _bars(scored, len(rewards) - len(scored), chosen)
    usage = [use for result in trial.results for use in (result.get("usage") or {}).values()]
    return Shown(
        page=Paginator(rows, ROWS_SHOWN).get_page(query.get("page")),
        bars=bars,
        selected=next((bar for bar in bars if bar.selected), None),
        samples=_discrimination(trial),
        agreement=_agreement(trial),
        tokens=sum(use["total_tokens"] for use in usage),
        cost=sum(use["cost"] for use in usage),
        errors=errors,
        judged=bool(grading.judge_models(grading.validate(trial.definition))),
    )


def _result(index: int, result: Json, borders: Sequence[float], chosen: str) -> Json:
    reward = result["reward"]
    key = NOT_GRADED if reward is None else str(bin_of(reward, borders))
    usage = (result.get("usage") or {}).values()
    tokens = sum(use["total_tokens"] for use in usage)
    own = {"index": index, "matches": chosen == key, "tokens": tokens}
    return result | own


def label(trial: GraderTrial, result: Json) -> str:
    """Where an answer came from, in words."""
    if result["source"] == "base_model":
        return f"Sample {result['number']}"
    return "Typed" if result["source"] == "typed" else str(trial.choices.get("field"))


def _rows(trial: GraderTrial, results: list[Json]) -> list[Row]:
    of_row: list[list[Json]] = [[] for _ in trial.rows]
    for result in results:
        of_row[result["row"]].append(result | {"label": label(trial, result)})
    read = reference_reader(trial.definition, trial.grader)
    return [
        Row(row["row_id"], row["messages"], row.get("tools") or [], read(row["item"]), answers)
        for row, answers in zip(trial.rows, of_row, strict=True)
    ]


def _bars(scored: list[float], missing: int, chosen: str) -> list[Bar]:
    bins = histogram(scored)
    highest = max(1, missing, *(each.count for each in bins))

    def bar(key: str, said: str, low: str, count: int) -> Bar:
        return Bar(key, said, low, count, min(100 * (1 - count / highest), 98), key == chosen)

    bars = [
        bar(str(n), f"reward {each.low:.2g} to {each.high:.2g}", f"{each.low:.2g}", each.count)
        for n, each in enumerate(bins)
    ]
    return bars + ([bar(NOT_GRADED, "not graded", "none", missing)] if missing else [])


# --- what training could learn ---------------------------------------------------------------------


def _discrimination(trial: GraderTrial) -> Discrimination | None:
    """Over the base model's samples; None unless every row has two."""
    groups = _groups(trial, lambda result: result["reward"])
    return discrimination(groups) if groups and min(map(len, groups)) > 1 else None


def _agreement(trial: GraderTrial) -> Agreement | None:
    if not any("second" in result for result in trial.results):
        return None
    first = _groups(trial, lambda result: result["reward"], sampled=False)
    second = _groups(trial, lambda result: result["second"]["reward"], sampled=False)
    return agreement(first, second)


def _groups(trial: GraderTrial, reward: Any, *, sampled: bool = True) -> list[list[float | None]]:
    groups: dict[int, list[float | None]] = {}
    for result in trial.results:
        if not sampled or result["source"] == "base_model":
            groups.setdefault(result["row"], []).append(reward(result))
    return list(groups.values())
