"""What the pages of jobs show, computed from rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webapp.calibration import services as calibration
from webapp.graders.definitions import required_fields
from webapp.graders.models import GraderCheck, GraderVersion
from webapp.jobs.launch import estimates, suite_fields, task_fields
from webapp.jobs.launch.job_tasks import TaskChoice
from webapp.jobs.models import Job
from webapp.jobs.monitor import metrics
from webapp.jobs.services import SECTIONS, conditions_by, total_steps
from workers.contract.spec import EvaluationSettings


@dataclass(frozen=True)
class Finding:
    """One thing to be known, in plain words."""

    kind: str
    text: str


def held_out(job: Job) -> dict[str, Any]:
    """The held-out grader as the settings page shows it; empty without one."""
    version = job.held_out_grader
    return {"held_out_grader": {"version": str(version), "sha256": version.sha256}} if version else {}


def confidence(job: Job) -> float:
    """The level of the job's intervals, such as 0.95."""
    return EvaluationSettings.model_validate(job.settings.get("evaluation", {})).confidence


def add_results(jobs: list[Job]) -> None:
    """Give each job what the list shows of it: its rewards and its final comparison."""
    rewards = metrics.rewards(jobs)
    for job in jobs:
        job.rewards = rewards.get(job.pk, [])  # type: ignore[attr-defined]
        after = [each for each in job.evaluations.all() if each.stage == "after" and not each.task]
        job.comparison = after[-1] if after else None  # type: ignore[attr-defined]


# --- launching -----------------------------------------------------------------------------------


def outlook(values: dict[str, Any], settings: dict[str, Any], nodes: Sequence[str]) -> dict[str, Any]:
    """``steps`` and ``estimate`` (None where not known), and what is known of the grader."""
    version, base = values["dataset_version"], values["base_model"]
    tasks = task_fields.chosen(values) if version else []
    steps = total_steps(settings["grpo"], *(task.dataset_version for task in tasks)) if tasks else None
    found = None
    if base and steps:
        suites = [
            estimates.suite_rows(suite.built_in, suite.dataset_version)
            for suite in suite_fields.chosen(values)
        ]
        rows = [task.dataset_version.files for task in tasks]
        found = estimates.estimate(estimates.Plan(base, settings, rows, suites, steps), nodes)
    return {
        "steps": steps,
        "estimate": found,
        "seconds": found.seconds if found else None,
        "grader_findings": [
            *grader_findings(values["grader_version"]),
            *(finding for task in tasks for finding in field_findings(task)),
        ],
    }


def grader_findings(version: GraderVersion | None) -> list[Finding]:
    """What is to be known of a grader before GPU time goes into it."""
    if version is None:
        return []
    check = GraderCheck.objects.filter(version=version).first()
    paid = ", ".join(str(cheat["title"]).lower() for cheat in check.warnings) if check else ""
    findings = [Finding("error", condition) for condition in conditions_by(version, check)]
    if check and check.low_reference:
        findings.insert(0, Finding("error", low_reference(check)))
    if paid:
        findings.append(Finding("warning", f"It rewards answers that solve nothing: {paid}."))
    if calibration.is_uncalibrated(version):
        findings.append(Finding("warning", "Its judge is uncalibrated: no card says how far to trust it."))
    return findings


def low_reference(check: GraderCheck) -> str:
    """What the answers that should earn full marks earn."""
    mean = check.results["reference"]["mean"]
    earned = "could not be graded" if mean is None else f"earn {mean:.2f} on average"
    return (
        f"Answers that should earn full marks {earned}. Correct the grader, or its full-marks answer, before "
        "you spend GPU time on it."
    )


def field_findings(task: TaskChoice) -> list[Finding]:
    """Fields that the task's grader reads and its rows lack."""
    if not (task.grader_version and task.dataset_version):
        return []
    lacks = required_fields.find_lacks(task.grader_version, task.dataset_version)
    return [Finding("error" if lack.refused else "warning", lack.message) for lack in lacks]


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(place, value before, value after) of every setting that differs, in the order of the spec."""
    old, new = flat(before), flat(in_order(after))
    return [(place, old.get(place), value) for place, value in new.items() if old.get(place) != value]


def in_order(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings in the order of the spec; PostgreSQL keeps none."""
    sections = {
        section: {name: settings[section][name] for name in model.model_fields if name in settings[section]}
        for section, model in SECTIONS.items()
        if section in settings
    }
    return sections | ({"seed": settings["seed"]} if "seed" in settings else {})


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by their place, such as ``grpo.max_steps``."""
    flat: dict[str, Any] = {}
    for section, values in settings.items():
        if isinstance(values, dict):
            flat |= {f"{section}.{name}": value for name, value in values.items()}
        else:
            flat[section] = values
    return flat
