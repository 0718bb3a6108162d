"""Templates: ``{{ item.x }}`` and ``{{sample.output_json.items[0].name}}`` in a text.

Strings are inserted as they are, other values as compact JSON, in one pass: inserted text is never expanded.
A path goes down by ``.name``, ``["any key"]`` and ``[0]``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workers.grading.results import GradingFault, Subject
from workers.grading.sample import SAMPLE_FIELDS, parse_json

_REFERENCE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAMESPACE = re.compile(r"\s*([A-Za-z_]\w*)")
_STEP = re.compile(r"""\.(\w[\w-]*) | \[(\d{1,9})\] | \["([^"]*)"\] | \['([^']*)'\]""", re.VERBOSE)


class TemplateInvalid(ValueError):
    """The text is no valid template; the message says why and where."""


@dataclass(frozen=True)
class Reference:
    """A path into one of the two namespaces; ``text`` is its source."""

    text: str
    namespace: str
    path: tuple[str | int, ...]

    def value(self, subject: Subject) -> Any:
        """Return the value. Raises ``GradingFault`` if there is none at the path."""
        if self.namespace == "item":
            return self._walk(subject.item, self.path)
        if self.path[0] == "output_json":
            return self._walk(self._parse_output(subject.text), self.path[1:])
        return self._walk(subject.sample, self.path)

    def _parse_output(self, text: str) -> Any:
        try:
            return parse_json(text)
        except ValueError as error:
            raise GradingFault(
                "sample_parse_error", f"{self.text}: the answer is not JSON ({error})", of_sample=True
            ) from error

    def _walk(self, value: Any, path: Sequence[str | int]) -> Any:
        for step in path:
            try:
                value = value[_check_step(step, value)]
            except (KeyError, IndexError) as error:
                detail = f"{self.text}: no {step!r} here"
                fault = self.namespace == "sample"
                raise GradingFault("invalid_variable_error", detail, of_sample=fault) from error
        return value


def _check_step(step: str | int, value: Any) -> Any:
    """Return ``step`` if it fits the value: names for objects, numbers for lists. Raises ``KeyError``."""
    if isinstance(value, dict if isinstance(step, str) else list):
        return step
    raise KeyError(step)


@dataclass(frozen=True)
class Template:
    """A parsed template: texts and references in order."""

    pieces: tuple[str | Reference, ...]

    def fill(self, subject: Subject) -> str:
        """Return the text for one subject. Raises ``GradingFault`` for an unknown variable."""
        return "".join(
            piece if isinstance(piece, str) else as_text(piece.value(subject)) for piece in self.pieces
        )

    def fill_within(self, characters: int, subject: Subject, what: str) -> str:
        """Return the text. If it is too long, the sample is at fault, unless it is too long without it."""
        text = self.fill(subject)
        if len(text) <= characters:
            return text
        detail = f"{what} takes at most {characters} characters a side"
        if len(without_answer(self).fill(subject)) > characters:
            raise GradingFault("other_error", f"{detail}; the row and the template alone are longer")
        raise GradingFault("truncated_observation_error", detail, of_sample=True)


def without_answer(template: Template) -> Template:
    """Return ``template`` without its references to the sample."""
    pieces = (p for p in template.pieces if isinstance(p, str) or p.namespace != "sample")
    return Template(tuple(pieces))


def as_text(value: Any) -> str:
    """Return a string as it is, any other value as compact JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def parse_template(text: str) -> Template:
    """Return the template. Raises ``TemplateInvalid`` for a wrong namespace, sample field or reference."""
    pieces: list[str | Reference] = []
    for number, part in enumerate(_REFERENCE.split(text)):
        if number % 2:
            pieces.append(_parse_reference(part))
        elif "{{" in part:
            raise TemplateInvalid(f"'{{{{' without '}}}}' at {_excerpt(part[part.index('{{') :])}")
        elif part:
            pieces.append(part)
    return Template(tuple(pieces))


def _parse_reference(inner: str) -> Reference:
    excerpt = _excerpt("{{" + inner + "}}")
    head = _NAMESPACE.match(inner)
    if head is None:
        raise TemplateInvalid(f"{excerpt} does not begin with item or sample")
    namespace = head[1]
    if namespace not in ("item", "sample"):
        raise TemplateInvalid(f"{excerpt}: unknown namespace {namespace!r}; use item or sample")
    path = _parse_steps(inner[head.end() :].rstrip(), excerpt)
    if namespace == "sample" and (not path or path[0] not in SAMPLE_FIELDS):
        raise TemplateInvalid(f"{excerpt}: a sample has {', '.join(SAMPLE_FIELDS)}")
    return Reference(excerpt, namespace, path)


def parse_path(text: str) -> tuple[str | int, ...]:
    """Return the steps of a path such as ``lines[0].price``. Raises ``TemplateInvalid``."""
    return _parse_steps(text if text.startswith("[") else f".{text}", _excerpt(text))


def _parse_steps(text: str, excerpt: str) -> tuple[str | int, ...]:
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise TemplateInvalid(f"{excerpt}: cannot read {text[at:]!r}; write .name, [0] or ['a key']")
        steps.append(int(step[2]) if step[2] else next(s for s in step.group(1, 3, 4) if s is not None))
        at = step.end()
    return tuple(steps)


def _excerpt(text: str, characters: int = 80) -> str:
    return text if len(text) <= characters else text[:characters] + "…"
