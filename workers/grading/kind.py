"""The object that describes one kind of grader. Each file of ``kinds`` ends in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from workers.contract.graders import Grader
from workers.contract.json_types import JsonObject
from workers.contract.schema import Frozen
from workers.grading.context import GradingContext
from workers.grading.form_fields import FormField
from workers.grading.results import Grade

Definition = TypeVar("Definition", bound=Frozen)
NormalisePart = Callable[[object], JsonObject]


def _accept(definition: Any) -> None:
    """Accept every definition."""


def _keep(raw: JsonObject, normalise_part: NormalisePart) -> JsonObject:
    return raw


def _list_no_parts(definition: Any) -> dict[str, Grader]:
    return {}


@dataclass(frozen=True)
class GraderKind(Generic[Definition]):
    """A kind of grader: its definition, its texts on pages, and its functions.

    ``example`` is a definition to start from; ``fields`` are those that a form edits. ``normalise`` turns
    what a person wrote into what the schema reads, and gets the function that does so for a part. ``check``
    finds what the schema cannot express. Both raise ``GraderInvalid`` with a path inside the definition.
    ``parts`` lists the graders inside a definition by their path.
    """

    definition: type[Definition]
    label: str
    explanation: str
    example: JsonObject
    fields: tuple[FormField, ...]
    open: Callable[[Definition, GradingContext], Grade]
    normalise: Callable[[JsonObject, NormalisePart], JsonObject] = _keep
    check: Callable[[Definition], None] = _accept
    parts: Callable[[Definition], dict[str, Grader]] = _list_no_parts
    is_openai: bool = False
    has_form: bool = False
    """True if the bench edits it by form. As a part of a ``multi`` every kind is."""
    asks_judge: bool = False
    compares_answers: bool = False
    rewards_reference: bool = False
    """True if the reference alone, given as the answer, earns full marks."""

    @property
    def type(self) -> str:
        """The id in the field ``type``."""
        return str(self.definition.model_fields["type"].default)

    def describe_form(self) -> dict[str, object]:
        """Return what ``static/js/grader_form.js`` needs, as JSON."""
        fields = [asdict(field) for field in self.fields]
        return {"fields": fields, "has_form": self.has_form, "example": self.example}
