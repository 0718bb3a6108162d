"""One rollout: its group, the neighbouring groups, and its prompt at other steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from django.db.models import Q

from webapp.jobs.models import Rollout
from webapp.jobs.rollouts.search import cut_texts

STRIP_STEPS = 60


def list_group(rollout: Rollout) -> list[Rollout]:
    """Return the rollouts of the same prompt in the same step, by index."""
    return list(rollout.job.rollouts.filter(step=rollout.step, group=rollout.group).order_by("index"))


def load_texts(rollout: Rollout) -> Rollout:
    """Load the texts of a rollout that comes from a list without them."""
    rollout.refresh_from_db(fields=["completion", "episode"])
    return rollout


def find_best(group: Iterable[Rollout]) -> Rollout | None:
    """Return the first rollout with the highest reward; None if none has a reward."""
    graded = [rollout for rollout in group if rollout.reward is not None]
    return max(graded, key=lambda rollout: (rollout.reward, -rollout.index), default=None)


def find_neighbour_groups(rollout: Rollout) -> tuple[Rollout | None, Rollout | None]:
    """Return the first rollouts of the groups before and after, by step and group."""
    rollouts, step = rollout.job.rollouts.only("step", "index", "job"), rollout.step
    # Only the neighbouring steps are searched, so that an index serves the query.
    earlier = rollouts.filter(step__in=[step - 1, step]).filter(Q(step__lt=step) | Q(group__lt=rollout.group))
    later = rollouts.filter(step__in=[step, step + 1]).filter(Q(step__gt=step) | Q(group__gt=rollout.group))
    return (
        earlier.order_by("-step", "-group", "index").first(),
        later.order_by("step", "group", "index").first(),
    )


# --- the same prompt at other steps ----------------------------------------------------------------


@dataclass(frozen=True)
class StepSummary:
    """The rollouts of one prompt at one step. ``typical`` has the median reward."""

    step: int
    rollouts: int
    mean: float | None
    typical: Rollout

    @property
    def by_initial_model(self) -> bool:
        """True if the model before the first training step wrote them."""
        return self.typical.adapter_step == 0


def list_steps(rollout: Rollout) -> list[StepSummary]:
    """Return the steps that had this prompt, in order; at most the last 60."""
    rows = rollout.job.rollouts.filter(row_id=rollout.row_id)
    steps = sorted(rows.order_by("-step").values_list("step", flat=True).distinct()[:STRIP_STEPS])
    by_step: dict[int, list[Rollout]] = {}
    for each in cut_texts(rows.filter(step__in=steps)).order_by("step", "index"):
        by_step.setdefault(each.step, []).append(each)
    return [summarize_step(step, rollouts) for step, rollouts in by_step.items()]


def summarize_step(step: int, rollouts: list[Rollout]) -> StepSummary:
    """Return the summary of these rollouts, which are all of this step."""
    graded = sorted((r for r in rollouts if r.reward is not None), key=lambda r: (r.reward, r.index))
    rewards = [rollout.reward for rollout in graded if rollout.reward is not None]
    typical = graded[len(graded) // 2] if graded else rollouts[0]
    return StepSummary(step, len(rollouts), fmean(rewards) if rewards else None, typical)
