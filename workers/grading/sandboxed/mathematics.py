"""Runs inside the sandbox: compares the final answer of a text with the reference as mathematics."""

import logging
from functools import lru_cache
from typing import Any

# The sandbox imports them before it is locked, if they are named here.
import latex2sympy2_extended  # noqa: F401
import sympy  # noqa: F401

from workers.grading.sandboxed.equality import equal
from workers.grading.sandboxed.final_answer import candidates, is_formula, plain
from workers.grading.sandboxed.quantities import Unreadable
from workers.grading.sandboxed.values import read, respell
from workers.grading.sandboxed.verdicts import Verdict, build_verdict
from workers.grading.thoughts import split_thoughts

DETAIL_CHARACTERS = 300
MOST_CANDIDATES = 40
# latex2sympy logs everything that it cannot read.
logging.disable()


UNREADABLE = "the answer holds nothing that can be read as mathematics"


def grade(sample: dict[str, Any], item: dict[str, str]) -> Verdict:
    reference = find_answer(item["reference"])
    if reference is None:
        message = "the reference holds nothing that can be read as mathematics"
        return build_verdict(None, message, "other_error")
    thoughts, text = split_thoughts(sample["output_text"])
    answer = find_answer(text)
    if answer is None:
        unclosed = thoughts and not text
        why = "the thoughts are not closed, so there is no answer" if unclosed else UNREADABLE
        return build_verdict(0.0, why, "sample_parse_error")
    detail = f"the answer was read as {answer[0]}"[:DETAIL_CHARACTERS]
    return build_verdict(float(equal(reference[1], answer[1])), detail)


@lru_cache(maxsize=1024)
def find_answer(text: str) -> tuple[str, Any] | None:
    """Return the final answer of a text, as written and as a value; ``None`` if there is none."""
    text = respell(text.strip())
    for whole in dict.fromkeys((text, plain(text))):
        if is_formula(whole):
            try:
                return whole, read(whole)
            except Unreadable:
                continue
    for _, candidate in zip(range(MOST_CANDIDATES), candidates(text), strict=False):
        for form in dict.fromkeys((candidate.strip(), plain(candidate))):
            try:
                return form, read(form)
            except Unreadable:
                continue
    return None
