"""Completions to compare a rollout with: the base model's, its group's, an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from webapp.core.episodes.records import find_parting_turn
from webapp.jobs.models import ComparedRow, Rollout
from webapp.jobs.rollouts.detail import StepSummary, find_best, load_texts, summarize_step
from webapp.jobs.rollouts.search import cut_texts
from workers.contract.environments import EpisodeRecord
from workers.contract.events import EvaluationSample


@dataclass(frozen=True)
class DiffCandidate:
    """Another completion of the prompt. ``name`` is for the URL, ``link`` for the list."""

    name: str
    link: str
    label: str
    completion: str
    reward: float | None
    episode: EpisodeRecord | None = None

    def find_parting_turn(self, rollout: Rollout) -> int | None:
        """Return the turn in which the two episodes part; None if they are equal or single turns."""
        if self.episode is None or rollout.episode is None:
            return None
        return find_parting_turn(rollout.episode, self.episode)


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
        yield _build_candidate("first", step, f"an earlier adapter at {step}", load_texts(first.typical))
    for other in group:
        if other.index != rollout.index:
            name = str(other.index)
            yield _build_candidate(name, name, f"#{name} in group", other)


def _build_candidate(name: str, link: str, label: str, rollout: Rollout) -> DiffCandidate:
    return DiffCandidate(name, link, label, rollout.completion, rollout.reward, rollout.episode)


def _find_base(rollout: Rollout) -> DiffCandidate | None:
    """The initial model's completion, from the first step or else from an evaluation."""
    model = rollout.job.base_label.lower()
    if rollout.adapter_step == 0:
        return None
    found = rollout.job.rollouts.filter(row_id=rollout.row_id, adapter_step=0)
    by_base = list(cut_texts(found).order_by("step", "index"))
    if by_base:
        step = by_base[0].step
        typical = summarize_step(step, [each for each in by_base if each.step == step]).typical
        return _build_candidate("base", model, f"the {model} model at step {step}", load_texts(typical))
    rows = ComparedRow.objects.filter(evaluation__job=rollout.job, row_id=rollout.row_id).exclude(base=[])
    row = rows.order_by("-evaluation", "index").only("base", "episodes").first()
    if row is None:
        return None
    sample = EvaluationSample.model_validate(row.base[0])
    episode = row.episodes.base[0] if row.episodes else None
    label = f"the {model} model in the comparison"
    return DiffCandidate("base", model, label, sample.completion, sample.reward, episode)


def explain_missing_base(rollout: Rollout, candidates: list[DiffCandidate]) -> str:
    """Return why the base model's completion is not among the candidates; empty if it is."""
    model = rollout.job.base_label.lower()
    if any(candidate.name == "base" for candidate in candidates):
        return ""
    if rollout.adapter_step == 0:
        return f"The {model} model itself wrote this completion."
    return f"No completion of the {model} model is available for this prompt."
