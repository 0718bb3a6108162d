"""What base rollouts say about a job before it trains: pure formulas, NumPy only. See docs/preflight.md."""

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

# Thresholds of the advice. Those of pass@k follow the method advisor in docs/preflight.md; all are ours.
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


def no_signal(rewards: Sequence[float], size: int) -> float:
    """Probability that ``size`` of these rewards, drawn without replacement, are all equal.

    Then every advantage of the group is 0 and it teaches nothing. Needs ``size <= len(rewards)``.
    """
    equal = Counter(round(reward, 9) for reward in rewards)
    return sum(comb(count, size) for count in equal.values()) / comb(len(rewards), size)


def no_signal_shares(rows: Rows, own: int, make: Resampling) -> dict[int, Interval]:
    """Expected share of groups without signal, by group size, the job's ``own`` among them.

    Sizes beyond the rollouts are left out.
    """
    shares: dict[int, Interval] = {}
    for size in sorted({*GROUP_SIZES, own}):
        values = [no_signal(rewards, size) for rewards in rows if len(rewards) >= size]
        if values:
            shares[size] = make(values)
    return shares


def best_group_size(shares: dict[int, Interval]) -> int:
    """The smallest size at which most groups teach something; the largest one measured if none does."""
    good = [size for size, share in shares.items() if share.mean <= 1 - WANTED_SIGNAL]
    return min(good) if good else max(shares, default=GROUP_SIZES[-1])


def pass_curve(counts: Sequence[tuple[int, int]], make: Resampling) -> list[CurvePoint]:
    """pass@k by k over the rows (samples, right), unbiased, with bands bootstrapped over rows.

    A row counts up to as many samples as it has.
    """
    most = max(samples for samples, _ in counts)
    ks = sorted({most} | {2**power for power in range(most.bit_length())})
    values = {k: [pass_at_k(n, c, k) for n, c in counts if n >= k] for k in ks}
    return [CurvePoint(k=k, value=make(known)) for k, known in values.items()]


def histogram(rewards: Sequence[float]) -> tuple[list[int], float, float]:
    """Counts in 20 bins, and where the first begins and the last ends: 0 to 1, or wider if need be."""
    low, high = min(0.0, *rewards), max(1.0, *rewards)
    counts, _ = np.histogram(np.asarray(rewards), bins=BINS, range=(low, high))
    return [int(count) for count in counts], low, high


def within_std(rows: Rows) -> float:
    """Mean standard deviation of a row's rewards: what group-relative advantages are made of."""
    return float(np.mean([float(np.std(rewards)) for rewards in rows])) if rows else 0.0


def paired_std(rows: Rows, samples: int) -> float:
    """Expected standard deviation of a row's difference, tuned less base, at ``samples`` answers each.

    The noise of both means, plus the spread between rows: as if training gave each row what it lacks. Where
    nothing varied, up to 3/n of the rows may still be otherwise (rule of three), which bounds it.
    """
    within = float(np.mean([float(np.var(rewards, ddof=1)) for rewards in rows if len(rewards) > 1] or [0.0]))
    each = float(np.mean([len(rewards) for rewards in rows])) if rows else 1.0
    between = float(np.var([float(np.mean(rewards)) for rewards in rows])) - within / each if rows else 0.0
    variance = 2 * within / samples + max(between, 0.0)
    return sqrt(variance if variance > SAME_REWARD else RULE_OF_THREE / max(len(rows), 3))


@dataclass(frozen=True)
class Signs:
    """What the advice follows from."""

    errors: float
    truncated: float
    mean_reward: float
    pass_at_1: float
    pass_at_most: float
    most: int
    spread: float
    distinct_answers: float
    no_signal: float | None  # not measured where too many answers of every group have no grade
    relative: bool = False
    zero: float = 0.0  # share of the answers that score 0
    zero_uncut: float = 0.0  # of all answers, those that score 0 although they were not cut


@dataclass(frozen=True)
class Cause:
    """Something that speaks against training; ``share`` of the answers is explained by it."""

    verdict: Verdict
    reason: str
    remedy: str
    share: float


def advise(signs: Signs) -> list[Cause]:
    """What speaks against training, the cause that explains most first; ``go`` alone where nothing does."""
    found = [cause for rule in RULES if (cause := rule(signs))]
    if not found:
        return [Cause("go", _go(signs), "", 1.0)]
    return sorted(found, key=lambda cause: -cause.share)


def _errors(signs: Signs) -> Cause | None:
    if signs.errors <= MOST_ERRORS:
        return None
    reason = f"The grader failed on {signs.errors:.0%} of the answers."
    return Cause("change_grader", reason, REMEDIES["failing"], signs.errors)


def _all_zero(signs: Signs) -> Cause | None:
    if signs.relative or signs.zero < ALL_ZERO:
        return None
    cut = f"only {signs.truncated:.0%} were" if signs.truncated else "none was"
    reason = (
        f"All answers score 0, and {cut} cut at the length limit. Most likely the grader misreads them: "
        "the format it looks for, or the reference it compares with."
    )
    return Cause("change_grader", reason, REMEDIES["zero"], signs.zero_uncut)


def _cut(signs: Signs) -> Cause | None:
    if signs.truncated <= MOST_TRUNCATED:
        return None
    reason = f"{signs.truncated:.0%} of the answers were cut at the length limit and graded unfinished."
    return Cause("raise_length", reason, REMEDIES["raise_length"], signs.truncated)


def _solved(signs: Signs) -> Cause | None:
    if signs.relative or signs.pass_at_1 <= SOLVED:
        return None
    reason = f"The base model is right {signs.pass_at_1:.0%} of the time: little is left to gain."
    return Cause("solved", reason, REMEDIES["solved"], signs.pass_at_1)


def _without_signal(signs: Signs) -> Cause | None:
    """Groups of equal rewards, and the likeliest reason for them."""
    poor = signs.no_signal is not None and signs.no_signal > LITTLE_SIGNAL
    uncut = 1 - signs.truncated
    if signs.relative:
        return _silent(signs, uncut) if poor else None
    if signs.pass_at_1 > SOLVED or signs.zero >= ALL_ZERO:
        return None  # said more precisely by another rule
    if signs.spread < SAME_REWARD and signs.distinct_answers > 0.5:
        reason = "Answers to the same prompt differ, but the grader gives all of them the same reward."
        return Cause("change_grader", reason, REMEDIES["change_grader"], uncut)
    if signs.pass_at_most < NEVER_RIGHT and poor:
        reason = (
            f"Not even one of {signs.most} answers is right on {1 - signs.pass_at_most:.0%} of the prompts, "
            "and few groups differ in reward: there is nothing yet that RL could make more frequent."
        )
        return Cause("sft_first", reason, REMEDIES["sft_first"], uncut * (signs.no_signal or 0.0))
    return _silent(signs, uncut) if poor else None


def _silent(signs: Signs, uncut: float) -> Cause:
    share = signs.no_signal or 0.0
    reason = f"{share:.0%} of the groups would score all the same and teach nothing."
    return Cause("change_grader", reason, REMEDIES["change_grader"], uncut * share)


RULES = (_errors, _all_zero, _cut, _solved, _without_signal)


def _go(signs: Signs) -> str:
    if signs.relative:
        return f"Rewards are relative to their group, so pass rates say nothing; {_signal(signs)}."
    return (
        f"The base model is right {signs.pass_at_1:.0%} of the time and once in {signs.most} answers on "
        f"{signs.pass_at_most:.0%} of the prompts; {_signal(signs)}."
    )


def _signal(signs: Signs) -> str:
    if signs.no_signal is None:
        return "how many groups have signal was not measured"
    return f"{1 - signs.no_signal:.0%} of the groups have signal"


REMEDIES: dict[str, str] = {
    "failing": "Read the errors in the samples below, then save a grader version that grades these answers.",
    "zero": "Read the samples below with their grading, and try them in the grader's bench. If they do "
    "deserve 0, train on a few hundred right answers first (an SFT job), then launch RFT from it.",
    "change_grader": "Try the grader on these rows in its bench, give partial credit, or choose other rows.",
    "raise_length": "Raise the completion length under Advanced, or ask for shorter answers in the prompt.",
    "sft_first": "Train on a few hundred right answers first (an SFT job), then launch RFT from it.",
    "solved": "Choose harder rows or a stricter grader; training on solved rows mostly costs.",
}


# --- samples ---------------------------------------------------------------------------------------


def choose_samples(
    rewards: Sequence[Sequence[float | None]], cut: Sequence[Sequence[bool]], most: int
) -> list[tuple[int, int]]:
    """(row, answer) of answers to read: the best, the worst, one without a grade, one cut; then by row.

    Each kind first from a row that has none yet, so that few samples show many rows.
    """
    every = [(row, place) for place in range(max(map(len, rewards), default=0)) for row in range(len(rewards))
             if place < len(rewards[row])]  # fmt: skip
    graded = sorted(
        ((row, place) for row, place in every if rewards[row][place] is not None),
        key=lambda at: rewards[at[0]][at[1]] or 0.0,
    )
    kinds = (
        graded[-1:],
        graded[:1],
        [at for at in every if rewards[at[0]][at[1]] is None][:1],
        [at for at in every if cut[at[0]][at[1]]][:1],
        every,
    )
    return list(dict.fromkeys(at for kind in kinds for at in kind))[:most]
