"""Rollouts of a job: found by filters, paged by place, shown beside their group and through the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from operator import or_
from statistics import fmean
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from webapp.teams.models import Team, User
from webapp.teams.services import record

from .models import Job, Rollout, SavedView
from .states import TERMINAL

PAGE = 50
MOST_COUNTED = 10_000
STRIP_STEPS = 60


# --- filters ---------------------------------------------------------------------------------------


def _text(text: str) -> str:
    return text.replace("\x00", "")


FILTERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "step": ("step", int),
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


def filtered(job: Job, query: Mapping[str, str]) -> QuerySet[Rollout]:
    """The job's rollouts that the page's filters ask for, newest first; what cannot be read is ignored."""
    wanted = ONLY.get(query.get("only", ""), Q())
    for name, (lookup, read) in FILTERS.items():
        if value := query.get(name, ""):
            try:
                wanted &= Q(**{lookup: read(value)})
            except ValueError:
                continue
    if code := query.get("alarm", ""):
        wanted &= _shown_by(job, code)
    return job.rollouts.filter(wanted).order_by("-step", "index")


def _shown_by(job: Job, code: str) -> Q:
    """The rollouts that show this alarm, in whichever steps it was raised."""
    alarms = job.alarms.filter(code=code).values_list("step", "rollouts")
    places = [Q(step=step, index__in=indices) for step, indices in alarms]
    return reduce(or_, places, Q(pk=None))


@dataclass(frozen=True)
class Page:
    """Some rollouts, the place where the next page begins if there is one, and how many there are in all."""

    rollouts: list[Rollout]
    onward: str
    count: str


def page_after(rollouts: QuerySet[Rollout], after: str) -> Page:
    """The page behind the place ``after`` (``STEP-INDEX``).

    By place and not by number, so that the last page of a million comes as fast as the first. Few are found
    together and put in order here; of many, the next ones are met soon on a walk in their order. PostgreSQL
    itself cannot tell the two apart where filters go together, and then walks through everything.
    """
    places = list(rollouts.order_by().values_list("step", "index", "pk")[: MOST_COUNTED + 1])
    if len(places) > MOST_COUNTED:
        found = list(_behind(rollouts, after)[: PAGE + 1])
        return _page(found, f"more than {MOST_COUNTED:,}")
    behind = sorted((-step, index, pk) for step, index, pk in places if _is_behind(step, index, after))
    keys = [pk for _, _, pk in behind[: PAGE + 1]]
    found = list(Rollout.objects.filter(pk__in=keys).order_by("-step", "index"))
    return _page(found, f"{len(places):,}")


def _page(found: list[Rollout], count: str) -> Page:
    last = found[PAGE - 1] if len(found) > PAGE else None
    return Page(found[:PAGE], f"{last.step}-{last.index}" if last else "", count)


def _place(after: str) -> tuple[int, int] | None:
    step, _, index = after.partition("-")
    return (int(step), int(index)) if step.isdecimal() and index.isdecimal() else None


def _is_behind(step: int, index: int, after: str) -> bool:
    place = _place(after)
    return place is None or (-step, index) > (-place[0], place[1])


def _behind(rollouts: QuerySet[Rollout], after: str) -> QuerySet[Rollout]:
    place = _place(after)
    if place is None:
        return rollouts
    return rollouts.filter(step__lte=place[0]).exclude(step=place[0], index__lte=place[1])


# --- one rollout -----------------------------------------------------------------------------------


def data_row(shown: Rollout) -> str:
    """The address of the row of data that was its prompt; with several tasks its id begins with one."""
    task, _, row_id = shown.row_id.rpartition("/")
    using = shown.job.tasks.filter(name=task).first() if task else None
    version = (using or shown.job).dataset_version
    return version.address_of(row_id)


def group_of(shown: Rollout) -> list[Rollout]:
    """The answers to the same prompt in the same step, by place."""
    return list(shown.job.rollouts.filter(step=shown.step, group=shown.group).order_by("index"))


def best_of(group: Iterable[Rollout]) -> Rollout | None:
    """The first with the highest reward; ``None`` where nothing was graded."""
    known = [rollout for rollout in group if rollout.reward is not None]
    return max(known, key=lambda rollout: (rollout.reward, -rollout.index), default=None)


def neighbours(shown: Rollout) -> tuple[Rollout | None, Rollout | None]:
    """The first rollouts of the groups before and after, by step and group."""
    rollouts, step = shown.job.rollouts.only("step", "index", "job"), shown.step
    earlier = rollouts.filter(step__in=[step - 1, step]).filter(Q(step__lt=step) | Q(group__lt=shown.group))
    later = rollouts.filter(step__in=[step, step + 1]).filter(Q(step__gt=step) | Q(group__gt=shown.group))
    return (
        earlier.order_by("-step", "-group", "index").first(),
        later.order_by("step", "group", "index").first(),
    )


# --- the same prompt through the steps -------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """The answers of one step to a prompt. ``typical`` is the one in the middle by reward."""

    step: int
    answers: int
    mean: float | None
    typical: Rollout

    @property
    def by_start(self) -> bool:
        """Whether the model that training began with wrote them."""
        return self.typical.adapter_step == 0


def strip(shown: Rollout) -> list[Frame]:
    """Every step that had this row, rising; of very many, the last ones."""
    rows = shown.job.rollouts.filter(row_id=shown.row_id)
    steps = sorted(rows.order_by("-step").values_list("step", flat=True).distinct()[:STRIP_STEPS])
    by_step: dict[int, list[Rollout]] = {}
    for rollout in rows.filter(step__in=steps).order_by("step", "index"):
        by_step.setdefault(rollout.step, []).append(rollout)
    return [_frame(step, rollouts) for step, rollouts in by_step.items()]


def _frame(step: int, rollouts: list[Rollout]) -> Frame:
    known = sorted((r for r in rollouts if r.reward is not None), key=lambda r: (r.reward, r.index))
    rewards = [rollout.reward for rollout in known if rollout.reward is not None]
    typical = known[len(known) // 2] if known else rollouts[0]
    return Frame(step, len(rollouts), fmean(rewards) if rewards else None, typical)


@dataclass(frozen=True)
class Against:
    """Another answer to the same prompt that the shown one is held against, word by word."""

    name: str
    label: str
    rollout: Rollout


def choices_against(shown: Rollout, group: list[Rollout], frames: list[Frame]) -> list[Against]:
    """What the shown answer can be held against: the best of its group, and the first ever to the prompt."""
    found: list[Against] = []
    best = best_of(group)
    if best and best.index != shown.index:
        found.append(Against("best", f"the best of its group ({best.index})", best))
    if frames and frames[0].step != shown.step:
        first = frames[0]
        by = "the model that training began with" if first.by_start else "an earlier adapter"
        found.append(Against("first", f"step {first.step}, by {by}", first.typical))
    return found


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


# --- saved views -----------------------------------------------------------------------------------


def save_view(team: Team, user: User, name: str, query: str) -> SavedView:
    """Keep filters under a name; the same name again replaces it. Raises ValueError with what to change."""
    name, known = name.replace("\x00", "").strip(), {*FILTERS, "only", "alarm"}
    if not name or len(name) > 60:
        raise ValueError("The view was not saved: give it a name of 1 to 60 characters.")
    asked = [(key, value) for key, value in parse_qsl(query) if key in known]
    if not asked:
        raise ValueError("The view was not saved: filter something first.")
    text = urlencode(asked)
    if len(text) > 2000:
        raise ValueError("The view was not saved: its filters are too long.")
    view, _ = team.saved_views.update_or_create(name=name, defaults={"query": text, "created_by": user})
    record(team, user, "saved a view of rollouts", view)
    return view


def forget_view(view: SavedView, user: User) -> None:
    """Remove it for the whole team."""
    record(view.team, user, "removed a view of rollouts", view)
    view.delete()
