"""The messages that a model gets for a row: a template that the row's item fills, or messages in the item."""

from __future__ import annotations

from typing import Any

from workers.contract.json_types import JsonObject
from workers.grading.results import GradingFault, Subject
from workers.grading.template import Template, TemplateInvalid, parse_template


class MessagesInvalid(ValueError):
    """The messages cannot be made. The message says why."""


def check_messages(described: JsonObject) -> None:
    """Check the input messages of a data source. Raises MessagesInvalid."""
    if described["type"] == "item_reference":
        _parse_reference(described)
        return
    template: Any = described.get("template")
    if not template:
        raise MessagesInvalid("The template has no messages.")
    for message in template:
        _parse_text(_join_content(message["content"]))


def build_messages(described: JsonObject, item: JsonObject) -> list[JsonObject]:
    """Return the messages for a row. Raises MessagesInvalid if its item lacks a value."""
    subject = Subject("", item)
    try:
        if described["type"] == "item_reference":
            return _find_messages(_parse_reference(described), subject)
        template: Any = described["template"]
        return [
            {"role": message["role"], "content": _parse_text(_join_content(message["content"])).fill(subject)}
            for message in template
        ]
    except GradingFault as fault:
        raise MessagesInvalid(fault.detail) from fault


def _join_content(content: Any) -> str:
    parts = content if isinstance(content, list) else [content]
    return "\n".join(part if isinstance(part, str) else part["text"] for part in parts)


def _parse_text(text: str) -> Template:
    """Raises MessagesInvalid, also for references to a sample, which does not exist yet."""
    try:
        template = parse_template(text)
    except TemplateInvalid as error:
        raise MessagesInvalid(str(error)) from error
    for piece in template.pieces:
        if not isinstance(piece, str) and piece.namespace == "sample":
            raise MessagesInvalid(f"{piece.text}: messages to a model can only name the item.")
    return template


def _parse_reference(described: JsonObject) -> Template:
    text = str(described.get("item_reference", "")).strip()
    template = _parse_text(text if text.startswith("{{") else "{{" + text + "}}")
    if len(template.pieces) != 1:
        raise MessagesInvalid("item_reference is one path, such as item.messages.")
    return template


def _find_messages(template: Template, subject: Subject) -> list[JsonObject]:
    (reference,) = template.pieces
    assert not isinstance(reference, str)
    found = reference.value(subject)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise MessagesInvalid(f"{reference.text} is not a list of messages.")
    return found
