"""The number of steps of a job."""

from __future__ import annotations

from webapp.datasets.models import DatasetVersion
from workers.contract.spec import GrpoSettings


def count_steps(grpo: GrpoSettings, *versions: DatasetVersion) -> int:
    """Steps that the job will take: stated, or its epochs over the training rows of all its tasks."""
    if grpo.max_steps:
        return grpo.max_steps
    rows = sum(int(version.files["train"]["rows"]) for version in versions)
    return max(1, rows // grpo.prompts_per_step) * grpo.epochs
