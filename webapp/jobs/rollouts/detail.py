"""One rollout: its row of data, its group and the groups beside it, its prompt through the steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from django.db.models import Q

from webapp.jobs.models import Rollout

STRIP_STEPS = 60


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
    return [frame_of(step, rollouts) for step, rollouts in by_step.items()]


def frame_of(step: int, rollouts: list[Rollout]) -> Frame:
    """The frame of these answers, all of this step."""
    known = sorted((r for r in rollouts if r.reward is not None), key=lambda r: (r.reward, r.index))
    rewards = [rollout.reward for rollout in known if rollout.reward is not None]
    typical = known[len(known) // 2] if known else rollouts[0]
    return Frame(step, len(rollouts), fmean(rewards) if rewards else None, typical)
