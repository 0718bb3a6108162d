"""The queue of eval runs, whose ends are announced by webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from webapp.evals.models import EvalRun, OutputItem, RunReport
from webapp.evals.stored import lock_interactions
from webapp.webhooks.deliveries import create_event
from webapp.webhooks.models import EventType
from webapp.work.errors import WorkFailed
from webapp.work.models import WorkState
from webapp.work.queue import Queue

PENDING = (WorkState.QUEUED, WorkState.RUNNING)


class RunQueue(Queue[EvalRun]):
    """A queue whose items store their rows as they go, and can be canceled."""

    @transaction.atomic
    def record(self, run: EvalRun, items: Sequence[OutputItem], report: RunReport) -> None:
        """Store graded rows with the counts of all so far. Raises LeaseLost.

        Rows of stored completions that were deleted meanwhile are counted only.
        """
        self.renew(run, report=report)
        kept = lock_interactions([item.interaction_id for item in items if item.interaction_id])
        OutputItem.objects.bulk_create(
            item for item in items if item.interaction_id is None or item.interaction_id in kept
        )

    @transaction.atomic
    def finish(self, item: EvalRun, state: str = WorkState.FINISHED, **values: Any) -> bool:
        """Store the end of the run. Returns False, with nothing changed, if the attempt lost it."""
        return self._announce(item, EventType.RUN_SUCCEEDED, super().finish(item, state, **values))

    @transaction.atomic
    def fail(self, item: EvalRun, error: WorkFailed, **values: Any) -> bool:
        """Store the error. Returns False, with nothing changed, if the attempt lost the run."""
        return self._announce(item, EventType.RUN_FAILED, super().fail(item, error, **values))

    @transaction.atomic
    def cancel(self, run: EvalRun) -> bool:
        """End the run; what was graded stays. Returns False if it had ended."""
        now = timezone.now()
        ended = {"lease_until": None, "finished_at": now, "canceled_at": now}
        canceled = self.change(run.pk, WorkState.FAILED, guard=Q(state__in=PENDING), **ended)
        return self._announce(run, EventType.RUN_CANCELED, canceled)

    def _announce(self, run: EvalRun, event: EventType, ended: bool) -> bool:
        if ended:
            create_event(run.team_id, event, run.uid)
        return ended


EVAL_RUNS = RunQueue(
    EvalRun,
    "eval_runs",
    "run_eval",
    "Create the run again, with fewer rows.",
    related=("team", "eval", "key", "created_by"),
)
