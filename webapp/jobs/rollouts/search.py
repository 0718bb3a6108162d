"""Rollouts of a job: found by filters, in an order, paged by place, kept for some time."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from itertools import groupby
from operator import or_
from typing import Any

from django.db.models import Avg, Count, Exists, FloatField, Func, Max, Min, OuterRef, Q, QuerySet, Value
from django.db.models.lookups import GreaterThan, LessThan
from django.utils import timezone

from webapp.core.input_checks import parse_whole_number
from webapp.jobs.models import Job, Rollout
from webapp.jobs.states import TERMINAL
from webapp.teams.models import Team

PAGE = 50
MOST_COUNTED = 10_000


# --- filters ---------------------------------------------------------------------------------------


def _text(text: str) -> str:
    return text.replace("\x00", "")


FILTERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "since": ("step__gte", int),
    "until": ("step__lte", int),
    "least": ("reward__gte", float),
    "most": ("reward__lte", float),
    "shortest": ("length__gte", int),
    "longest": ("length__lte", int),
    "task": ("task", _text),
    "row": ("row_id", _text),
    "error": ("error_class", _text),
    "text": ("completion__icontains", _text),
}
ONLY = {"errors": ~Q(error_class=""), "truncated": Q(truncated=True), "ungraded": Q(reward=None)}
NAMES = (*FILTERS, "only", "alarm", "sort")


def asked(address: Mapping[str, str]) -> dict[str, str]:
    """What of an address is about rollouts; one step is a range of steps."""
    found = {name: value for name in NAMES if (value := address.get(name))}
    if step := address.get("step"):
        found |= {"since": step, "until": step}
    return found


def _wanted(job: Job, query: Mapping[str, str]) -> Q:
    """The query's filters; what cannot be read is ignored."""
    wanted = ONLY.get(query.get("only", ""), Q())
    for name, (lookup, read) in FILTERS.items():
        if value := query.get(name, ""):
            try:
                wanted &= Q(**{lookup: read(value)})
            except ValueError:
                continue
    if code := query.get("alarm", ""):
        wanted &= _shown_by(job, code)
    return wanted


def _shown_by(job: Job, code: str) -> Q:
    """The rollouts that show this alarm, in whichever steps it was raised."""
    alarms = job.alarms.filter(code=code).values_list("step", "rollouts")
    places = [Q(step=step, index__in=indices) for step, indices in alarms]
    return reduce(or_, places, Q(pk=None))


# --- orders ----------------------------------------------------------------------------------------

Place = tuple[Any, ...]


class _Row(Func):
    """Columns compared as one, so that PostgreSQL seeks a place in an index over just these."""

    function = "ROW"
    output_field = FloatField()


@dataclass(frozen=True)
class Order:
    """Columns that give every rollout a place of its own, the last two step and index, and their signs."""

    label: str
    columns: tuple[str, ...]
    signs: tuple[int, ...]

    def key(self, place: Place) -> Place:
        """What sorts such places in Python."""
        return tuple(sign * value for sign, value in zip(self.signs, place, strict=True))

    def walk(self, rollouts: QuerySet[Rollout], place: Place | None, back: bool = False) -> QuerySet[Rollout]:
        """The rollouts behind the place, nearest first; those before it with ``back``."""
        signs = [-sign for sign in self.signs] if back else self.signs
        names = [f"-{name}" if sign < 0 else name for name, sign in zip(self.columns, signs, strict=True)]
        return (rollouts.filter(self._beyond(place, signs[0])) if place else rollouts).order_by(*names)

    def _beyond(self, place: Place, sign: int) -> Q:
        if len(set(self.signs)) == 1:
            compare = GreaterThan if sign > 0 else LessThan
            return Q(compare(_Row(*self.columns), _Row(*map(Value, place))))
        step, index = place
        bound, passed = ("gte", "index__gte") if sign > 0 else ("lte", "index__lte")
        return Q(**{f"step__{bound}": step}) & ~Q(**{"step": step, passed: index})


ORDERS = {
    "": Order("newest first", ("step", "index"), (-1, 1)),
    "reward": Order("lowest reward first", ("reward", "step", "index"), (1, 1, 1)),
    "-reward": Order("highest reward first", ("reward", "step", "index"), (-1, -1, -1)),
}


@dataclass(frozen=True)
class Found:
    """The rollouts of a job that filters leave, and their order."""

    job: Job
    rollouts: QuerySet[Rollout]
    order: Order

    def place(self, step: int, index: int) -> Place | None:
        """Where a rollout of the job stands in this order; ``None`` for one without a reward to order by."""
        if "reward" not in self.order.columns:
            return step, index
        graded = self.job.rollouts.filter(step=step, index=index, reward__isnull=False)
        return graded.values_list(*self.order.columns).first()

    def few(self) -> list[tuple[Place, int]] | None:
        """Sort keys and ids of all that were found, in order; ``None`` where they are too many to count."""
        columns = (*self.order.columns, "pk")
        places = list(self.rollouts.order_by().values_list(*columns)[: MOST_COUNTED + 1])
        if len(places) > MOST_COUNTED:
            return None
        return sorted((self.order.key(place), pk) for *place, pk in places)


def find(job: Job, query: Mapping[str, str]) -> Found:
    """What the filters ask for, newest first or by reward; what was not graded has no place by reward."""
    order = ORDERS.get(query.get("sort", ""), ORDERS[""])
    graded = Q(reward__isnull=False) if "reward" in order.columns else Q()
    return Found(job, job.rollouts.filter(_wanted(job, query), graded), order)


# --- pages -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """Some rollouts, the place where the next page begins if there is one, and how many there are in all."""

    rollouts: list[Rollout]
    onward: str
    count: str


def page_after(found: Found, after: str) -> Page:
    """The page behind the rollout ``after`` (``STEP-INDEX``).

    By place and not by number, so that the last page of a million comes as fast as the first. Few are found
    together and put in order here; of many, the next ones are met soon on a walk in their order. PostgreSQL
    itself cannot tell the two apart where filters go together, and then walks through everything.
    """
    place, few = _place(found, after), found.few()
    if few is None:
        return _page(list(found.order.walk(found.rollouts, place)[: PAGE + 1]), _counted(few))
    behind = few[_passed(few, found.order.key(place)) :] if place else few
    by_id = Rollout.objects.in_bulk([pk for _, pk in behind[: PAGE + 1]])
    return _page([by_id[pk] for _, pk in behind[: PAGE + 1] if pk in by_id], _counted(few))


def _page(rollouts: list[Rollout], count: str) -> Page:
    last = rollouts[PAGE - 1] if len(rollouts) > PAGE else None
    return Page(rollouts[:PAGE], f"{last.step}-{last.index}" if last else "", count)


def _place(found: Found, after: str) -> Place | None:
    step, index = (parse_whole_number(part) for part in (after.partition("-")[0], after.partition("-")[2]))
    return None if step is None or index is None else found.place(step, index)


def _passed(few: list[tuple[Place, int]], key: Place) -> int:
    """How many come no later than this key."""
    at = bisect_left(few, key, key=lambda each: each[0])
    return at + (at < len(few) and few[at][0] == key)


def _counted(few: list[Any] | None) -> str:
    return f"more than {MOST_COUNTED:,}" if few is None else f"{len(few):,}"


@dataclass(frozen=True)
class Around:
    """The matches before and after a rollout. ``position`` is its own among them; 0 where it is none."""

    before: Rollout | None
    after: Rollout | None
    position: int
    count: str


def around(found: Found, shown: Rollout) -> Around:
    """Where a rollout stands among those that were found."""
    place, few = found.place(shown.step, shown.index), found.few()
    if place is None:
        return Around(None, None, 0, _counted(few))
    if few is None:
        before, after = (found.order.walk(found.rollouts, place, back).first() for back in (True, False))
        return Around(before, after, 0, _counted(few))
    key = found.order.key(place)
    passed = _passed(few, key)
    among = bool(passed) and few[passed - 1][0] == key
    earlier, later = few[: passed - among][-1:], few[passed:][:1]
    by_id = Rollout.objects.in_bulk([pk for _, pk in (*earlier, *later)])
    before, after = (by_id.get(side[0][1]) if side else None for side in (earlier, later))
    return Around(before, after, passed if among else 0, _counted(few))


# --- what came since ---------------------------------------------------------------------------------


def latest_step(job: Job) -> int:
    """The last step that has rollouts; 0 before the first."""
    return job.rollouts.order_by("-step").values_list("step", flat=True).first() or 0


def newer(found: Found, beyond: str) -> str:
    """How many came behind this step; empty for none."""
    step = parse_whole_number(beyond)
    if step is None:
        return ""
    count = len(found.rollouts.filter(step__gt=step).values_list("pk")[: MOST_COUNTED + 1])
    return f"more than {MOST_COUNTED:,}" if count > MOST_COUNTED else f"{count:,}" if count else ""


# --- groups on a page ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Neighbours on a page that answer the same prompt in the same step, and what their whole group got."""

    rollouts: list[Rollout]
    answers: int = 0
    mean: float | None = None
    lowest: float | None = None
    highest: float | None = None

    @property
    def together(self) -> bool:
        """Whether the prompt is better said once, above them."""
        return len(self.rollouts) > 1

    @property
    def no_signal(self) -> bool:
        """Whether all were worth the same, so that nothing was learnt from them."""
        return self.answers > 1 and self.lowest is not None and self.lowest == self.highest


def _measured(job: Job, step: int, groups: Collection[int]) -> QuerySet[Rollout, Any]:
    whole = job.rollouts.filter(step=step, group__in=groups).order_by().values_list("step", "group")
    return whole.annotate(Count("pk"), Avg("reward"), Min("reward"), Max("reward"))


def runs(job: Job, rollouts: list[Rollout]) -> list[Run]:
    """The page's rollouts in their order, put together with their groups."""
    if not rollouts:
        return []
    wanted: dict[int, set[int]] = defaultdict(set)
    for rollout in rollouts:
        wanted[rollout.step].add(rollout.group)
    first, *rest = (_measured(job, step, groups) for step, groups in wanted.items())
    # Step by step, since only a step's rollouts lie together in an index.
    got = first.union(*rest, all=True) if rest else first
    by_group = {(step, group): numbers for step, group, *numbers in got}
    return [
        Run(list(together), *by_group.get(place, ()))
        for place, together in groupby(rollouts, key=lambda rollout: (rollout.step, rollout.group))
    ]


# --- keeping ---------------------------------------------------------------------------------------


def forget_old() -> int:
    """Remove the rollouts of jobs that ended longer ago than their team keeps them. Returns how many."""
    removed = 0
    for team in Team.objects.exclude(rollouts_kept_days=None):
        for job in kept_too_long(team, team.rollouts_kept_days or 0):
            removed += job.rollouts.all().delete()[0]
    return removed


def kept_too_long(team: Team, days: int) -> QuerySet[Job]:
    """Jobs with rollouts that ended more than ``days`` ago."""
    old = team.jobs.filter(state__in=TERMINAL, finished_at__lt=timezone.now() - timedelta(days=days))
    return old.filter(Exists(Rollout.objects.filter(job=OuterRef("pk"))))
