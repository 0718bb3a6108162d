"""``sql``: a query is right if it gives what the reference query gives, on every database.

The databases are built and queried inside the sandbox.
"""

from __future__ import annotations

import re

from workers.contract.graders import SqlGrader
from workers.grading import form_fields
from workers.grading.context import GradingContext
from workers.grading.examples import ANSWER, REFERENCE
from workers.grading.form_fields import FormField
from workers.grading.kind import GraderKind
from workers.grading.results import Grade, GraderInvalid
from workers.grading.sandboxed import Source, open_source

MAX_SCRIPT_CHARACTERS = 1_000_000
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

SOURCE = Source("sql.py", modules=("thoughts", "fences", "sandboxed.verdicts"), harmless="SELECT 1")


def open_sql(grader: SqlGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches. Raises ``GradingUnavailable``."""
    config = {"databases": grader.databases, "partial": grader.partial}
    return open_source(SOURCE, grader, context, config)


def check_sql(grader: SqlGrader) -> None:
    """Raise ``GraderInvalid`` for what is empty or too long.

    The scripts run in the sandbox only, so their errors show when it grades.
    """
    if not _COMMENT.sub("", grader.reference).strip("; \t\r\n"):
        raise GraderInvalid("reference", "it holds no query; write one, or a template such as {{item.query}}")
    for number, script in enumerate(grader.databases):
        if not script.strip():
            raise GraderInvalid(f"databases.{number}", "an SQL script that builds a database, this is empty")
    size = sum(map(len, grader.databases))
    if size > MAX_SCRIPT_CHARACTERS:
        raise GraderInvalid("databases", f"{size} characters in all; the limit is {MAX_SCRIPT_CHARACTERS}")


KIND = GraderKind(
    definition=SqlGrader,
    label="SQL query",
    explanation="1 or 0: the query gives the same rows as the reference on a small database of yours.",
    example={
        "type": "sql",
        "name": "same_rows",
        "input": ANSWER,
        "reference": REFERENCE,
        "databases": [
            "create table orders (id integer primary key, customer text, total real);\n"
            "insert into orders values (1, 'Marlow', 60.5), (2, 'Vireo', 20.0), (3, 'Marlow', 9.5);"
        ],
        "partial": 0.1,
    },
    fields=(
        form_fields.INPUT,
        form_fields.REFERENCE,
        FormField("databases", "Databases, SQL scripts as a JSON list", "json"),
    ),
    open=open_sql,
    check=check_sql,
    rewards_reference=True,
)
