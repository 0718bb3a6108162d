"""``regex``: 1 if a pattern matches, or if what it captures is the reference; by the package regex.

Compiling a pattern unfolds its least repetitions and its nesting takes stack, so both are bounded: a pattern
is compiled where definitions are checked. Matching has a time limit.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from workers.contract.graders import RegexGrader
from workers.grading import form_fields
from workers.grading.context import GradingContext
from workers.grading.examples import ANSWER, REFERENCE
from workers.grading.form_fields import FormField
from workers.grading.kind import GraderKind
from workers.grading.results import Grade, GraderInvalid, GradingFault, Subject, one_by_one
from workers.grading.template import parse_template

if TYPE_CHECKING:
    from regex import Pattern

SECONDS = 0.25
MAX_CHARACTERS = 32_768
MAX_UNFOLDED = 50_000
_REPETITION = re.compile(r"(.?)\s*\{\s*(\d+)", re.DOTALL)
_VERBOSE = re.compile(r"\(\?\w*x")


def open_regex(grader: RegexGrader, _: GradingContext) -> Grade:
    """Return the grader, ready to grade batches."""
    pattern, text = compile_pattern(grader), parse_template(grader.input)
    reference = None if grader.reference is None else parse_template(grader.reference)
    search = pattern.search if grader.match == "search" else pattern.fullmatch

    def score(subject: Subject) -> float:
        expected = reference and reference.fill_within(MAX_CHARACTERS, subject, "regex")
        given = text.fill_within(MAX_CHARACTERS, subject, "regex")
        try:
            found = search(given, timeout=SECONDS)
        except (TimeoutError, MemoryError) as error:
            raise GradingFault("other_error", SLOW) from error
        if found is None or expected is None:
            return float(found is not None)
        return float(found[grader.group] == expected)

    return one_by_one(score)


SLOW = f"the pattern took more than {SECONDS:g} s on this answer; avoid repetitions within repetitions"


def check_regex(grader: RegexGrader) -> None:
    """Raise ``GraderInvalid`` for a pattern that does not compile or lacks the group."""
    pattern = compile_pattern(grader)
    if grader.reference is None:
        return
    known = [*range(pattern.groups + 1), *pattern.groupindex]
    if grader.group not in known:
        message = f"the pattern has no group {grader.group!r}; it has {', '.join(map(str, known))} (0 is all)"
        raise GraderInvalid("group", message)


def compile_pattern(grader: RegexGrader) -> Pattern[str]:
    """Return the compiled pattern. Raises ``GraderInvalid``."""
    import regex

    if bound_parts(grader.pattern) > MAX_UNFOLDED:
        raise GraderInvalid("pattern", f"its repetitions {{n}} unfold to more than {MAX_UNFOLDED} parts")
    flags = sum({regex.RegexFlag[flag.upper()] for flag in grader.flags})
    try:
        return regex.compile(grader.pattern, flags, cache_pattern=False)
    except (regex.error, ValueError) as error:
        raise GraderInvalid("pattern", str(error)) from error
    except RecursionError as error:
        raise GraderInvalid("pattern", "it is nested too deeply") from error


def bound_parts(pattern: str) -> int:
    """Return a bound on the number of parts that the pattern is compiled to.

    A repetition behind a single character repeats that alone; behind a set, at most the length of the
    pattern; behind a bracket, all before it.
    """
    ends = pattern if _VERBOSE.search(pattern) else ")}"  # a comment may stand between the two
    counts = [(before, int(count)) for before, count in _REPETITION.findall(pattern)]
    whole = math.prod(max(1, count) for before, count in counts if before in ends)
    alone = sum(
        count * (len(pattern) if before == "]" else 1) for before, count in counts if before not in ends
    )
    return whole * (len(pattern) + alone)


KIND = GraderKind(
    definition=RegexGrader,
    label="Regular expression",
    explanation="1 or 0: a pattern matches, or what it captures equals the reference.",
    example={
        "type": "regex",
        "name": "final_answer",
        "input": ANSWER,
        "pattern": "Answer:\\s*(.+?)\\s*$",
        "flags": ["multiline"],
        "reference": REFERENCE,
        "group": 1,
    },
    fields=(
        form_fields.INPUT,
        FormField("pattern", "Pattern", "textarea"),
        FormField("match", "Match", "select", ("search", "fullmatch")),
        form_fields.REFERENCE,
    ),
    open=open_regex,
    check=check_regex,
)
