"""Errors of work items."""

from __future__ import annotations

from webapp.core.fields import replace_nul


class WorkFailed(Exception):
    """Work failed for a reason that a retry does not change. Ends the item."""

    def __init__(self, message: str, remedy: str = "", *, code: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message, self.remedy, self.code, self.detail = message, remedy, code, detail

    def as_json(self) -> dict[str, str]:
        """Return ``{code?, message, remedy, detail?}`` without NUL characters."""
        required = {"message": replace_nul(self.message), "remedy": replace_nul(self.remedy)}
        optional = {"code": self.code, "detail": replace_nul(self.detail)}
        return required | {name: value for name, value in optional.items() if value}


class LeaseLost(Exception):
    """The attempt no longer holds the item. The worker must stop and write nothing more."""
