"""Errors of work items."""

from __future__ import annotations

from webapp.core.fields import replace_nul


class WorkFailed(Exception):
    """Work that would fail again unchanged: what happened, and the remedy. Ends the item."""

    def __init__(self, message: str, remedy: str = "", *, code: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message, self.remedy, self.code, self.detail = message, remedy, code, detail

    def as_json(self) -> dict[str, str]:
        """Return ``{code?, message, remedy, detail?}`` in text that PostgreSQL can hold."""
        always = {"message": replace_nul(self.message), "remedy": replace_nul(self.remedy)}
        some = {"code": self.code, "detail": replace_nul(self.detail)}
        return always | {name: value for name, value in some.items() if value}


class LeaseLost(Exception):
    """Another attempt has the item, or nobody should: stop and write nothing more."""
