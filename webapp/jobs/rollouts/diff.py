"""Completions to compare a rollout with: the base model's, its group's, an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from webapp.jobs.models import ComparedRow, Rollout
from webapp.jobs.rollouts.detail import StepSummary, find_best, summarize_step
from workers.contract.events import EvaluationSample


@dataclass(frozen=True)
class DiffCandidate:
    """Another completion of the prompt. ``name`` is for the URL, ``link`` for the list."""

    name: str
    link: str
    label: str
    completion: str
    reward: float | None


def list_candidates(
    rollout: Rollout, group: list[Rollout], steps: list[StepSummary]
) -> Iterator[DiffCandidate]:
    """Yield completions: base model, best of the group, an earlier adapter, the group."""
    if base := _find_base(rollout):
        yield base
    best, first = find_best(group), next(iter(steps), None)
    if best and best.index != rollout.index:
        yield _build_candidate("best", f"best ({best.index})", f"best in group (#{best.index})", best)
    if first and first.step != rollout.step and not first.by_initial_model:
        step = f"step {first.step}"
        yield _build_candidate("first", step, f"an earlier adapter at {step}", first.typical)
    for other in group:
        if other.index != rollout.index:
            name = str(other.index)
            yield _build_candidate(name, name, f"#{name} in group", other)


def _build_candidate(name: str, link: str, label: str, rollout: Rollout) -> DiffCandidate:
    return DiffCandidate(name, link, label, rollout.completion, rollout.reward)


def _find_base(rollout: Rollout) -> DiffCandidate | None:
    """The initial model's completion, from the first step or else from an evaluation."""
    model = rollout.job.base_label.lower()
    if rollout.adapter_step == 0:
        return None
    by_base = list(
        rollout.job.rollouts.filter(row_id=rollout.row_id, adapter_step=0).order_by("step", "index")
    )
    if by_base:
        step = by_base[0].step
        typical = summarize_step(step, [each for each in by_base if each.step == step]).typical
        return _build_candidate("base", model, f"the {model} model at step {step}", typical)
    rows = ComparedRow.objects.filter(evaluation__job=rollout.job, row_id=rollout.row_id).exclude(base=[])
    samples = rows.order_by("-evaluation", "index").values_list("base", flat=True).first()
    if not samples:
        return None
    sample = EvaluationSample.model_validate(samples[0])
    label = f"the {model} model in the comparison"
    return DiffCandidate("base", model, label, sample.completion, sample.reward)


def explain_missing_base(rollout: Rollout, candidates: list[DiffCandidate]) -> str:
    """Return why the base model's completion is not among the candidates; empty if it is."""
    model = rollout.job.base_label.lower()
    if any(candidate.name == "base" for candidate in candidates):
        return ""
    if rollout.adapter_step == 0:
        return f"The {model} model itself wrote this completion."
    return f"No completion of the {model} model is available for this prompt."
