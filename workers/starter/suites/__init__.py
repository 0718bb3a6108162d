"""Built-in suites: small, graded without a sandbox or a judge, the same in every team.

``python -m workers.starter.suites.build`` writes the rows to this folder, one file per suite.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from workers.contract.graders import FieldScore, Grader, JsonSchemaGrader, RegexGrader
from workers.contract.json_types import JsonObject
from workers.contract.spec import DataFile

FOLDER = Path(__file__).parent


def _grade_fields(*names: str) -> JsonSchemaGrader:
    """Return a grader of the share of right fields of a JSON object with exactly these fields."""
    schema: JsonObject = {
        "type": "object",
        "required": [*names],
        "additionalProperties": False,
        "properties": {name: {} for name in names},
    }
    scores = {name: FieldScore() for name in names}
    return JsonSchemaGrader(json_schema=schema, reference="{{item.reference}}", fields=scores)


@dataclass(frozen=True)
class BuiltIn:
    """One suite. ``key`` names its file."""

    key: str
    title: str
    description: str
    grader: Grader

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.key}.jsonl"

    @cached_property
    def file(self) -> DataFile:
        """Its rows with their hash; the path is local."""
        content = self.path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        return DataFile(path=str(self.path), sha256=digest, rows=content.count(b"\n"))


SUITES = {
    suite.key: suite
    for suite in (
        BuiltIn(
            "invoice",
            "Invoices",
            "Amount, currency and due date as JSON; the starter model can do it.",
            _grade_fields("amount", "currency", "due"),
        ),
        BuiltIn(
            "ticket",
            "Tickets",
            "Queue and priority as JSON; the starter model can do it.",
            _grade_fields("queue", "priority"),
        ),
        BuiltIn(
            "order",
            "Orders",
            "Line sums, subtotal and total as JSON; the starter model can do it.",
            _grade_fields("lines", "subtotal", "total"),
        ),
        BuiltIn(
            "arithmetic",
            "Arithmetic",
            "Sums and differences of two numbers; for instruct models, the starter model cannot.",
            RegexGrader(pattern=r"(-?\d+)\D*$", reference="{{item.reference}}"),
        ),
        BuiltIn(
            "instructions",
            "Following instructions",
            "Short answers in an exact form; for instruct models, the starter model cannot.",
            RegexGrader(
                pattern=r"\s*(.*?)\s*", match="fullmatch", flags=["dotall"], reference="{{item.reference}}"
            ),
        ),
    )
}
