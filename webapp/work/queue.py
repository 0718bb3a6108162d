"""The queue for every kind of work item: enqueue, claim, renew, finish, fail, requeue.

The item's row is the source of truth. A claim increments its attempt, every write of a worker names the
attempt, and an attempt ends when its lease expires. Messages only wake workers up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from webapp.work import messages
from webapp.work.errors import LeaseLost, WorkFailed
from webapp.work.models import Leased, WorkState

Item = TypeVar("Item", bound=Leased)


def fence_attempt(pk: int, attempt: int) -> Q:
    """Return the condition of a fenced write: this attempt still holds the item."""
    return Q(pk=pk, attempt=attempt, state=WorkState.RUNNING)


def fence_item(item: Leased) -> Q:
    """Return ``fence_attempt`` for the attempt that claimed ``item``."""
    return fence_attempt(item.pk, item.attempt)


def compute_lease_end() -> datetime:
    """Return the end of a lease that is claimed or renewed now."""
    return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)


@dataclass(frozen=True)
class LeaseQueue(Generic[Item]):
    """The items of one model.

    ``name`` is their folder in the work directory; ``task`` runs one item.
    """

    model: type[Item]
    name: str
    task: str
    remedy: str  # after too many crashes
    related: tuple[str, ...]  # select_related of a claimed item

    def notify(self, pk: int) -> None:
        """Send a wake-up message for one item."""
        messages.notify_workers(self.task, pk)

    @transaction.atomic
    def claim(self, pk: int, **values: Any) -> Item | None:
        """Lease the queued item to a new attempt. Returns None if another worker was first."""
        now = timezone.now()
        leased = {
            "attempt": F("attempt") + 1,
            "lease_until": compute_lease_end(),
            "started_at": now,
            "error": None,
        }
        queued = Q(pk=pk, state=WorkState.QUEUED)
        if not self.change(pk, WorkState.RUNNING, guard=queued, **(leased | values)):
            return None
        return self.model._default_manager.select_related(*self.related).get(pk=pk)

    def renew(self, item: Item, **values: Any) -> None:
        """Extend the lease of the item's attempt and store ``values``. Raises LeaseLost."""
        if not self._rows(fence_item(item)).update(lease_until=compute_lease_end(), **values):
            raise LeaseLost(str(item))

    @transaction.atomic
    def finish(self, item: Item, state: str = WorkState.FINISHED, **values: Any) -> bool:
        """Store the result. Returns False, with nothing changed, if the attempt lost the item."""
        ended = {"lease_until": None, "finished_at": timezone.now(), "error": None}
        return self.change(item.pk, state, guard=fence_item(item), **(ended | values))

    @transaction.atomic
    def fail(self, item: Item, error: WorkFailed, **values: Any) -> bool:
        """Store the error. Returns False, with nothing changed, if the attempt lost the item."""
        ended = {"lease_until": None, "finished_at": timezone.now(), "error": error.error}
        return self.change(item.pk, WorkState.FAILED, guard=fence_item(item), **(ended | values))

    @transaction.atomic
    def crash(self, item: Item, detail: str, guard: Q | None = None) -> None:
        """Count a crash of the attempt: queue the item again, or fail it after too many crashes."""
        found = self._rows(fence_item(item) & (guard or Q())).select_for_update().first()
        if found is None:
            return
        crashes = found.crashes + 1
        if crashes > settings.MAX_CRASHES:
            self.fail(found, self.build_crash_error(found, crashes, detail), crashes=crashes)
            return
        self.change(found.pk, self.choose_state_after_crash(found), guard=fence_item(found), crashes=crashes)
        self.notify(found.pk)

    def requeue_silent(self) -> None:
        """Count a crash for every expired lease, and wake workers up for queued items."""
        expired = Q(state=WorkState.RUNNING, lease_until__lt=timezone.now())
        for item in self._rows(expired):
            self.crash(item, "The worker stopped reporting: its lease was not renewed.", expired)
        self.notify_waiting()

    def notify_waiting(self) -> None:
        """Send wake-up messages for all queued items."""
        for pk in self._rows(state=WorkState.QUEUED).values_list("pk", flat=True):
            self.notify(pk)

    def change(self, pk: int, state: str, *, guard: Q, **values: Any) -> bool:
        """Change the state and ``values`` if ``guard`` still holds. Returns False if it does not."""
        return bool(self._rows(guard, pk=pk).update(state=state, **values))

    def choose_state_after_crash(self, item: Item) -> str:
        """Return the state of an item after a crash."""
        return WorkState.QUEUED

    def build_crash_error(self, item: Item, crashes: int, detail: str) -> WorkFailed:
        """Return the error of an item that crashed too often."""
        message = f"Its worker stopped {crashes} times, last in attempt {item.attempt}."
        return WorkFailed(message, self.remedy, code="worker_died", detail=detail)

    def _rows(self, *conditions: Q, **fields: Any) -> Any:
        return self.model._default_manager.filter(*conditions, **fields)


class Queue(LeaseQueue[Item]):
    """A queue whose items can be queued again. Jobs have a LeaseQueue: their states decide that."""

    def enqueue(self, item: Item, **values: Any) -> None:
        """Queue ``item``, also if it ended before. A running attempt loses it."""
        none = dict.fromkeys(("lease_until", "started_at", "finished_at", "error"))
        fresh = none | {"state": WorkState.QUEUED, "queued_at": timezone.now(), "crashes": 0}
        self._rows(pk=item.pk).update(**(fresh | values))
        self.notify(item.pk)
