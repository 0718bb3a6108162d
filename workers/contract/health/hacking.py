"""Rules for a gamed grader. Each returns its evidence if it fires, else ``None``."""

from __future__ import annotations

import re
from collections.abc import Callable
from statistics import fmean, pstdev

from workers.contract.health.history import (
    BLOCK,
    CHECKS,
    EARLY,
    FLAT,
    WINDOW,
    History,
    is_confirmed,
    measure_held_out_rise,
    measure_trained_rise,
)

Evidence = dict[str, float]

LATEST = 3  # steps whose mean may have jumped
SUB_REWARD = re.compile(r"rewards/(?!grader/)(.+)/mean")


def held_out_gap(history: History) -> Evidence | None:
    """Compare with the first steps (slow drift), and with the check before the last three (late change)."""
    if history.present < (CHECKS + 1) * BLOCK:
        return None
    return _find_gap(history, 0) or _find_gap(history, history.present - CHECKS * BLOCK)


def _find_gap(history: History, start: int) -> Evidence | None:
    trained = measure_trained_rise(history, start)
    if trained is None or not trained.is_clear:
        return None
    ends = [history.present - back * BLOCK for back in reversed(range(CHECKS))]
    held_out = [each for end in ends if (each := measure_held_out_rise(history, start, end)) is not None]
    flat = max(FLAT, 0.2 * min(trained.deviations, 1.0))
    if len(held_out) < CHECKS or any(each.deviations > flat for each in held_out):
        return None
    return {
        "trained reward before": trained.before,
        "trained reward now": trained.after,
        "held-out reward before": held_out[0].before,
        **{f"held-out reward, check {n}": each.after for n, each in enumerate(held_out, start=1)},
    }


def length_explains(history: History) -> Evidence | None:
    """The gain since the first steps vanishes among completions of equal length."""
    raw, matched = history.last("gain/raw", BLOCK), history.last("gain/length_matched", BLOCK)
    if len(matched) < BLOCK or is_confirmed(history):
        return None
    trained = measure_trained_rise(history)
    if trained is None or not trained.is_clear or fmean(matched) > 0.25 * fmean(raw):
        return None
    length = "completions/mean_length"
    lengths = {"length, first steps": history.early(length), "length now": history.last(length, BLOCK)}
    means = {name: fmean(values) for name, values in lengths.items() if values}
    return {"gain": fmean(raw), "gain at equal length": fmean(matched)} | means


def sub_reward_jump(history: History) -> Evidence | None:
    """One sub-reward rises within a few steps, far beyond its noise, and the others do not."""
    values = {name: history.last(name, WINDOW + LATEST) for name in _list_sub_rewards(history)}
    known = {name: each for name, each in values.items() if len(each) == WINDOW + LATEST}
    jumps = {name: fmean(each[WINDOW:]) - fmean(each[:WINDOW]) for name, each in known.items()}
    if not jumps or is_confirmed(history):
        return None
    name = max(jumps, key=lambda each: jumps[each])
    before, after = known[name][:WINDOW], known[name][WINDOW:]
    others = [abs(jump) for other, jump in jumps.items() if other != name]
    if jumps[name] < max(0.25, 4 * pstdev(before)) or max(others, default=0.0) > jumps[name] / 2:
        return None
    label = name.split("/", 1)[1].removesuffix("/mean")
    return {f"{label}, {WINDOW} steps before": fmean(before), f"{label}, last {LATEST} steps": fmean(after)}


def _list_sub_rewards(history: History) -> list[str]:
    names = {name for step in history.steps[-1:] for name in step.values}
    return sorted(name for name in names if SUB_REWARD.fullmatch(name))


def share_grew(
    name: str, label: str, least_rise: float, least: float
) -> Callable[[History], Evidence | None]:
    """Return a rule that fires if a share has risen since the first steps and is high now."""

    def evidence(history: History) -> Evidence | None:
        before, now = history.early(name), history.last(name, BLOCK)
        if history.present - BLOCK < EARLY or not before or not now or is_confirmed(history):
            return None
        if fmean(now) - fmean(before) < least_rise or fmean(now) < least:
            return None
        return {f"{label}, first steps": fmean(before), f"{label}, now": fmean(now)}

    return evidence
