"""Rules for little learning and for faults. Each returns its evidence if it fires, else ``None``."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, median

from workers.contract.health.history import (
    BLOCK,
    CHECKS,
    EARLY,
    FLAT,
    REWARD,
    SPREAD,
    WINDOW,
    History,
    is_solved,
    measure_rise,
    scale_change,
)

Evidence = dict[str, float]

LEAST = 3  # fewest steps for any rule
SHRUNK = 0.6  # share of the first steps' spread at which it has shrunk


def mean_above(
    name: str, label: str, bound: float, least: int = LEAST
) -> Callable[[History], Evidence | None]:
    """Return a rule that fires if the metric's mean over the last steps is at least ``bound``."""

    def evidence(history: History) -> Evidence | None:
        values = history.last(name)
        if len(values) < least or fmean(values) < bound:
            return None
        return {f"{label}, mean of {len(values)} steps": fmean(values)}

    return evidence


_same_score = mean_above("rewards/most_common_share", "completions with the most frequent score", 0.9, WINDOW)
_without_signal = mean_above("groups/no_signal_share", "groups without signal", 0.8)


def saturated(history: History) -> Evidence | None:
    """Nearly all completions of all prompts have one score, and not because they are right."""
    if is_solved(history):
        return None
    share = _same_score(history)
    return share and share | {"mean reward": fmean(history.last(REWARD) or [0.0])}


def no_signal(history: History) -> Evidence | None:
    """Completions of one prompt have equal scores, although prompts differ and are not solved."""
    return None if is_solved(history) or saturated(history) else _without_signal(history)


def overfitting(history: History) -> Evidence | None:
    """The training reward rose between the first and the last of three validations, validation did not."""
    checks = history.checks[-CHECKS:]
    if len(checks) < CHECKS or checks[-1].step - checks[0].step < BLOCK:
        return None
    start, end = checks[0].step, checks[-1].step
    trained = measure_rise(history, REWARD, SPREAD, start, end)
    if trained is None or not trained.is_clear:
        return None
    spreads = history.block(SPREAD, start), history.block(SPREAD, end)
    if any(scale_change(check.reward - checks[0].reward, *spreads) > FLAT for check in checks[1:]):
        return None
    validations = {f"validation reward, step {check.step}": check.reward for check in checks}
    return {"training reward before": trained.before, "training reward now": trained.after} | validations


def low_entropy(history: History) -> Evidence | None:
    """The policy is nearly certain of every token, and the task is not solved."""
    values = history.last("entropy")
    if is_solved(history) or len(values) < LEAST or fmean(values) >= 0.01:
        return None
    return {"entropy, nats per token": fmean(values)}


def kl_jump(history: History) -> Evidence | None:
    """The last two measurements are far above the usual ones."""
    values = history.measured("kl_to_base", WINDOW + 2)
    if len(values) < WINDOW + 2:
        return None
    usual, now = median(values[:-2]), min(values[-2:])
    return {"KL before": usual, "KL now": now} if now > max(0.1, 4 * usual) else None


def spread_shrinks(history: History) -> Evidence | None:
    """Rewards within groups of episodes differ much less than at first, and the mean has not risen."""
    before, now = history.early("groups/reward_std"), history.last("groups/reward_std", BLOCK)
    if (
        history.present - BLOCK < EARLY
        or not history.last("episodes/turns")
        or len(now) < BLOCK
        or not before
    ):
        return None
    trained = measure_rise(history, REWARD, SPREAD, 0, history.present)
    if not history.last("episodes/turns") or trained is None or trained.after > trained.before:
        return None
    if fmean(now) > SHRUNK * fmean(before):
        return None
    return {
        "spread within groups, first steps": fmean(before),
        "spread now": fmean(now),
        "mean reward, first steps": trained.before,
        "mean reward now": trained.after,
    }


def entropy_collapse(history: History) -> Evidence | None:
    """Entropy is below the team's bound in consecutive steps."""
    values = _since(history, "entropy", WINDOW)
    if len(values) < WINDOW or max(values) >= history.limits.least_entropy:
        return None
    return {f"highest entropy of {WINDOW} steps, nats per token": max(values)}


def no_signal_at_all(history: History) -> Evidence | None:
    """No group had a signal in as many steps as the team allows."""
    number = history.limits.no_signal_steps
    shares = _since(history, "groups/no_signal_share", number)
    if len(shares) < number or min(shares) < 1.0:
        return None
    mean = fmean(history.last(REWARD) or [0.0])
    return {"steps in a row without signal": float(number), "mean reward": mean}


def _since(history: History, name: str, number: int) -> list[float]:
    steps = [step for step in history.steps[-number:] if step.number > history.since]
    return [step.values[name] for step in steps if name in step.values]
