"""The kinds of graders, one file a kind, and the one list of them."""

from __future__ import annotations

from typing import Any

from workers.grading.kind import GraderKind
from workers.grading.kinds import (
    environment,
    json_schema,
    label_model,
    mathematics,
    multi,
    python,
    ranking,
    regex,
    rubric,
    score_model,
    sql,
    string_check,
    text_similarity,
)

_LISTED: tuple[GraderKind[Any], ...] = (
    python.KIND,
    string_check.KIND,
    text_similarity.KIND,
    score_model.KIND,
    label_model.KIND,
    multi.KIND,
    json_schema.KIND,
    regex.KIND,
    mathematics.KIND,
    sql.KIND,
    rubric.KIND,
    ranking.KIND,
    environment.KIND,
)
KINDS = {kind.type: kind for kind in _LISTED}
"""Every kind by its id, in the order that pages show them: OpenAI's types, then Groove's own."""
