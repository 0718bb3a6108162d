"""Forecast of a job from base rollouts: pure formulas (``docs/preflight.md``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt

import numpy as np

from workers.contract.events import CurvePoint, Interval, Verdict
from workers.engine.evaluation.statistics import Resampling, pass_at_k

GROUP_SIZES = (4, 8, 16)
BINS = 20

# Thresholds of the advice, chosen for Groove: docs/preflight.md has the reasons.
MOST_ERRORS = 0.05
MOST_TRUNCATED = 0.2
SOLVED = 0.95
NEVER_RIGHT = 0.05
LITTLE_SIGNAL = 0.8
WANTED_SIGNAL = 0.7
SAME_REWARD = 1e-6
ALL_ZERO = 0.995
RULE_OF_THREE = 3.0

Rows = Sequence[Sequence[float]]  # rewards by row; failed gradings are left out


def chance_of_no_signal(rewards: Sequence[float], size: int) -> float:
    """Return the probability that ``size`` of these rewards, drawn without replacement, are all equal.

    Then every advantage of the group is 0 and it teaches nothing. Needs ``size <= len(rewards)``.
    """
    equal = Counter(round(reward, 9) for reward in rewards)
    return sum(comb(count, size) for count in equal.values()) / comb(len(rewards), size)


def estimate_no_signal(rows: Rows, own: int, resampling: Resampling) -> dict[int, Interval]:
    """Return the expected share of groups without signal, by group size, including the job's ``own``.

    Sizes beyond the rollouts are left out.
    """
    shares: dict[int, Interval] = {}
    for size in sorted({*GROUP_SIZES, own}):
        values = [chance_of_no_signal(rewards, size) for rewards in rows if len(rewards) >= size]
        if values:
            shares[size] = resampling(values)
    return shares


def choose_group_size(shares: dict[int, Interval]) -> int:
    """Return the smallest size at which most groups teach something; else the largest one measured."""
    good = [size for size, share in shares.items() if share.mean <= 1 - WANTED_SIGNAL]
    return min(good) if good else max(shares, default=GROUP_SIZES[-1])


def estimate_pass_curve(counts: Sequence[tuple[int, int]], resampling: Resampling) -> list[CurvePoint]:
    """Return unbiased pass@k by k over the rows (samples, right), with intervals over rows.

    A row counts up to as many samples as it has.
    """
    most = max(samples for samples, _ in counts)
    ks = sorted({most} | {2**power for power in range(most.bit_length())})
    values = {k: [pass_at_k(n, c, k) for n, c in counts if n >= k] for k in ks}
    return [CurvePoint(k=k, value=resampling(known)) for k, known in values.items()]


def count_bins(rewards: Sequence[float]) -> tuple[list[int], float, float]:
    """Return counts in 20 bins and their lower and upper limit: 0 and 1, or wider if necessary."""
    low, high = min(0.0, *rewards), max(1.0, *rewards)
    counts, _ = np.histogram(np.asarray(rewards), bins=BINS, range=(low, high))
    return [int(count) for count in counts], low, high


def mean_row_std(rows: Rows) -> float:
    """Return the mean standard deviation of a row's rewards, on which group-relative advantages depend."""
    return float(np.mean([float(np.std(rewards)) for rewards in rows])) if rows else 0.0


def expect_difference_std(rows: Rows, samples: int) -> float:
    """Return the expected standard deviation of a row's difference, tuned minus base.

    It is the noise of both means at ``samples`` completions each, plus the spread between rows, as if
    training gave each row what it lacks. If nothing varied, up to 3/n of the rows may still differ (rule of
    three), which bounds it from below.
    """
    within = float(np.mean([float(np.var(rewards, ddof=1)) for rewards in rows if len(rewards) > 1] or [0.0]))
    each = float(np.mean([len(rewards) for rewards in rows])) if rows else 1.0
    between = float(np.var([float(np.mean(rewards)) for rewards in rows])) - within / each if rows else 0.0
    variance = 2 * within / samples + max(between, 0.0)
    return sqrt(variance if variance > SAME_REWARD else RULE_OF_THREE / max(len(rows), 3))


@dataclass(frozen=True)
class Signs:
    """Measurements from which the advice follows."""

    errors: float
    truncated: float
    mean_reward: float
    pass_at_1: float
    pass_at_most: float
    most: int
    spread: float
    distinct_completions: float
    no_signal: float | None  # unknown if too many completions of every group have no grade
    relative: bool = False
    zero: float = 0.0  # share of the completions that score 0
    zero_uncut: float = 0.0  # share of all completions that score 0 although they were not cut


@dataclass(frozen=True)
class Cause:
    """A reason against training; it explains this ``share`` of the completions."""

    verdict: Verdict
    reason: str
    remedy: str
    share: float


def advise(signs: Signs) -> list[Cause]:
    """Return the causes against training, the one that explains most first; ``go`` alone without any."""
    found = [cause for rule in RULES if (cause := rule(signs))]
    if not found:
        return [Cause("go", _describe_go(signs), "", 1.0)]
    return sorted(found, key=lambda cause: -cause.share)


def put_first(faults: list[Cause], causes: list[Cause]) -> list[Cause]:
    """Return faults of an environment before other causes; ``go`` is no advice beside them."""
    return [*faults, *(cause for cause in causes if cause.verdict != "go")] if faults else causes


def _errors(signs: Signs) -> Cause | None:
    if signs.errors <= MOST_ERRORS:
        return None
    reason = f"The grader failed on {signs.errors:.0%} of the completions."
    return Cause("change_grader", reason, REMEDIES["failing"], signs.errors)


def _all_zero(signs: Signs) -> Cause | None:
    if signs.relative or signs.zero < ALL_ZERO:
        return None
    cut = f"only {signs.truncated:.0%} were" if signs.truncated else "none was"
    reason = (
        f"All completions score 0, and {cut} cut at the length limit. Most likely the grader misreads them: "
        "the format it looks for, or the reference it compares with."
    )
    return Cause("change_grader", reason, REMEDIES["zero"], signs.zero_uncut)


def _cut(signs: Signs) -> Cause | None:
    if signs.truncated <= MOST_TRUNCATED:
        return None
    reason = f"{signs.truncated:.0%} of the completions were cut at the length limit and graded unfinished."
    return Cause("raise_length", reason, REMEDIES["raise_length"], signs.truncated)


def _solved(signs: Signs) -> Cause | None:
    if signs.relative or signs.pass_at_1 <= SOLVED:
        return None
    reason = f"The base model is right {signs.pass_at_1:.0%} of the time: little is left to gain."
    return Cause("solved", reason, REMEDIES["solved"], signs.pass_at_1)


def _without_signal(signs: Signs) -> Cause | None:
    """Find the most likely reason for groups of equal rewards."""
    poor = signs.no_signal is not None and signs.no_signal > LITTLE_SIGNAL
    uncut = 1 - signs.truncated
    if signs.relative:
        return _equal_rewards(signs, uncut) if poor else None
    if signs.pass_at_1 > SOLVED or signs.zero >= ALL_ZERO:
        return None  # another rule describes it more precisely
    if signs.spread < SAME_REWARD and signs.distinct_completions > 0.5:
        reason = "Completions of the same prompt differ, but the grader gives all of them the same reward."
        return Cause("change_grader", reason, REMEDIES["change_grader"], uncut)
    if signs.pass_at_most < NEVER_RIGHT and poor:
        reason = (
            f"None of {signs.most} completions is right on {1 - signs.pass_at_most:.0%} of the prompts, "
            "and few groups differ in reward: there is nothing yet that RL could make more frequent."
        )
        return Cause("sft_first", reason, REMEDIES["sft_first"], uncut * (signs.no_signal or 0.0))
    return _equal_rewards(signs, uncut) if poor else None


def _equal_rewards(signs: Signs, uncut: float) -> Cause:
    share = signs.no_signal or 0.0
    reason = f"{share:.0%} of the groups would have equal rewards and teach nothing."
    return Cause("change_grader", reason, REMEDIES["change_grader"], uncut * share)


RULES = (_errors, _all_zero, _cut, _solved, _without_signal)


def _describe_go(signs: Signs) -> str:
    if signs.relative:
        return f"Rewards are relative to their group, so pass rates say nothing; {_describe_signal(signs)}."
    return (
        f"The base model is right {signs.pass_at_1:.0%} of the time and once in {signs.most} completions on "
        f"{signs.pass_at_most:.0%} of the prompts; {_describe_signal(signs)}."
    )


def _describe_signal(signs: Signs) -> str:
    if signs.no_signal is None:
        return "how many groups have signal was not measured"
    return f"{1 - signs.no_signal:.0%} of the groups have signal"


REMEDIES: dict[str, str] = {
    "failing": "Read the errors in the samples below, then save a grader version that grades these texts.",
    "zero": "Read the samples below with their grading, and try them in the grader's bench. If they do "
    "deserve 0, train on a few hundred right completions first (an SFT job), then launch RFT from it.",
    "change_grader": "Try the grader on these rows in its bench, give partial credit, or choose other rows.",
    "raise_length": "Raise the completion length under Advanced, or ask for shorter texts in the prompt.",
    "sft_first": "Train on a few hundred right completions first (an SFT job), then launch RFT from it.",
    "solved": "Choose harder rows or a stricter grader: training on solved rows gains little.",
}


# --- samples ---------------------------------------------------------------------------------------


def select_samples(
    rewards: Sequence[Sequence[float | None]], cut: Sequence[Sequence[bool]], most: int
) -> list[tuple[int, int]]:
    """Return (row, completion) of samples: the best, the worst, one ungraded, one cut; then row by row.

    Few samples then show many rows.
    """
    longest = max(map(len, rewards), default=0)
    every = [(row, i) for i in range(longest) for row in range(len(rewards)) if i < len(rewards[row])]
    graded = sorted(
        ((row, i) for row, i in every if rewards[row][i] is not None),
        key=lambda pair: rewards[pair[0]][pair[1]] or 0.0,
    )
    kinds = (
        graded[-1:],
        graded[:1],
        [(row, i) for row, i in every if rewards[row][i] is None][:1],
        [(row, i) for row, i in every if cut[row][i]][:1],
        every,
    )
    return list(dict.fromkeys(pair for kind in kinds for pair in kind))[:most]
