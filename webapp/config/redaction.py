"""Keep secret links out of the log."""

from __future__ import annotations

import logging
import re

_SECRET_PATHS = re.compile(
    r"(/invitations/|/accounts/confirm-email/|/accounts/password/reset/key/)[^/\s?\"']+"
)


def redact(text: str) -> str:
    """Replace the tokens of secret links by an ellipsis."""
    return _SECRET_PATHS.sub(r"\1…", text)


class TokenFilter(logging.Filter):
    """Redacts the message and its arguments in place."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redact(str(record.msg))
        if isinstance(record.args, tuple):
            record.args = tuple(redact(each) if isinstance(each, str) else each for each in record.args)
        return True
