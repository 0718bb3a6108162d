"""Which rollouts of a step show an alarm, so that people read these and not all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean

from workers.contract.events import Rollout
from workers.contract.health import Finding
from workers.engine.training import measures
from workers.engine.training.rollouts import Recorder, no_signal_groups

MOST = 8
Order = Callable[[Rollout], float]


def witnesses(finding: Finding, recorder: Recorder) -> list[int]:
    """Indices of at most ``MOST`` rollouts, the clearest first; any few where the rule is about all."""
    choose = CHOICES.get(finding.rule.code, _highest)
    return [rollout.index for rollout in choose(finding, recorder)[:MOST]]


def _graded(recorder: Recorder) -> list[Rollout]:
    return [rollout for rollout in recorder.rollouts if rollout.reward is not None]


def _by(rollouts: Sequence[Rollout], order: Order) -> list[Rollout]:
    return sorted(rollouts, key=lambda rollout: (-order(rollout), rollout.index))


def _highest(finding: Finding, recorder: Recorder) -> list[Rollout]:
    """The best paid."""
    return _by(_graded(recorder), lambda rollout: rollout.reward or 0.0)


def _gap(finding: Finding, recorder: Recorder) -> list[Rollout]:
    """The best paid by the trained grader, those first that the held-out one pays least."""
    both = [(r, r.reward or 0.0, r.watch_reward) for r in _graded(recorder) if r.watch_reward is not None]
    mean = fmean(reward for _, reward, _ in both) if both else 0.0
    paid = [(-reward, watched, r.index, r) for r, reward, watched in both if reward >= mean]
    return [rollout for *_, rollout in sorted(paid, key=lambda each: each[:3])]


def _lengths(finding: Finding, recorder: Recorder) -> list[Rollout]:
    """The longest of the well paid, or the shortest where shorter ones earn more."""
    graded = _graded(recorder)
    correlation = measures.Moments.of((r.length, r.reward or 0.0) for r in graded).correlation or 0.0
    mean = fmean(r.reward or 0.0 for r in graded) if graded else 0.0
    paid = [rollout for rollout in graded if (rollout.reward or 0.0) >= mean]
    return _by(paid, lambda rollout: rollout.length if correlation >= 0 else -rollout.length)


def _part(finding: Finding, recorder: Recorder) -> list[Rollout]:
    """The best paid by the part of the reward that jumped."""
    part = next(iter(finding.evidence)).rsplit(",", 1)[0]
    known = [rollout for rollout in recorder.rollouts if rollout.sub_rewards.get(part) is not None]
    return _by(known, lambda rollout: rollout.sub_rewards[part] or 0.0)


def _repetitive(finding: Finding, recorder: Recorder) -> list[Rollout]:
    shares = [measures.repetition(ids) or 0.0 for ids in recorder.completion_ids]
    return _by(recorder.rollouts, lambda rollout: shares[rollout.index])


def _template(finding: Finding, recorder: Recorder) -> list[Rollout]:
    """Those with the commonest opening, of different prompts first."""
    openings = [measures.opening(rollout.completion) for rollout in recorder.rollouts]
    commonest = Counter(openings).most_common(1)[0][0]
    alike = [rollout for rollout in recorder.rollouts if openings[rollout.index] == commonest]
    return _one_a_group(alike)


def _one_a_group(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """The first of every group, then the others."""
    first = {rollout.group: rollout for rollout in reversed(rollouts)}
    return sorted(rollouts, key=lambda rollout: (first[rollout.group] is not rollout, rollout.index))


def _without_signal(finding: Finding, recorder: Recorder) -> list[Rollout]:
    silent = no_signal_groups(recorder.rollouts)
    return _one_a_group([rollout for rollout in recorder.rollouts if rollout.group in silent])


def _truncated(finding: Finding, recorder: Recorder) -> list[Rollout]:
    return [rollout for rollout in recorder.rollouts if rollout.truncated]


def _failed(finding: Finding, recorder: Recorder) -> list[Rollout]:
    return [rollout for rollout in recorder.rollouts if rollout.reward is None and rollout.error_class]


def _any(finding: Finding, recorder: Recorder) -> list[Rollout]:
    return _one_a_group(recorder.rollouts)


CHOICES: dict[str, Callable[[Finding, Recorder], list[Rollout]]] = {
    "held_out_gap": _gap,
    "length_explains_reward": _lengths,
    "sub_reward_jump": _part,
    "repetition": _repetitive,
    "template": _template,
    "no_signal": _without_signal,
    "no_signal_at_all": _without_signal,
    "truncation": _truncated,
    "grader_errors": _failed,
    "entropy_collapse": _any,
    "low_entropy": _any,
    "kl_jump": _any,
    "logp_gap": _any,
    "saturated_grader": _any,
}
