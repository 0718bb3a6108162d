"""The dataset rows behind a job's rollouts and evaluations, and what their graders expect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from webapp.calibration.services import asks_judge
from webapp.datasets.content.turns import build_turns, find_last_request, parse_prompt
from webapp.datasets.models import DatasetVersion
from webapp.datasets.versions.row_lookup import find_rows
from webapp.graders.definitions.references import Reader, RowReference, reference_reader
from webapp.graders.models import GraderVersion
from webapp.jobs.models import Job, JobTask, Rollout

DatasetRow = Mapping[str, Any]  # a line of a version's file: row_id, messages, tools and item


class JobRows:
    """Finds rows of a job's datasets. With several tasks a row id begins with its task's name."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._readers: dict[int, Reader] = {}
        self._judged: dict[int, bool] = {}

    @cached_property
    def _tasks(self) -> dict[str, JobTask]:
        return {task.name: task for task in self.job.loaded_tasks}

    def _find_part(self, row_id: str) -> Job | JobTask:
        """The task that the row belongs to; the job itself if it has no tasks."""
        return self._tasks.get(row_id.rpartition("/")[0], self.job)

    def _find_version(self, row_id: str) -> DatasetVersion:
        version = self._find_part(row_id).dataset_version
        assert version, "a job that has rollouts has rows"
        return version

    def find(self, row_ids: Iterable[str]) -> dict[str, DatasetRow]:
        """Return the rows of the open splits, by the ids that the job uses.

        Rows of a sealed split are missing, and so are those whose file is gone.
        """
        by_task: dict[str, dict[str, str]] = defaultdict(dict)
        for row_id in row_ids:
            task, _, own_id = row_id.rpartition("/")
            by_task[task][own_id] = row_id
        found: dict[str, DatasetRow] = {}
        for ids in by_task.values():
            version = self._find_version(next(iter(ids.values())))
            with suppress(FileNotFoundError):
                found |= {ids[own_id]: row for own_id, row in find_rows(version, ids).items()}
        return found

    def find_requests(self, rollouts: Iterable[Rollout]) -> dict[str, str]:
        """Return row id -> last user message in the prompt of its rollouts."""
        prompts = {rollout.row_id: rollout.prompt for rollout in rollouts}
        rows = self.find(prompts)
        return {
            row_id: find_last_request(
                build_turns(rows[row_id]["messages"]) if row_id in rows else parse_prompt(prompt)
            )
            for row_id, prompt in prompts.items()
        }

    def url(self, row_id: str) -> str:
        """Return the URL of the row in its dataset."""
        return self._find_version(row_id).get_row_url(row_id.rpartition("/")[2])

    def is_judged(self, row_id: str) -> bool:
        """Return True if the row's grader asks a judge: explanations are the judge's reasons."""
        version = self._find_part(row_id).grader_version
        if version.pk not in self._judged:
            self._judged[version.pk] = asks_judge(version)
        return self._judged[version.pk]

    def reference(self, row_id: str, row: DatasetRow) -> RowReference:
        """Return what the row's grader expects of a completion."""
        version = self._find_part(row_id).grader_version
        if version.pk not in self._readers:
            self._readers[version.pk] = build_reader(version)
        return self._readers[version.pk](row.get("item") or {})


def build_reader(version: GraderVersion) -> Reader:
    """Return the reader of references for a saved grader version."""
    return reference_reader(version.definition, version.grader)
