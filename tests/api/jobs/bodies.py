"""Files and requests of fine-tuning jobs for tests."""

from __future__ import annotations

import json
from typing import Any

from django.core.files.base import ContentFile

from webapp.datasets.files.models import ApiFile
from webapp.datasets.files.services import create_file
from webapp.teams.models import Team, User

SAME: dict[str, Any] = {
    "type": "string_check", "name": "same", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "{{item.label}}",
}  # fmt: skip


def write_rows(rows: range) -> bytes:
    """Return JSON Lines with one question a row."""
    lines = [
        {"messages": [{"role": "user", "content": f"What is {n} plus one?"}], "label": str(n + 1)}
        for n in rows
    ]
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def make_file(team: Team, user: User, rows: range, purpose: str = "fine-tune") -> ApiFile:
    return create_file(
        team, user, f"{rows.start}.jsonl", purpose, ContentFile(write_rows(rows), "rows.jsonl")
    )


def build_body(training: ApiFile, validation: ApiFile | None = None, **changes: Any) -> dict[str, Any]:
    """Return a request; ``changes`` replace its fields, and those of ``hyperparameters`` and ``grader``."""
    reinforcement = {
        "grader": changes.pop("grader", SAME),
        "hyperparameters": changes.pop("hyperparameters", {}),
    }
    body = {
        "model": "groove/starter",
        "training_file": training.uid,
        "method": {"type": "reinforcement", "reinforcement": reinforcement},
    }
    if validation:
        body["validation_file"] = validation.uid
    return body | changes
