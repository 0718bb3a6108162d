"""The object that describes one kind of grader. Each file of ``kinds`` ends in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from workers.contract.graders import Grader
from workers.contract.schema import Frozen
from workers.grading.context import GradingContext
from workers.grading.results import Grade

Definition = TypeVar("Definition", bound=Frozen)
Json = dict[str, Any]


def _accept(definition: Any) -> None:
    """Accept every definition."""


def _keep(raw: Json, normalise_part: Callable[[Any], Json]) -> Json:
    return raw


def _list_no_parts(definition: Any) -> dict[str, Grader]:
    return {}


@dataclass(frozen=True)
class GraderKind(Generic[Definition]):
    """One kind of grader: its definition, its texts on pages, and what it does.

    ``example`` is a definition to start from. ``normalise`` gets a raw definition, which it may change, and
    the function that normalises a part; ``parts`` lists the graders inside a definition by their path.
    ``check`` finds what the schema cannot express. Both ``normalise`` and ``check`` raise ``GraderInvalid``,
    whose path begins at the definition.
    """

    definition: type[Definition]
    label: str
    explanation: str
    example: Mapping[str, Any]
    open: Callable[[Definition, GradingContext], Grade]
    normalise: Callable[[Json, Callable[[Any], Json]], Json] = _keep
    check: Callable[[Definition], None] = _accept
    parts: Callable[[Definition], dict[str, Grader]] = _list_no_parts
    is_openai: bool = False
    asks_judge: bool = False
    compares_answers: bool = False
    rewards_reference: bool = False
    """True if the reference alone, given as the answer, earns full marks."""

    @property
    def type(self) -> str:
        """The id in the field ``type``."""
        return str(self.definition.model_fields["type"].default)
