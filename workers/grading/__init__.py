"""Graders: from a model's answer and its row to a reward. Imports neither torch nor the web application."""

from workers.grading.definition import (
    canonical,
    compares_answers,
    judge_models,
    reads_episode,
    sha256,
    validate,
)
from workers.grading.judge import Judges
from workers.grading.kinds import KINDS
from workers.grading.results import GradeResult, GraderInvalid, GradingUnavailable, Limits
from workers.grading.sandbox import SandboxStatus, probe
from workers.grading.session import GradeAnswers, open_grader, open_graders
from workers.grading.source import Problem, python_problems

__all__ = [
    "KINDS",
    "GradeAnswers",
    "GradeResult",
    "GraderInvalid",
    "GradingUnavailable",
    "Judges",
    "Limits",
    "Problem",
    "SandboxStatus",
    "canonical",
    "compares_answers",
    "judge_models",
    "open_grader",
    "open_graders",
    "probe",
    "python_problems",
    "reads_episode",
    "sha256",
    "validate",
]
