"""Jobs and their records."""

from webapp.jobs.models.evaluation import SAME, ComparedRow, Evaluation
from webapp.jobs.models.job import Job, JobEvent, JobQuerySet, JobTask, Pin, prefetch_loaded_tasks
from webapp.jobs.models.people import JobNotice, SavedView
from webapp.jobs.models.row_builds import RowBuild
from webapp.jobs.models.sharing import CheckpointPermission
from webapp.jobs.models.suites import JobSuite, SuiteScore
from webapp.jobs.models.training import Alarm, Checkpoint, GradedCompletion, Metric, PreflightSample, Rollout

__all__ = [
    "SAME",
    "Alarm",
    "Checkpoint",
    "CheckpointPermission",
    "ComparedRow",
    "Evaluation",
    "GradedCompletion",
    "Job",
    "JobEvent",
    "JobNotice",
    "JobQuerySet",
    "JobSuite",
    "JobTask",
    "Metric",
    "Pin",
    "PreflightSample",
    "Rollout",
    "RowBuild",
    "SavedView",
    "SuiteScore",
    "prefetch_loaded_tasks",
]
