"""The queue of every kind of work item: enqueue, claim, renew, finish, fail, and requeue after silence.

The item's row is the only truth. A claim raises its attempt, a worker's write names the attempt, and a lease
that nobody renews ends it. Messages only wake workers up.
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
    """The condition that fences a write: this attempt still holds the item."""
    return Q(pk=pk, attempt=attempt, state=WorkState.RUNNING)


def fence_item(item: Leased) -> Q:
    """``fence`` for the attempt that ``item`` was claimed as."""
    return fence_attempt(item.pk, item.attempt)


def compute_lease_end() -> datetime:
    """Return until when a claim or a renewal made now holds."""
    return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)


@dataclass(frozen=True)
class Queue(Generic[Item]):
    """The items of one kind. ``name`` is their folder in the work directory, ``task`` runs one of them."""

    model: type[Item]
    name: str
    task: str
    remedy: str  # after too many crashes
    related: tuple[str, ...]  # read with a claimed item

    def enqueue(self, item: Item, **values: Any) -> None:
        """Queue ``item``, anew if it was done before. An attempt that runs loses it."""
        none = dict.fromkeys(("lease_until", "started_at", "finished_at", "error"))
        fresh = none | {"state": WorkState.QUEUED, "queued_at": timezone.now(), "crashes": 0}
        self._rows(pk=item.pk).update(**(fresh | values))
        self.notify(item.pk)

    def notify(self, pk: int) -> None:
        """Wake a worker up for one item."""
        messages.notify_workers(self.task, pk)

    @transaction.atomic
    def claim(self, pk: int, **values: Any) -> Item | None:
        """Lease the queued item to a new attempt; None if another worker was first."""
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
        """Extend the lease of the item's attempt and store ``values``. Raises ``LeaseLost``."""
        if not self._rows(fence_item(item)).update(lease_until=compute_lease_end(), **values):
            raise LeaseLost(str(item))

    @transaction.atomic
    def finish(self, item: Item, state: str = WorkState.FINISHED, **values: Any) -> bool:
        """Store the result. False, and nothing changes, if the attempt has lost the item."""
        ended = {"lease_until": None, "finished_at": timezone.now(), "error": None}
        return self.change(item.pk, state, guard=fence_item(item), **(ended | values))

    @transaction.atomic
    def fail(self, item: Item, error: WorkFailed, **values: Any) -> bool:
        """Store why there is no result. False, and nothing changes, if the attempt has lost the item."""
        ended = {"lease_until": None, "finished_at": timezone.now(), "error": error.as_json()}
        return self.change(item.pk, WorkState.FAILED, guard=fence_item(item), **(ended | values))

    @transaction.atomic
    def crash(self, item: Item, detail: str, guard: Q | None = None) -> None:
        """Note that the attempt ended without a result: queue the item again, or fail it after too many."""
        found = self._rows(fence_item(item) & (guard or Q())).select_for_update().first()
        if found is None:
            return
        crashes = found.crashes + 1
        if crashes > settings.MAX_CRASHES:
            self.fail(found, self.exhausted(found, crashes, detail), crashes=crashes)
            return
        self.change(found.pk, self.state_after_crash(found), guard=fence_item(found), crashes=crashes)
        self.notify(found.pk)

    def requeue_silent(self) -> None:
        """Count a crash of every attempt whose lease has expired, and wake workers up for all that wait."""
        expired = Q(state=WorkState.RUNNING, lease_until__lt=timezone.now())
        for item in self._rows(expired):
            self.crash(item, "The worker fell silent: its lease was not renewed.", expired)
        self.notify_waiting()

    def notify_waiting(self) -> None:
        """Wake workers up for every queued item."""
        for pk in self._rows(state=WorkState.QUEUED).values_list("pk", flat=True):
            self.notify(pk)

    def change(self, pk: int, state: str, *, guard: Q, **values: Any) -> bool:
        """Change the state and ``values`` where ``guard`` holds. False if it does not: somebody was first."""
        return bool(self._rows(guard, pk=pk).update(state=state, **values))

    def state_after_crash(self, item: Item) -> str:
        """Where an item goes whose attempt crashed."""
        return WorkState.QUEUED

    def exhausted(self, item: Item, crashes: int, detail: str) -> WorkFailed:
        """The error of an item that crashed too often."""
        message = f"Its worker stopped {crashes} times, last in attempt {item.attempt}."
        return WorkFailed(message, self.remedy, code="worker_died", detail=detail)

    def _rows(self, *conditions: Q, **fields: Any) -> Any:
        return self.model._default_manager.filter(*conditions, **fields)
