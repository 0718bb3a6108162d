"""Runs inside the sandbox: whether the final answer of a text is mathematically the reference."""

import logging
from functools import lru_cache
from typing import Any

# The sandbox imports them before it is locked, if they are named here.
import latex2sympy2_extended  # noqa: F401
import sympy  # noqa: F401

from workers.grading.sandboxed.equality import equal
from workers.grading.sandboxed.final_answer import candidates, is_formula, plain
from workers.grading.sandboxed.quantities import Unreadable
from workers.grading.sandboxed.values import read, respelled
from workers.grading.thoughts import split_thoughts

SHOWN_CHARACTERS = 300
MOST_CANDIDATES = 40
# latex2sympy reports what it cannot read.
logging.disable()


def grade(sample: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    reference = found(item["reference"])
    if reference is None:
        return verdict(None, "other_error", "the reference holds nothing that can be read as mathematics")
    thoughts, said = split_thoughts(sample["output_text"])
    answer = found(said)
    if answer is None:
        why = "the thoughts are not closed, so there is no answer" if thoughts and not said else UNREADABLE
        return verdict(0.0, "sample_parse_error", why)
    return verdict(float(equal(reference[1], answer[1])), None, shown(answer[0]))


UNREADABLE = "the answer holds nothing that can be read as mathematics"


def verdict(reward: float | None, error_class: str | None, detail: str) -> dict[str, Any]:
    return {"reward": reward, "sub_rewards": {}, "error_class": error_class, "detail": detail}


@lru_cache(maxsize=1024)
def found(text: str) -> tuple[str, Any] | None:
    """The final answer of a text, as it was written and as a value; ``None`` if there is none."""
    text = respelled(text.strip())
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


def shown(answer: str) -> str:
    return f"the answer was read as {answer}"[:SHOWN_CHARACTERS]
