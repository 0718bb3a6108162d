"""``python``: the user's ``grade(sample, item)``, run in the sandbox and nowhere else."""

from __future__ import annotations

from workers.contract.graders import PythonGrader
from workers.grading.context import GradingContext
from workers.grading.form_fields import FormField
from workers.grading.kind import GraderKind
from workers.grading.results import Grade, GraderInvalid
from workers.grading.sandbox import open_sandbox
from workers.grading.sandbox.batches import grade_in
from workers.grading.source import python_problems

EXAMPLE_SOURCE = '''import json


def grade(sample, item):
    """Share of right fields; a completion that is not JSON of this form earns 0.

    sample["output_text"] is the completion, item holds the other fields of the row.
    """
    wanted = item["reference"]
    try:
        given = json.loads(sample["output_text"])
    except ValueError:
        return 0.0
    if not isinstance(given, dict):
        return 0.0
    right = sum(given.get(key) == value for key, value in wanted.items())
    return right / len(wanted)
'''


def open_python(grader: PythonGrader, context: GradingContext) -> Grade:
    """Return a batch grader on a sandbox that holds the source. Raises ``GradingUnavailable``."""
    sandbox = context.stack.enter_context(open_sandbox(grader.source, context.limits))
    return grade_in(sandbox, context.seed)


def check_python(grader: PythonGrader) -> None:
    """Raise ``GraderInvalid`` for the first problem of the source, which is parsed and never run."""
    problems = python_problems(grader.source)
    if problems:
        raise GraderInvalid("source", f"line {problems[0]['line']}: {problems[0]['message']}")


KIND = GraderKind(
    definition=PythonGrader,
    label="Python code",
    explanation="Your own function of completion and row. Runs in a sandbox without network or files.",
    example={"type": "python", "name": "fields", "source": EXAMPLE_SOURCE},
    fields=(FormField("source", "Python source", "textarea"),),
    open=open_python,
    check=check_python,
    is_openai=True,
)
