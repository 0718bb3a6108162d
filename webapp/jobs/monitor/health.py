"""The health strip: what the rules of ``contract.health`` say of a job now, and the alarms it has raised."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webapp.jobs.models import Alarm, Job
from workers.contract import health

if TYPE_CHECKING:
    from webapp.jobs.models import Evaluation

SPARK_POINTS = 40
KINDS = {"stop": "error", "hacking": "error", "fault": "error", "learning": "warning"}
NAMES = {
    "stop": "nothing is learned",
    "hacking": "sign of reward hacking",
    "fault": "fault",
    "learning": "learning signal",
}


@dataclass(frozen=True)
class Watched:
    """A number of the strip with its latest value and its course."""

    label: str
    unit: str
    values: list[float]
    hint: str
    advanced: bool = False

    @property
    def latest(self) -> float:
        return self.values[-1]


@dataclass(frozen=True)
class Shown:
    """A rule that fires now or did: in words, with its plot and where to read rollouts."""

    code: str
    kind: str
    message: str
    threshold: str
    evidence: dict[str, float]
    remedy: str
    course: list[Watched]
    alarm: Alarm | None
    now: bool

    @property
    def badge(self) -> str:
        return KINDS[self.kind]

    @property
    def kind_name(self) -> str:
        return NAMES[self.kind]


@dataclass(frozen=True)
class TaskHealth:
    """One of several tasks."""

    name: str
    numbers: dict[str, float]
    rewards: list[float]


@dataclass(frozen=True)
class Strip:
    """Everything the strip shows; ``steps`` is 0 before the first step."""

    steps: int
    shown: list[Shown]
    watched: list[Watched]
    tasks: list[TaskHealth]
    solved: bool = False

    @property
    def main(self) -> list[Watched]:
        """The numbers that are always shown."""
        return [number for number in self.watched if not number.advanced]

    @property
    def advanced(self) -> list[Watched]:
        """The numbers for specialists, folded away."""
        return [number for number in self.watched if number.advanced]

    @property
    def spark_points(self) -> int:
        """How many steps the lines show."""
        return min(self.steps, SPARK_POINTS)

    @property
    def well(self) -> bool:
        """Whether nothing fires now."""
        return not any(each.now for each in self.shown)


# (metric, label, unit, hint)
WATCHED: tuple[tuple[str, str, str, str], ...] = (
    ("groups/informative_share", "Informative groups", "share", "Their rewards differ: only these teach."),
    ("groups/reward_std", "Reward std. dev. within group", "", "Of the answers to one prompt, mean."),
    ("held_out/reward", "Held-out grader", "", "Never trained against; grades the same answers."),
    ("gain/length_matched", "Gain at equal length", "", "Since steps 1 to 5, had length not changed."),
    ("kl_to_base", "KL to the start", "nats", "Per token (k3): how far the policy has moved."),
    ("kl_to_base/k1", "KL, estimator k1", "nats", "Per token. Unbiased and noisy; may be negative."),
    ("kl_to_base/k2", "KL, estimator k2", "nats", "Half the squared log ratio; biased, low noise."),
    ("entropy", "Entropy", "nats", "Per token. Near 0 the model has stopped exploring."),
    ("completions/mean_length", "Answer length", "tokens", "Mean of the step."),
    ("completions/truncated_share", "Truncated", "share", "Answers cut at the length limit."),
    ("answers/repetition", "Repetition", "share", "Token triples of an answer that repeat earlier ones."),
    ("answers/template_share", "Shared first characters", "share", "Answers with the most frequent opening."),
    ("grading/missing_share", "Not graded", "share", "Answers without a reward."),
    ("time/grading", "Grading", "s", "Of one step."),
    ("step_time", "Time per step", "s", "Generation, grading, forward and backward."),
    ("tokens_per_second", "Speed", "tokens/s", "Completion tokens by step time."),
    ("memory/peak_gib", "Memory", "GiB", "At most so far: of the GPU, or of the process on a CPU."),
    ("device/busy", "Device busy", "share", "Share of the time: of the GPU, or of the job's CPU threads."),
    ("adapter/norm_change", "Adapter change", "", "Norm of the adapter's change since the last step."),
    ("sampling/logp_gap", "Sampler/trainer gap", "nats", "Of log-probabilities, per token."),
)  # fmt: skip
ADVANCED = {"kl_to_base/k1", "kl_to_base/k2", "adapter/norm_change", "sampling/logp_gap"}
LABELS = {name: label for name, label, _, _ in WATCHED} | {
    "reward": "Trained reward",
    "gain/raw": "Gain",
    "rewards/most_common_share": "Most frequent score",
    "grading/error_share": "Gradings that failed",
}
TASK_NAME = re.compile(r"tasks/(.+)/([a-z_]+)")
MOST_ALARMS = 50


def message_of(code: str) -> str:
    """What the rule says; empty for a code that is none."""
    rule = health.BY_CODE.get(code)
    return rule.message if rule else ""


def limits(job: Job) -> health.Limits:
    """The team's bounds, as the engine has them."""
    rules = job.settings.alarm
    evaluation = job.settings.evaluation
    return health.Limits(rules.least_entropy, rules.no_signal_steps, evaluation.pass_threshold)


def checks(evaluations: Iterable[Evaluation]) -> list[health.Check]:
    """The validations of a job, of all its tasks together, by step."""
    sides = [
        (each.step, each.tuned or each.base)
        for each in evaluations
        if each.split == "validation" and not each.task
    ]
    return [
        health.Check(step, side["reward"]["mean"]) for step, side in sorted(sides, key=lambda pair: pair[0])
    ]


def strip(job: Job, evaluations: Iterable[Evaluation]) -> Strip:
    """What is known of the job's health by now."""
    during = checks(each for each in evaluations if each.stage != "after")
    wanted = health.find_needed_steps(job.step, [check.step for check in during], limits(job))
    rows = job.metrics.filter(step__in=wanted).order_by("step").values_list("step", "values")
    steps = [health.Step(number, values) for number, values in rows]
    if not steps:
        return Strip(0, [], [], [])
    history = health.History(steps, during, limits(job))
    alarms = {alarm.code: alarm for alarm in reversed(job.alarms.all()[:MOST_ALARMS])}
    return Strip(
        job.step, _shown(history, alarms), _watched(history), _tasks(history), health.is_solved(history)
    )


def _shown(history: health.History, alarms: dict[str, Alarm]) -> list[Shown]:
    """What fires now, gravest first; then what was raised before, latest first."""
    found = health.find_alarms(history)
    now = [_firing(history, finding, alarms.get(finding.rule.code)) for finding in found]
    firing = {shown.code for shown in now}
    before = sorted((a for code, a in alarms.items() if code not in firing), key=lambda alarm: -alarm.step)
    return [*now, *(_past(history, alarm) for alarm in before)]


def _firing(history: health.History, finding: health.Finding, alarm: Alarm | None) -> Shown:
    rule = finding.rule
    return Shown(
        rule.code, rule.kind, rule.message, finding.threshold, finding.evidence, rule.remedy,
        _course(history, rule), alarm, now=True,
    )  # fmt: skip


def _past(history: health.History, alarm: Alarm) -> Shown:
    rule = health.BY_CODE.get(alarm.code)
    return Shown(
        alarm.code, rule.kind if rule else "learning", alarm.message, alarm.threshold, alarm.evidence,
        alarm.remedy, _course(history, rule) if rule else [], alarm, now=False,
    )  # fmt: skip


def _course(history: health.History, rule: health.Rule) -> list[Watched]:
    names = health.list_plotted(rule, history.steps[-1].values)
    return [Watched(_label(name), "", history.last(name, SPARK_POINTS), "") for name in names]


def _label(name: str) -> str:
    return LABELS.get(name) or name.removeprefix("rewards/").removesuffix("/mean")


def _watched(history: health.History) -> list[Watched]:
    """The numbers of the strip that the job has."""
    watched = [
        Watched(label, unit, values, hint, name in ADVANCED)
        for name, label, unit, hint in WATCHED
        if (values := history.last(name, SPARK_POINTS))
    ]
    return watched + _course(history, health.BY_CODE["sub_reward_jump"])


def _tasks(history: health.History) -> list[TaskHealth]:
    """Each of several tasks by its latest numbers."""
    latest: dict[str, dict[str, float]] = {}
    for step in history.steps[-SPARK_POINTS:]:
        for name, value in step.values.items():
            if found := TASK_NAME.fullmatch(name):
                latest.setdefault(found[1], {})[found[2]] = value
    return [
        TaskHealth(name, numbers, history.last(f"tasks/{name}/reward", SPARK_POINTS))
        for name, numbers in sorted(latest.items())
    ]
