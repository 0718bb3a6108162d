"""Fields that models of several apps share."""

from __future__ import annotations

from typing import Self, TypeVar

from django.conf import settings
from django.db import models
from django.utils import timezone

M = TypeVar("M", bound=models.Model)


class Authored(models.Model):
    """Who made an object, and when. ``created_by`` is empty where Groove did, or the account is gone."""

    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class SoftDeletedQuerySet(models.QuerySet[M]):
    """Objects that a person can delete and restore."""

    def alive(self) -> Self:
        """Return the objects that nobody has deleted."""
        return self.filter(deleted_at=None)

    def deleted(self) -> Self:
        """Return the deleted objects."""
        return self.exclude(deleted_at=None)


class SoftDeleted(models.Model):
    """A model whose rows are hidden, not removed, when a person deletes them: other rows refer to them."""

    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = SoftDeletedQuerySet.as_manager()

    class Meta:
        abstract = True

    def mark_deleted(self) -> bool:
        """Hide the object. Return False if it was deleted already."""
        return self._set_deleted(True)

    def mark_restored(self) -> bool:
        """Show the object again. Return False if it was not deleted."""
        return self._set_deleted(False)

    def _set_deleted(self, deleted: bool) -> bool:
        # A conditional UPDATE: of two requests at once one counts, and only that one is audited.
        at = timezone.now() if deleted else None
        changed = type(self).objects.filter(pk=self.pk, deleted_at__isnull=deleted).update(deleted_at=at)
        if changed:
            self.deleted_at = at
        return bool(changed)
