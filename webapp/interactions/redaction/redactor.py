"""Replace personal data in texts and JSON by placeholders such as ``<EMAIL_1>``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from webapp.interactions.redaction.patterns import TIMEOUT_KIND, find_own_spans
from webapp.interactions.redaction.recognizers import KINDS, VERSION, Span, find_spans

if TYPE_CHECKING:
    from webapp.interactions.models import InteractionRules
    from workers.contract.json_types import JsonValue

Value = tuple[str, str]
"""A kind and the text that was found."""
HIDDEN = "[not kept: a pattern of the redaction rules took too long]"


class Redactor:
    """Redacts by one team's rules. Use it in two passes: ``collect`` every text, then ``replace``."""

    def __init__(self, rules: InteractionRules) -> None:
        self._kinds = list(rules.kinds)
        self._region = rules.phone_region
        self._patterns = rules.patterns
        self._spans: dict[str, list[Span]] = {}
        self.version = f"{VERSION}.{rules.version}"

    def collect(self, value: JsonValue) -> list[Value]:
        """Return what has to be replaced in ``value``, each once, in order of appearance."""
        found: dict[Value, None] = {}
        for text in _walk_texts(value):
            for span in self._find(text):
                found[span.kind, text[span.start : span.end]] = None
        return list(found)

    def replace(self, value: JsonValue, placeholders: Mapping[Value, str]) -> JsonValue:
        """Return ``value`` with the placeholders in it."""
        if isinstance(value, str):
            return self._replace_text(value, placeholders)
        if isinstance(value, Mapping):
            return {key: self.replace(inner, placeholders) for key, inner in value.items()}
        if isinstance(value, Sequence):
            return [self.replace(inner, placeholders) for inner in value]
        return value

    def _find(self, text: str) -> list[Span]:
        if text not in self._spans:
            every = [*find_spans(text, self._kinds, self._region), *find_own_spans(text, self._patterns)]
            self._spans[text] = _drop_overlaps(text, every)
        return self._spans[text]

    def _replace_text(self, text: str, placeholders: Mapping[Value, str]) -> str:
        parts, end = [], 0
        for span in self._find(text):
            if span.kind == TIMEOUT_KIND:
                return HIDDEN
            parts += [text[end : span.start], placeholders[span.kind, text[span.start : span.end]]]
            end = span.end
        return "".join([*parts, text[end:]])


def _drop_overlaps(text: str, spans: Iterable[Span]) -> list[Span]:
    """Return spans in order. Of spans that overlap, the kind that comes first in KINDS wins."""
    rank = {kind: position for position, kind in enumerate((TIMEOUT_KIND, *KINDS))}
    taken, kept = bytearray(len(text)), []
    for span in sorted(spans, key=lambda each: (rank.get(each.kind, len(rank)), each.start)):
        if not any(taken[span.start : span.end]):
            taken[span.start : span.end] = b"\1" * (span.end - span.start)
            kept.append(span)
    return sorted(kept, key=lambda each: each.start)


def _walk_texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _walk_texts(inner)
    elif isinstance(value, Sequence):
        for inner in cast("Sequence[JsonValue]", value):
            yield from _walk_texts(inner)
