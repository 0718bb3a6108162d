"""The health strip of a job: rules of ``contract.health`` with alarms, and their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from webapp.jobs.models import Alarm, Evaluation, Job
from workers.contract import health

SPARK_POINTS = 40
MAX_ALARMS = 50
BADGES = {"stop": "error", "hacking": "error", "fault": "error", "learning": "warning"}
KIND_NAMES = {
    "stop": "nothing is learned",
    "hacking": "sign of reward hacking",
    "fault": "fault",
    "learning": "learning signal",
}
TASK_METRIC = re.compile(r"tasks/(.+)/([a-z_]+)")


@dataclass(frozen=True)
class HealthNumber:
    """A metric with its values over the last steps."""

    label: str
    unit: str
    values: list[float]
    hint: str
    advanced: bool = False

    @property
    def latest(self) -> float:
        return self.values[-1]


@dataclass(frozen=True)
class HealthIssue:
    """A rule that fires now or did, with measured values, plots and its alarm."""

    code: str
    kind: str
    message: str
    threshold: str
    evidence: dict[str, float]
    remedy: str
    plots: list[HealthNumber]
    alarm: Alarm | None
    is_firing: bool

    @property
    def badge(self) -> str:
        return BADGES[self.kind]

    @property
    def kind_name(self) -> str:
        return KIND_NAMES[self.kind]


@dataclass(frozen=True)
class TaskHealth:
    """The latest numbers of one of several tasks, and its rewards over the last steps."""

    name: str
    numbers: dict[str, float]
    rewards: list[float]


@dataclass(frozen=True)
class HealthStrip:
    """The strip's content; ``steps`` is 0 before the first step."""

    steps: int
    issues: list[HealthIssue]
    numbers: list[HealthNumber]
    tasks: list[TaskHealth]
    solved: bool = False

    @property
    def main(self) -> list[HealthNumber]:
        """The numbers that are always shown."""
        return [number for number in self.numbers if not number.advanced]

    @property
    def advanced(self) -> list[HealthNumber]:
        """The numbers for specialists, which the page hides until they are unfolded."""
        return [number for number in self.numbers if number.advanced]

    @property
    def spark_points(self) -> int:
        """Number of steps in the sparklines."""
        return min(self.steps, SPARK_POINTS)

    @property
    def well(self) -> bool:
        """True if no rule fires now."""
        return not any(issue.is_firing for issue in self.issues)


# (metric, label, unit, hint)
NUMBERS: tuple[tuple[str, str, str, str], ...] = (
    ("groups/informative_share", "Informative groups", "share", "Their rewards differ: only these teach."),
    ("groups/reward_std", "Reward std. dev. within group", "", "Of the completions of one prompt, mean."),
    ("held_out/reward", "Held-out grader", "", "Never trained against; grades the same completions."),
    ("gain/length_matched", "Gain at equal length", "", "Since steps 1 to 5, had length not changed."),
    ("kl_to_base", "KL to initial model", "nats", "Per token (k3): how far the policy has moved."),
    ("kl_to_base/k1", "KL, estimator k1", "nats", "Per token. Unbiased and noisy; may be negative."),
    ("kl_to_base/k2", "KL, estimator k2", "nats", "Half the squared log ratio; biased, low noise."),
    ("entropy", "Entropy", "nats", "Per token. Near 0 the model has stopped exploring."),
    ("completions/mean_length", "Completion length", "tokens", "Mean of the step."),
    ("completions/truncated_share", "Truncated", "share", "Completions cut at the length limit."),
    ("answers/repetition", "Repetition", "share", "Token triples of a completion that repeat earlier ones."),
    ("answers/template_share", "Shared first characters", "share", "Those with the most frequent opening."),
    ("grading/missing_share", "Not graded", "share", "Completions without a reward."),
    ("time/grading", "Grading", "s", "Of one step."),
    ("step_time", "Time per step", "s", "Generation, grading, forward and backward."),
    ("tokens_per_second", "Speed", "tokens/s", "Completion tokens by step time."),
    ("memory/peak_gib", "Memory", "GiB", "At most so far: of the GPU, or of the process on a CPU."),
    ("device/busy", "Device busy", "share", "Share of the time: of the GPU, or of the job's CPU threads."),
    ("adapter/norm_change", "Adapter change", "", "Norm of the adapter's change since the last step."),
    ("sampling/logp_gap", "Sampler/trainer gap", "nats", "Of log-probabilities, per token."),
)  # fmt: skip
ADVANCED = {"kl_to_base/k1", "kl_to_base/k2", "adapter/norm_change", "sampling/logp_gap"}
LABELS = {name: label for name, label, _, _ in NUMBERS} | {
    "reward": "Trained reward",
    "gain/raw": "Gain",
    "rewards/most_common_share": "Most frequent score",
    "grading/error_share": "Gradings that failed",
}


def find_rule_message(code: str) -> str:
    """Return the message of a rule; empty for an unknown code."""
    rule = health.BY_CODE.get(code)
    return rule.message if rule else ""


def read_limits(job: Job) -> health.Limits:
    """Return the limits of the rules by the job's settings, as the engine has them."""
    rules = job.settings.alarm
    evaluation = job.settings.evaluation
    return health.Limits(rules.least_entropy, rules.no_signal_steps, evaluation.pass_threshold)


def list_validations(evaluations: Iterable[Evaluation]) -> list[health.Check]:
    """Return the mean rewards on validation rows, of all tasks together, by step."""
    sides = [
        (each.step, each.tuned or each.base)
        for each in evaluations
        if each.split == "validation" and not each.task
    ]
    return [health.Check(step, side.reward.mean) for step, side in sorted(sides, key=lambda pair: pair[0])]


def build_strip(job: Job, evaluations: Iterable[Evaluation]) -> HealthStrip:
    """Return the health of the job at its newest step."""
    validations = list_validations(each for each in evaluations if each.stage != "after")
    # The rules read a few windows of steps, so a long job costs no more than a short one.
    wanted = health.find_needed_steps(job.step, [check.step for check in validations], read_limits(job))
    rows = job.metrics.filter(step__in=wanted).order_by("step").values_list("step", "values")
    steps = [health.Step(number, values) for number, values in rows]
    if not steps:
        return HealthStrip(0, [], [], [])
    history = health.History(steps, validations, read_limits(job))
    alarms = {alarm.code: alarm for alarm in reversed(job.alarms.all()[:MAX_ALARMS])}
    return HealthStrip(
        job.step,
        _list_issues(history, alarms),
        _list_numbers(history),
        _list_tasks(history),
        health.is_solved(history),
    )


def _list_issues(history: health.History, alarms: dict[str, Alarm]) -> list[HealthIssue]:
    """Rules that fire now, gravest first; then rules with an earlier alarm, latest first."""
    now = [
        _build_firing(history, finding, alarms.get(finding.rule.code))
        for finding in health.find_alarms(history)
    ]
    firing = {issue.code for issue in now}
    ended = sorted((a for code, a in alarms.items() if code not in firing), key=lambda alarm: -alarm.step)
    return [*now, *(_build_ended(history, alarm) for alarm in ended)]


def _build_firing(history: health.History, finding: health.Finding, alarm: Alarm | None) -> HealthIssue:
    rule = finding.rule
    return HealthIssue(
        rule.code, rule.kind, rule.message, finding.threshold, finding.evidence, rule.remedy,
        _list_plots(history, rule), alarm, is_firing=True,
    )  # fmt: skip


def _build_ended(history: health.History, alarm: Alarm) -> HealthIssue:
    rule = health.BY_CODE.get(alarm.code)  # None for a rule of an earlier version of Groove
    return HealthIssue(
        alarm.code, rule.kind if rule else "learning", alarm.message, alarm.threshold, alarm.evidence,
        alarm.remedy, _list_plots(history, rule) if rule else [], alarm, is_firing=False,
    )  # fmt: skip


def _list_plots(history: health.History, rule: health.Rule) -> list[HealthNumber]:
    names = health.list_plotted(rule, history.steps[-1].values)
    return [
        HealthNumber(
            label=LABELS.get(name) or name.removeprefix("rewards/").removesuffix("/mean"),
            unit="",
            values=history.last(name, SPARK_POINTS),
            hint="",
        )
        for name in names
    ]


def _list_numbers(history: health.History) -> list[HealthNumber]:
    """The numbers of the strip that the job has, and the mean of each grader."""
    numbers = [
        HealthNumber(label, unit, values, hint, name in ADVANCED)
        for name, label, unit, hint in NUMBERS
        if (values := history.last(name, SPARK_POINTS))
    ]
    return numbers + _list_plots(history, health.BY_CODE["sub_reward_jump"])


def _list_tasks(history: health.History) -> list[TaskHealth]:
    """The tasks by name. Numbers may be some steps old: not every step has every task."""
    latest: dict[str, dict[str, float]] = {}
    for step in history.steps[-SPARK_POINTS:]:
        for name, value in step.values.items():
            if found := TASK_METRIC.fullmatch(name):
                latest.setdefault(found[1], {})[found[2]] = value
    return [
        TaskHealth(name, numbers, history.last(f"tasks/{name}/reward", SPARK_POINTS))
        for name, numbers in sorted(latest.items())
    ]
