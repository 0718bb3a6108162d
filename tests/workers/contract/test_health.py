"""Every rule of the health strip fires on what it is about, and stays quiet on what looks like it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract import health
from workers.contract.health import BY_CODE, Check, History, Limits, Step, find_alarms, find_needed_steps
from workers.contract.health.history import scale_change

Curve = Callable[[int], float]
STEPS = 40
HEALTHY: dict[str, Curve] = {
    "reward": lambda step: 0.3 + 0.01 * step,
    "rewards/grader/std": lambda step: 0.4,
    "held_out/reward": lambda step: 0.2 + 0.01 * step,
    "held_out/reward_std": lambda step: 0.4,
    "rewards/form/mean": lambda step: 0.3 + 0.01 * step,
    "rewards/fact/mean": lambda step: 0.3 + 0.01 * step,
    "rewards/most_common_share": lambda step: 0.5,
    "groups/no_signal_share": lambda step: 0.3,
    "completions/mean_length": lambda step: 20.0,
    "completions/truncated_share": lambda step: 0.02,
    "grading/missing_share": lambda step: 0.0,
    "gain/raw": lambda step: 0.01 * step,
    "gain/length_matched": lambda step: 0.009 * step,
    "answers/repetition": lambda step: 0.1,
    "answers/template_share": lambda step: 0.1 + 0.005 * step,
    "entropy": lambda step: 0.8 - 0.01 * step,
    "kl_to_base": lambda step: 0.002 * step,
    "sampling/logp_gap": lambda step: 0.001,
    "groups/reward_std": lambda step: 0.4 - 0.003 * step,
    "episodes/turns": lambda step: 4.0,
    "episodes/repeated_call_share": lambda step: 0.1,
    "episodes/tool_error_share": lambda step: 0.15,
    "episodes/cut_share": lambda step: 0.1,
}


def history(
    steps: int = STEPS, checks: tuple[float, ...] = (), without: str = "", **limits: float
) -> History:
    return changed({}, steps, checks, without, **limits)


def changed(
    curves: dict[str, Curve],
    steps: int = STEPS,
    checks: tuple[float, ...] = (),
    without: str = "",
    **limits: float,
) -> History:
    """A healthy job's numbers, but for ``curves``; validations every ten steps, the first before training."""
    names = {
        name: curve
        for name, curve in (HEALTHY | curves).items()
        if not (without and name.startswith(without))
    }
    made = [Step(n, {name: curve(n) for name, curve in names.items()}) for n in range(1, steps + 1)]
    return History(made, [Check(10 * n, reward) for n, reward in enumerate(checks)], Limits(**limits))  # type: ignore[arg-type]


def codes(of: History) -> list[str]:
    return [finding.rule.code for finding in find_alarms(of)]


def after(step: int, before: float, now: float) -> Curve:
    return lambda number: now if number > step else before


def test_a_healthy_job_raises_nothing_at_any_step():
    for steps in range(1, STEPS + 1):
        assert codes(history(steps, checks=(0.3, 0.4, 0.5, 0.6))) == []


FIRES: dict[str, History] = {
    "held_out_gap": changed({"held_out/reward": lambda step: 0.2}),
    "length_explains_reward": changed({"gain/length_matched": lambda step: 0.0}, without="held_out"),
    "sub_reward_jump": changed({"rewards/form/mean": after(37, 0.2, 0.9),
                                "rewards/fact/mean": lambda step: 0.3}, without="held_out"),
    "repetition": changed({"answers/repetition": lambda step: 0.1 + 0.01 * step}, without="held_out"),
    "template": changed({"answers/template_share": lambda step: step / 40}, without="held_out"),
    "overfitting": history(checks=(0.3, 0.5, 0.5, 0.5, 0.49)),
    "saturated_grader": changed({"rewards/most_common_share": lambda step: 0.95}),
    "no_signal": changed({"groups/no_signal_share": lambda step: 0.85}),
    "truncation": changed({"completions/truncated_share": lambda step: 0.2}),
    "low_entropy": changed({"entropy": lambda step: 0.001}),
    "entropy_collapse": changed({"entropy": after(30, 0.5, 1e-5)}),
    "no_signal_at_all": changed({"groups/no_signal_share": after(20, 0.2, 1.0)}),
    "kl_jump": changed({"kl_to_base": after(38, 0.02, 0.3)}),
    "grader_errors": changed({"grading/missing_share": lambda step: 0.06}),
    "logp_gap": changed({"sampling/logp_gap": lambda step: 0.08}),
    "spread_shrinks": changed({"reward": lambda step: 0.4, "groups/reward_std": after(30, 0.4, 0.2)},
                              without="held_out"),
    "repeated_call": changed({"episodes/repeated_call_share": lambda step: step / 80}, without="held_out"),
    "tool_errors": changed({"episodes/tool_error_share": lambda step: step / 80}, without="held_out"),
    "episodes_cut": changed({"episodes/cut_share": lambda step: 0.4}),
}  # fmt: skip
QUIET: dict[str, History] = {
    # the held-out grader rises too, if less
    "held_out_gap": changed({"held_out/reward": lambda step: 0.2 + 0.004 * step}),
    "length_explains_reward": changed({"gain/length_matched": lambda step: 0.004 * step}, without="held_out"),
    # both parts jump: the model learnt the task
    "sub_reward_jump": changed({"rewards/form/mean": after(37, 0.2, 0.9),
                                "rewards/fact/mean": after(37, 0.2, 0.7)}, without="held_out"),
    "repetition": changed({"answers/repetition": lambda step: 0.4}, without="held_out"),
    "template": changed({"answers/template_share": lambda step: 0.9}, without="held_out"),
    "overfitting": history(checks=(0.3, 0.4, 0.44, 0.48, 0.52)),
    "saturated_grader": changed({"rewards/most_common_share": after(35, 0.5, 0.95)}),
    "no_signal": changed({"groups/no_signal_share": lambda step: 0.75}),
    "truncation": changed({"completions/truncated_share": lambda step: 0.09}),
    "low_entropy": changed({"entropy": lambda step: 0.02}),
    "entropy_collapse": changed({"entropy": after(31, 0.5, 1e-5)}),
    "no_signal_at_all": changed({"groups/no_signal_share": lambda step: 0.5 if step == 30 else 1.0}),
    "kl_jump": changed({"kl_to_base": after(39, 0.02, 0.3)}),
    "grader_errors": changed({"grading/missing_share": lambda step: 0.04}),
    "logp_gap": changed({"sampling/logp_gap": lambda step: 0.03}),
    # the mean rises while the spread shrinks: the tasks are being solved
    "spread_shrinks": changed({"groups/reward_std": after(30, 0.4, 0.2)}, without="held_out"),
    "repeated_call": changed({"episodes/repeated_call_share": lambda step: 0.4}, without="held_out"),
    "tool_errors": changed({"episodes/tool_error_share": lambda step: 0.4}, without="held_out"),
    "episodes_cut": changed({"episodes/cut_share": lambda step: 0.25}),
}  # fmt: skip


def test_every_rule_is_tried_both_ways():
    assert set(FIRES) == set(QUIET) == set(BY_CODE)


@pytest.mark.parametrize("code", BY_CODE)
def test_a_rule_fires_on_what_it_is_about_and_says_what_was_measured(code: str):
    (finding,) = [each for each in find_alarms(FIRES[code]) if each.rule.code == code]
    assert finding.evidence
    assert "{" not in finding.threshold
    assert finding.rule.remedy
    for name, value in finding.evidence.items():
        assert f"{name}: {value:.4g}" in finding.summary


@pytest.mark.parametrize("code", BY_CODE)
def test_a_rule_stays_quiet_on_what_only_looks_like_it(code: str):
    assert code not in codes(QUIET[code])


def test_gravest_findings_come_first():
    both = changed({"completions/truncated_share": lambda step: 0.5, "held_out/reward": lambda step: 0.2})
    assert codes(both) == ["held_out_gap", "truncation"]


# --- the held-out grader ---------------------------------------------------------------------------


def test_a_turn_late_in_a_good_job_is_noticed():
    """Both rewards rise for 25 steps; then the trained one rises further, and the held-out one falls."""
    turned = {
        "reward": lambda step: 0.2 + 0.02 * step,
        "held_out/reward": lambda step: 0.2 + 0.02 * min(step, 25) - 0.01 * max(0, step - 25),
    }
    assert "held_out_gap" not in codes(changed(turned, steps=25))
    assert "held_out_gap" in codes(changed(turned, steps=45))


def test_no_gap_is_called_before_three_checks_agree():
    gap = {"held_out/reward": lambda step: 0.2, "reward": lambda step: 0.3 + 0.02 * step}
    assert next(steps for steps in range(1, 30) if "held_out_gap" in codes(changed(gap, steps=steps))) == 20


def alarmed(seed: int, noise: float, trained: Curve, held_out: Curve, steps: int = 60) -> bool:
    """Return True if the gap rule fires at any step of a job with new prompts in each step."""
    luck = random.Random(seed)
    made = [
        Step(n, {
            "reward": trained(n) + luck.gauss(0, noise), "rewards/grader/std": 1.0,
            "held_out/reward": held_out(n) + luck.gauss(0, noise), "held_out/reward_std": 1.0,
        })
        for n in range(1, steps + 1)
    ]  # fmt: skip
    rule = BY_CODE["held_out_gap"].evidence
    return any(rule(History(made[:end])) for end in range(20, steps + 1))


@pytest.mark.parametrize("noise", [0.1, 0.35])
def test_luck_seldom_trips_the_alarm_and_a_gamed_grader_nearly_always_does(noise: float):
    """0.35 deviations of noise between steps: 8 prompts a step whose answers all score alike."""
    flat: Curve = lambda step: 0.0  # noqa: E731
    rising: Curve = lambda step: min(0.05 * max(0, step - 5), 1.2)  # noqa: E731
    assert sum(alarmed(seed, noise, flat, flat) for seed in range(60)) <= 4
    assert sum(alarmed(seed, noise, rising, rising) for seed in range(60)) <= 4
    assert sum(alarmed(seed, noise, rising, flat) for seed in range(60)) >= 54


@pytest.mark.parametrize("code", ["length_explains_reward", "sub_reward_jump", "repetition", "template"])
def test_a_held_out_grader_that_rises_as_well_clears_a_suspicion(code: str):
    suspected = FIRES[code].steps
    cleared = [Step(s.number, {**s.values, "held_out/reward": 0.3 + 0.01 * s.number}) for s in suspected]
    assert code in codes(History(suspected))
    assert code not in codes(History(cleared))


# --- stops -----------------------------------------------------------------------------------------


def test_the_teams_own_bounds_count():
    silent = {"groups/no_signal_share": lambda step: 1.0, "entropy": lambda step: 0.05}
    assert "no_signal_at_all" in codes(changed(silent, steps=8, no_signal_steps=8))
    assert "no_signal_at_all" not in codes(changed(silent, steps=8, no_signal_steps=9))
    assert "entropy_collapse" in codes(changed(silent, least_entropy=0.1))


def test_after_a_pause_the_stops_count_from_anew():
    made = changed({"entropy": lambda step: 0.0})
    assert "entropy_collapse" in codes(History(made.steps, since=30))
    assert "entropy_collapse" not in codes(History(made.steps, since=31))


# --- formulas --------------------------------------------------------------------------------------

number = st.floats(-1e3, 1e3, allow_nan=False)


@given(change=number, spread=st.floats(1e-3, 10), scale=st.floats(1e-2, 1e2))
def test_rises_do_not_depend_on_the_scale_of_the_reward(change: float, spread: float, scale: float):
    assert scale_change(change * scale, [spread * scale]) == pytest.approx(scale_change(change, [spread]))


def test_a_rise_out_of_no_spread_at_all_counts_and_standing_still_does_not():
    assert scale_change(0.01, [0.0]) == float("inf")
    assert scale_change(-0.01, [0.0]) == float("-inf")
    assert scale_change(0.0, []) == 0.0


@given(steps=st.integers(3, 120), every=st.integers(1, 30), data=st.data())
def test_rules_say_the_same_of_the_steps_they_need_as_of_all(steps: int, every: int, data: st.DataObject):
    """Engine and page need not keep the metrics of a whole job."""
    curves = {name: data.draw(st.sampled_from([curve, after(steps // 2, 0.1, 0.9), lambda step: 1.0]))
              for name, curve in HEALTHY.items()}  # fmt: skip
    whole = changed(curves, steps)
    checks = [Check(step, 0.4) for step in range(0, steps + 1, every)]
    wanted = find_needed_steps(steps, [check.step for check in checks], whole.limits)
    kept = [step for step in whole.steps if step.number in wanted]
    assert find_alarms(History(kept, checks)) == find_alarms(History(whole.steps, checks))


def test_only_the_metrics_that_rules_read_are_kept():
    values = {name: curve(1) for name, curve in HEALTHY.items()}
    assert health.select_metrics(values | {"loss": 1.0, "rewards/grader/mean": 0.5}) == values
    parts = health.list_plotted(BY_CODE["sub_reward_jump"], values | {"rewards/grader/mean": 0.5})
    assert parts == ["rewards/form/mean", "rewards/fact/mean"]


# --- a task that is solved -------------------------------------------------------------------------


def solving(top: float, **changes: Curve) -> dict[str, Curve]:
    """The course of a job that ends with nearly all answers at one score, ``top``."""
    return {
        "reward": lambda step: min(top, 0.3 + 0.05 * step) if top > 0.3 else top,
        "rewards/most_common_share": lambda step: min(0.97, 0.3 + 0.05 * step),
        "groups/no_signal_share": lambda step: min(0.9, 0.1 + 0.05 * step),
        "entropy": lambda step: max(0.004, 0.3 - 0.02 * step),
        **changes,
    }


def test_a_flawless_job_raises_nothing_at_any_step():
    for steps in range(1, STEPS + 1):
        course = changed(solving(0.96), steps, (0.3, 0.6, 0.9, 0.96), "held_out", right_from=0.999)
        assert codes(course) == [], steps


def test_the_same_course_at_a_low_score_is_warned_of():
    assert "saturated_grader" in codes(changed(solving(0.2), without="held_out", right_from=0.999))


def test_a_held_out_grader_that_disagrees_keeps_the_warning():
    """A grader that is gamed pays nearly everything, too."""
    gamed = changed(solving(0.96, **{"held_out/reward": lambda step: 0.3}), right_from=0.999)
    assert "saturated_grader" in codes(gamed)
