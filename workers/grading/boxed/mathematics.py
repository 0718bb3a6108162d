"""Runs inside the sandbox: whether two texts say the same in mathematics, by math-verify."""

import logging
import re
from functools import lru_cache
from typing import Any

from math_verify import parse, verify

SHOWN_CHARACTERS = 300
# A text that is a formula as a whole: one line without words, and without marks that set a formula apart.
FORMULA = re.compile(r"(?!.*(?<![\\\w])[^\W\d_]{3,})(?!.*(?:\$|\\\(|\\\[|\\boxed|#)).{1,200}")

# It warns that its own time limits, which need signals, are off: the sandbox has one.
logging.disable()


def grade(sample: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    reference = read(item["reference"])
    if not reference:
        return verdict(None, "other_error", "the reference holds nothing that math-verify can read")
    answer = read(sample["output_text"])
    if not answer:
        return verdict(0.0, "sample_parse_error", "the answer holds nothing that math-verify can read")
    return verdict(float(verify(list(reference), list(answer), timeout_seconds=None)), None, shown(answer))


def verdict(reward: float | None, error_class: str | None, detail: str) -> dict[str, Any]:
    return {"reward": reward, "sub_rewards": {}, "error_class": error_class, "detail": detail}


@lru_cache(maxsize=1024)
def read(text: str) -> tuple[Any, ...]:
    """What math-verify finds in ``text``; a bare formula is first tried as LaTeX. Empty if nothing.

    Of a bare ``x + 1`` it would read the 1 alone.
    """
    bare = FORMULA.fullmatch(text.strip())
    for attempt in [f"${text.strip()}$", text] if bare else [text]:
        found = parse(attempt, parsing_timeout=None)
        if any(not isinstance(each, str) for each in found):
            return tuple(found)
    return ()


def shown(found: tuple[Any, ...]) -> str:
    read_as = next((each for each in found if isinstance(each, str)), "")
    return f"the answer was read as {read_as}"[:SHOWN_CHARACTERS]
