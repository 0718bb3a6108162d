"""Errors of work items."""

from __future__ import annotations

from pydantic import field_validator

from webapp.core.fields import replace_nul
from workers.contract.schema import Frozen


class WorkError(Frozen):
    """Why a work item failed, as its row keeps it and its page shows it."""

    message: str
    remedy: str = ""
    code: str = ""
    detail: str = ""

    @field_validator("message", "remedy", "code", "detail")
    @classmethod
    def _make_storable(cls, text: str) -> str:
        return replace_nul(text)


class WorkFailed(Exception):
    """Work failed for a reason that a retry does not change. Ends the item."""

    def __init__(self, message: str, remedy: str = "", *, code: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.error = WorkError(message=message, remedy=remedy, code=code, detail=detail)


class LeaseLost(Exception):
    """The attempt no longer holds the item. The worker must stop and write nothing more."""
