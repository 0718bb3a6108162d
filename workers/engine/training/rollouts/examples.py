"""Example rollouts of an alert: those of the step that show best what the alert is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean

from workers.contract.environments import EpisodeRecord
from workers.contract.events import Rollout
from workers.contract.health import Finding
from workers.engine.episodes.measures import LIMITS, count_repeated
from workers.engine.training.rollouts import measures
from workers.engine.training.rollouts.recorder import Recorder, find_groups_without_signal

MOST_EXAMPLES = 8
Order = Callable[[Rollout], float]


def select_examples(finding: Finding, recorder: Recorder) -> list[int]:
    """Return indices of at most ``MOST_EXAMPLES`` rollouts, the clearest first."""
    select = SELECTORS.get(finding.rule.code, _best_paid)
    return [rollout.index for rollout in select(finding, recorder)[:MOST_EXAMPLES]]


def _graded(recorder: Recorder) -> list[Rollout]:
    return [rollout for rollout in recorder.rollouts if rollout.reward is not None]


def _sort_descending(rollouts: Sequence[Rollout], order: Order) -> list[Rollout]:
    return sorted(rollouts, key=lambda rollout: (-order(rollout), rollout.index))


def _one_per_group_first(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Sort the first rollout of every group before all others."""
    first = {rollout.group: rollout for rollout in reversed(rollouts)}
    return sorted(rollouts, key=lambda rollout: (first[rollout.group] is not rollout, rollout.index))


def _best_paid(finding: Finding, recorder: Recorder) -> list[Rollout]:
    return _sort_descending(_graded(recorder), lambda rollout: rollout.reward or 0.0)


def _largest_gap(finding: Finding, recorder: Recorder) -> list[Rollout]:
    """Rollouts that the trained grader pays well, those first that the held-out grader pays least."""
    both = [
        (r, r.reward or 0.0, r.held_out_reward) for r in _graded(recorder) if r.held_out_reward is not None
    ]
    mean = fmean(reward for _, reward, _ in both) if both else 0.0
    well_paid = [(-reward, held_out, r.index, r) for r, reward, held_out in both if reward >= mean]
    return [rollout for *_, rollout in sorted(well_paid, key=lambda each: each[:3])]


def _extreme_lengths(finding: Finding, recorder: Recorder) -> list[Rollout]:
    """The longest of the well-paid rollouts, or the shortest if shorter ones earn more."""
    graded = _graded(recorder)
    correlation = measures.Moments.from_pairs((r.length, r.reward or 0.0) for r in graded).correlation or 0.0
    mean = fmean(r.reward or 0.0 for r in graded) if graded else 0.0
    well_paid = [rollout for rollout in graded if (rollout.reward or 0.0) >= mean]
    return _sort_descending(
        well_paid, lambda rollout: rollout.length if correlation >= 0 else -rollout.length
    )


def _best_sub_reward(finding: Finding, recorder: Recorder) -> list[Rollout]:
    """The best paid by the sub-reward that jumped."""
    name = next(iter(finding.evidence)).rsplit(",", 1)[0]
    graded = [rollout for rollout in recorder.rollouts if rollout.sub_rewards.get(name) is not None]
    return _sort_descending(graded, lambda rollout: rollout.sub_rewards[name] or 0.0)


def _most_repetitive(finding: Finding, recorder: Recorder) -> list[Rollout]:
    shares = [measures.repetition(ids) or 0.0 for ids in recorder.completion_ids]
    return _sort_descending(recorder.rollouts, lambda rollout: shares[rollout.index])


def _same_opening(finding: Finding, recorder: Recorder) -> list[Rollout]:
    """Rollouts with the most common opening, of different prompts first."""
    openings = [measures.opening(rollout.completion) for rollout in recorder.rollouts]
    [(most_common, _)] = Counter(openings).most_common(1)
    return _one_per_group_first([r for r in recorder.rollouts if openings[r.index] == most_common])


def _without_signal(finding: Finding, recorder: Recorder) -> list[Rollout]:
    groups = find_groups_without_signal(recorder.rollouts)
    return _one_per_group_first([rollout for rollout in recorder.rollouts if rollout.group in groups])


def _truncated(finding: Finding, recorder: Recorder) -> list[Rollout]:
    return [rollout for rollout in recorder.rollouts if rollout.truncated]


def _episodes(recorder: Recorder) -> list[tuple[Rollout, EpisodeRecord]]:
    return [(rollout, rollout.episode) for rollout in recorder.rollouts if rollout.episode is not None]


def _most_repeated_calls(finding: Finding, recorder: Recorder) -> list[Rollout]:
    counts = {rollout.index: count_repeated(episode) for rollout, episode in _episodes(recorder)}
    repeating = [rollout for rollout in recorder.rollouts if counts.get(rollout.index)]
    return _sort_descending(repeating, lambda rollout: counts[rollout.index])


def _most_tool_errors(finding: Finding, recorder: Recorder) -> list[Rollout]:
    counts = {rollout.index: sum(bool(t.error) for t in e.turns) for rollout, e in _episodes(recorder)}
    failing = [rollout for rollout in recorder.rollouts if counts.get(rollout.index)]
    return _sort_descending(failing, lambda rollout: counts[rollout.index])


def _ended_by_limit(finding: Finding, recorder: Recorder) -> list[Rollout]:
    return _one_per_group_first([rollout for rollout, e in _episodes(recorder) if e.end in LIMITS])


def _failed(finding: Finding, recorder: Recorder) -> list[Rollout]:
    return [rollout for rollout in recorder.rollouts if rollout.reward is None and rollout.error_class]


def _any(finding: Finding, recorder: Recorder) -> list[Rollout]:
    return _one_per_group_first(recorder.rollouts)


SELECTORS: dict[str, Callable[[Finding, Recorder], list[Rollout]]] = {
    "held_out_gap": _largest_gap,
    "length_explains_reward": _extreme_lengths,
    "sub_reward_jump": _best_sub_reward,
    "repetition": _most_repetitive,
    "template": _same_opening,
    "no_signal": _without_signal,
    "no_signal_at_all": _without_signal,
    "truncation": _truncated,
    "spread_shrinks": _any,
    "repeated_call": _most_repeated_calls,
    "tool_errors": _most_tool_errors,
    "episodes_cut": _ended_by_limit,
    "grader_errors": _failed,
    "entropy_collapse": _any,
    "low_entropy": _any,
    "kl_jump": _any,
    "logp_gap": _any,
    "saturated_grader": _any,
}
