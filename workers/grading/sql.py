"""``sql``: a query is right if it gives what the reference query gives, on every database.

The databases are built and queried inside the sandbox.
"""

from __future__ import annotations

import re

from workers.contract.graders import SqlGrader
from workers.grading.context import GradingContext
from workers.grading.results import Grade, GraderInvalid
from workers.grading.sandboxed import Source, open_source

MAX_SCRIPT_CHARACTERS = 1_000_000
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

SOURCE = Source("sql.py", modules=("thoughts", "fences"), harmless="SELECT 1")


def open_sql(grader: SqlGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches. Raises ``GradingUnavailable``."""
    config = {"databases": grader.databases, "partial": grader.partial}
    return open_source(SOURCE, grader, context, config)


def check(grader: SqlGrader) -> None:
    """Raises ``GraderInvalid``. The scripts run in the sandbox only, so their errors show when it grades."""
    if not _COMMENT.sub("", grader.reference).strip("; \t\r\n"):
        raise GraderInvalid("reference", "it holds no query; write one, or a template such as {{item.query}}")
    for number, script in enumerate(grader.databases):
        if not script.strip():
            raise GraderInvalid(f"databases.{number}", "an SQL script that builds a database, this is empty")
    size = sum(map(len, grader.databases))
    if size > MAX_SCRIPT_CHARACTERS:
        raise GraderInvalid("databases", f"{size} characters in all; the limit is {MAX_SCRIPT_CHARACTERS}")
