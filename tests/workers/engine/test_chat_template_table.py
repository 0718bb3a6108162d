"""The documented table of chat templates equals the results of the installed versions."""

from __future__ import annotations

from tests.models import chat_templates


def test_the_table_of_chat_templates_is_current() -> None:
    """``python -m tests.models.chat_templates`` writes it."""
    assert chat_templates.in_document(chat_templates.DOCUMENT.read_text()) == chat_templates.table()
