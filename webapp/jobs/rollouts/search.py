"""Search of a job's rollouts: filters, orders, pages, groups; and deletion of old ones."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sized
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from itertools import groupby
from operator import or_
from typing import Any

from django.db.models import Avg, Count, Exists, FloatField, Func, Max, Min, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Left
from django.db.models.lookups import GreaterThan, LessThan
from django.utils import timezone

from webapp.core.input_checks import parse_whole_number
from webapp.jobs.models import Job, Rollout
from webapp.jobs.states import TERMINAL
from webapp.teams.models import Team

PAGE = 50
PREVIEW = 600  # characters of a completion in a list
MAX_COUNT = 10_000


# --- filters ---------------------------------------------------------------------------------------


def _remove_nul(text: str) -> str:
    return text.replace("\x00", "")  # PostgreSQL refuses it


# name in the query string -> (lookup, conversion)
FILTERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "since": ("step__gte", int),
    "until": ("step__lte", int),
    "least": ("reward__gte", float),
    "most": ("reward__lte", float),
    "shortest": ("length__gte", int),
    "longest": ("length__lte", int),
    "task": ("task", _remove_nul),
    "row": ("row_id", _remove_nul),
    "error": ("error_class", _remove_nul),
    "text": ("completion__icontains", _remove_nul),
    "ended": ("ended", _remove_nul),
    "tool": ("tools__contains", lambda text: [_remove_nul(text)]),
}
EPISODES = ~Q(ended="")  # indexes of episodes have only these rows
ONLY = {"errors": ~Q(error_class=""), "truncated": Q(truncated=True), "ungraded": Q(reward=None)}
NAMES = (*FILTERS, "only", "alarm", "sort")


def read_query(query: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that are about rollouts, in fixed order. ``step`` becomes a range of steps."""
    steps = dict.fromkeys(("since", "until"), query.get("step"))
    return {name: value for name in NAMES if (value := steps.get(name) or query.get(name))}


def _build_filter(job: Job, query: Mapping[str, str]) -> Q:
    """The filters of the query. Values that cannot be read are ignored."""
    condition = ONLY.get(query.get("only", ""), Q())
    for name, (lookup, convert) in FILTERS.items():
        if value := query.get(name, ""):
            try:
                condition &= Q(**{lookup: convert(value)})
            except ValueError:
                continue
    if query.get("tool"):
        condition &= EPISODES
    if code := query.get("alarm", ""):
        condition &= _match_examples(job, code)
    return condition


def _match_examples(job: Job, code: str) -> Q:
    """The example rollouts of an alarm, at all steps where it was raised."""
    alarms = job.alarms.filter(code=code).values_list("step", "rollouts")
    conditions = [Q(step=step, index__in=indices) for step, indices in alarms]
    return reduce(or_, conditions, Q(pk=None))


# --- orders ----------------------------------------------------------------------------------------

SortValues = tuple[Any, ...]  # of an order's columns


class _Row(Func):
    """Columns compared as one row, so that an index over exactly these columns serves."""

    function = "ROW"
    output_field = FloatField()


@dataclass(frozen=True)
class Order:
    """A total order of rollouts: columns and their signs. The last two are step and index."""

    label: str
    columns: tuple[str, ...]
    signs: tuple[int, ...]

    def key(self, values: SortValues) -> SortValues:
        """Return the key that sorts such values in Python."""
        return tuple(sign * value for sign, value in zip(self.signs, values, strict=True))

    def walk(
        self, rollouts: QuerySet[Rollout], values: SortValues | None, back: bool = False
    ) -> QuerySet[Rollout]:
        """Return the rollouts after these values, nearest first; with ``back`` those before them."""
        signs = [-sign for sign in self.signs] if back else self.signs
        names = [f"-{name}" if sign < 0 else name for name, sign in zip(self.columns, signs, strict=True)]
        return (rollouts.filter(self._match_after(values, signs[0])) if values else rollouts).order_by(*names)

    def _match_after(self, values: SortValues, sign: int) -> Q:
        if len(set(self.signs)) == 1:
            compare = GreaterThan if sign > 0 else LessThan
            return Q(compare(_Row(*self.columns), _Row(*map(Value, values))))
        # Signs differ only in (step, index), which a comparison of rows cannot express.
        step, index = values
        bound, passed = ("gte", "index__gte") if sign > 0 else ("lte", "index__lte")
        return Q(**{f"step__{bound}": step}) & ~Q(**{"step": step, passed: index})


ORDERS = {
    "": Order("newest first", ("step", "index"), (-1, 1)),
    "reward": Order("lowest reward first", ("reward", "step", "index"), (1, 1, 1)),
    "-reward": Order("highest reward first", ("reward", "step", "index"), (-1, -1, -1)),
}


@dataclass(frozen=True)
class Matches:
    """The rollouts of a job that match a query, and their order."""

    job: Job
    rollouts: QuerySet[Rollout]
    order: Order

    def sort_values(self, step: int, index: int) -> SortValues | None:
        """Return the values that order this rollout; None if it has no reward to be ordered by."""
        if "reward" not in self.order.columns:
            return step, index
        graded = self.job.rollouts.filter(step=step, index=index, reward__isnull=False)
        return graded.values_list(*self.order.columns).first()

    def list_keys(self) -> list[tuple[SortValues, int]] | None:
        """Return sort keys and ids of all matches in order; None if more than ``MAX_COUNT``."""
        columns = (*self.order.columns, "pk")
        rows = list(self.rollouts.order_by().values_list(*columns)[: MAX_COUNT + 1])
        if len(rows) > MAX_COUNT:
            return None
        return sorted((self.order.key(values), pk) for *values, pk in rows)


def search_rollouts(job: Job, query: Mapping[str, str]) -> Matches:
    """Return the matches of a query. Orders by reward leave ungraded rollouts out."""
    order = ORDERS.get(query.get("sort", ""), ORDERS[""])
    graded = Q(reward__isnull=False) if "reward" in order.columns else Q()
    return Matches(job, job.rollouts.filter(_build_filter(job, query), graded), order)


# --- pages -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """A page of rollouts. ``next_after`` begins the next one; ``count`` is of all matches."""

    rollouts: list[Rollout]
    next_after: str
    count: str


def read_page(matches: Matches, after: str) -> Page:
    """Return the page after the rollout ``after`` (``STEP-INDEX``).

    Pages begin at a rollout instead of a number, so that the last page of a million is as fast as the first.
    Few matches are all read and sorted here; of many, the next ones are found soon by an ordered walk.
    PostgreSQL cannot tell the two cases apart where several filters apply, and would walk through all rows.
    """
    values, keys = _find_sort_values(matches, after), matches.list_keys()
    if keys is None:
        return _build_page(
            list(matches.order.walk(cut_texts(matches.rollouts), values)[: PAGE + 1]), _format_count(keys)
        )
    rest = keys[_count_up_to(keys, matches.order.key(values)) :] if values else keys
    by_id = cut_texts(Rollout.objects.all()).in_bulk([pk for _, pk in rest[: PAGE + 1]])
    return _build_page([by_id[pk] for _, pk in rest[: PAGE + 1] if pk in by_id], _format_count(keys))


def cut_texts(rollouts: QuerySet[Rollout]) -> QuerySet[Rollout]:
    """Return the rollouts for a list: ``preview`` instead of the completion, without the episode."""
    return rollouts.defer("completion", "episode", "reasoning").annotate(preview=Left("completion", PREVIEW))


def _build_page(rollouts: list[Rollout], count: str) -> Page:
    last = rollouts[PAGE - 1] if len(rollouts) > PAGE else None
    return Page(rollouts[:PAGE], f"{last.step}-{last.index}" if last else "", count)


def _find_sort_values(matches: Matches, after: str) -> SortValues | None:
    step, index = (parse_whole_number(part) for part in (after.partition("-")[0], after.partition("-")[2]))
    return None if step is None or index is None else matches.sort_values(step, index)


def _count_up_to(keys: list[tuple[SortValues, int]], key: SortValues) -> int:
    """Number of matches up to this key, itself included."""
    position = bisect_left(keys, key, key=lambda each: each[0])
    return position + (position < len(keys) and keys[position][0] == key)


def _format_count(keys: Sized | None) -> str:
    return f"more than {MAX_COUNT:,}" if keys is None else f"{len(keys):,}"


@dataclass(frozen=True)
class MatchPosition:
    """The matches before and after a rollout, and its own number; 0 if it is no match."""

    before: Rollout | None
    after: Rollout | None
    position: int
    count: str


def locate_match(matches: Matches, rollout: Rollout) -> MatchPosition:
    """Return the position of a rollout among the matches."""
    values, keys = matches.sort_values(rollout.step, rollout.index), matches.list_keys()
    count = _format_count(keys)
    if values is None:
        return MatchPosition(None, None, 0, count)
    if keys is None:
        links = matches.rollouts.only("step", "index")
        before, after = (matches.order.walk(links, values, back).first() for back in (True, False))
        return MatchPosition(before, after, 0, count)
    key = matches.order.key(values)
    passed = _count_up_to(keys, key)
    is_match = bool(passed) and keys[passed - 1][0] == key
    earlier, later = keys[: passed - is_match][-1:], keys[passed:][:1]
    by_id = Rollout.objects.only("step", "index").in_bulk([pk for _, pk in (*earlier, *later)])
    before, after = (by_id.get(side[0][1]) if side else None for side in (earlier, later))
    return MatchPosition(before, after, passed if is_match else 0, count)


# --- episodes ----------------------------------------------------------------------------------------


def has_episodes(job: Job) -> bool:
    """Return True if rollouts of the job have several turns."""
    return job.rollouts.filter(EPISODES).exists()


def list_recent_tools(job: Job) -> list[str]:
    """Return the tools that the newest episodes of the job called, by name."""
    newest = job.rollouts.filter(EPISODES).order_by("-step", "index").values_list("tools", flat=True)[:PAGE]
    return sorted({name for tools in newest for name in tools})


# --- newer rollouts ----------------------------------------------------------------------------------


def find_latest_step(job: Job) -> int:
    """Return the last step that has rollouts; 0 before the first."""
    return job.rollouts.order_by("-step").values_list("step", flat=True).first() or 0


def count_newer(matches: Matches, step_text: str) -> str:
    """Return the number of matches after this step as text; empty for none."""
    step = parse_whole_number(step_text)
    if step is None:
        return ""
    count = len(matches.rollouts.filter(step__gt=step).values_list("pk")[: MAX_COUNT + 1])
    return f"more than {MAX_COUNT:,}" if count > MAX_COUNT else f"{count:,}" if count else ""


# --- groups on a page ------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupRun:
    """Neighbouring rollouts of one group on a page, with size and rewards of the whole group."""

    rollouts: list[Rollout]
    size: int = 0
    mean: float | None = None
    lowest: float | None = None
    highest: float | None = None

    @property
    def has_heading(self) -> bool:
        """True if the page shows the prompt once above several rollouts."""
        return len(self.rollouts) > 1

    @property
    def no_signal(self) -> bool:
        """True if all rewards of the group are equal, so that it gave no gradient."""
        return self.size > 1 and self.lowest is not None and self.lowest == self.highest


def group_runs(job: Job, rollouts: list[Rollout]) -> list[GroupRun]:
    """Join neighbours of one group; the order of the rollouts stays."""
    if not rollouts:
        return []
    groups_by_step: dict[int, set[int]] = defaultdict(set)
    for rollout in rollouts:
        groups_by_step[rollout.step].add(rollout.group)
    first, *rest = (_measure_groups(job, step, groups) for step, groups in groups_by_step.items())
    # One query part per step, since only the rollouts of a step are neighbours in an index.
    rows = first.union(*rest, all=True) if rest else first
    by_group = {(step, group): numbers for step, group, *numbers in rows}
    return [
        GroupRun(list(neighbours), *by_group.get(group, ()))
        for group, neighbours in groupby(rollouts, key=lambda rollout: (rollout.step, rollout.group))
    ]


def _measure_groups(job: Job, step: int, groups: Collection[int]) -> QuerySet[Rollout, Any]:
    whole = job.rollouts.filter(step=step, group__in=groups).order_by().values_list("step", "group")
    return whole.annotate(Count("pk"), Avg("reward"), Min("reward"), Max("reward"))


# --- deletion --------------------------------------------------------------------------------------


def delete_expired() -> int:
    """Delete rollouts after their team's retention time. Return their number."""
    deleted = 0
    for team in Team.objects.exclude(rollouts_kept_days=None):
        for job in select_expired_jobs(team, team.rollouts_kept_days or 0):
            deleted += job.rollouts.all().delete()[0]
    return deleted


def select_expired_jobs(team: Team, days: int) -> QuerySet[Job]:
    """Return the jobs with rollouts that ended more than ``days`` ago."""
    ended = team.jobs.filter(state__in=TERMINAL, finished_at__lt=timezone.now() - timedelta(days=days))
    return ended.filter(Exists(Rollout.objects.filter(job=OuterRef("pk"))))
