"""Problems of a grader that a person should know before launching a job with it."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.calibration import services as calibration
from webapp.environments.launching import find_environment_refusal
from webapp.graders.definitions import required_fields
from webapp.graders.models import GraderCheck, GraderVersion
from webapp.jobs.launch.request import TaskChoice
from webapp.jobs.launch.service import find_unmet_conditions_of_check

UNPLAYED = "The rows are tasks of an environment. Choose it, or each rollout is a single completion."


@dataclass(frozen=True)
class Finding:
    """A problem in plain words. ``kind`` is error or warning."""

    kind: str
    text: str


def find_grader_problems(version: GraderVersion | None) -> list[Finding]:
    """Return what a person should know about the grader before launching a job with it."""
    if version is None:
        return []
    check = GraderCheck.objects.filter(version=version).first()
    paid = ", ".join(str(cheat["title"]).lower() for cheat in check.warnings) if check else ""
    findings = [Finding("error", condition) for condition in find_unmet_conditions_of_check(version, check)]
    if check and check.low_reference:
        findings.insert(0, Finding("error", _describe_low_reference(check)))
    if paid:
        findings.append(Finding("warning", f"It rewards answers that solve nothing: {paid}."))
    if calibration.is_uncalibrated(version):
        findings.append(Finding("warning", "Its judge is uncalibrated: no card says how far to trust it."))
    return findings


def _describe_low_reference(check: GraderCheck) -> str:
    mean = check.results["reference"]["mean"]
    earned = "could not be graded" if mean is None else f"earn {mean:.2f} on average"
    return (
        f"Completions that should earn full marks {earned}. Correct the grader, or its full marks, before "
        "you spend GPU time on it."
    )


def find_row_problems(task: TaskChoice) -> list[Finding]:
    """Return the fields that the task's grader reads and its rows lack, and problems with its environment."""
    rows, grader, environment = task.dataset_version, task.grader_version, task.environment_version
    if not (grader and rows):
        return []
    lacks = required_fields.find_lacks(grader, rows)
    findings = [Finding("error" if lack.refused else "warning", lack.message) for lack in lacks]
    if refusal := find_environment_refusal(environment, rows, grader):
        findings.append(Finding("error", refusal))
    elif not environment and getattr(rows, "played_in", None):
        findings.append(Finding("warning", UNPLAYED))
    return findings
