"""What a rollout is held against, word by word: the base model's answer, its group, an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from webapp.jobs.models import ComparedRow, Rollout
from webapp.jobs.rollouts.detail import Frame, best_of, frame_of


@dataclass(frozen=True)
class Against:
    """Another answer to the same prompt. ``name`` stands in the address, ``link`` in the list of choices."""

    name: str
    link: str
    label: str
    completion: str
    reward: float | None


def choices_against(shown: Rollout, group: list[Rollout], frames: list[Frame]) -> list[Against]:
    """The base model's answer first if it is known, then the best of the group, an earlier one, all of it."""
    return list(_choices(shown, group, frames))


def _choices(shown: Rollout, group: list[Rollout], frames: list[Frame]) -> Iterator[Against]:
    if base := _base(shown):
        yield base
    best, first = best_of(group), next(iter(frames), None)
    if best and best.index != shown.index:
        yield _rollout("best", f"best ({best.index})", f"best in group (#{best.index})", best)
    if first and first.step != shown.step and not first.by_start:
        step = f"step {first.step}"
        yield _rollout("first", step, f"an earlier adapter at {step}", first.typical)
    for other in group:
        if other.index != shown.index:
            yield _rollout(str(other.index), str(other.index), f"#{other.index} in group", other)


def _rollout(name: str, link: str, label: str, rollout: Rollout) -> Against:
    return Against(name, link, label, rollout.completion, rollout.reward)


def _base(shown: Rollout) -> Against | None:
    """What the model that training began with answered: in the first step, or in a comparison."""
    model = shown.job.base_label.lower()
    if shown.adapter_step == 0:
        return None
    by_base = shown.job.rollouts.filter(row_id=shown.row_id, adapter_step=0)
    if began := list(by_base.order_by("step", "index")):
        step = began[0].step
        typical = frame_of(step, [rollout for rollout in began if rollout.step == step]).typical
        return _rollout("base", model, f"the {model} model at step {step}", typical)
    compared = ComparedRow.objects.filter(evaluation__job=shown.job, row_id=shown.row_id).exclude(base=[])
    answers = compared.order_by("-evaluation", "index").values_list("base", flat=True).first()
    if not answers:
        return None
    answer = answers[0]
    label = f"the {model} model in the comparison"
    return Against("base", model, label, answer["completion"], answer["reward"])


def without_base(shown: Rollout, choices: list[Against]) -> str:
    """Why the base model's answer is not among the choices; empty if it is."""
    model = shown.job.base_label.lower()
    if any(choice.name == "base" for choice in choices):
        return ""
    if shown.adapter_step == 0:
        return f"The {model} model itself wrote this completion."
    return f"No completion of the {model} model is available for this prompt."
