"""A team's own regular expressions: checked when they are saved, and bounded in time when they run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import regex

from webapp.interactions.redaction.recognizers import KINDS, Span

LONGEST = 500
MOST = 50
CHECK_SECONDS = 0.05
RUN_SECONDS = 0.1  # for one pattern on one text
PROBE_CHARACTERS = 2000
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_WORDS = re.compile(r"[\w @!#%&'\",:;<>=~/-]+")
TIMEOUT_KIND = "timeout"


class PatternInvalid(ValueError):
    """A regular expression that cannot be used. The message says why."""


@lru_cache(maxsize=1000)
def compile_pattern(pattern: str) -> Any:
    """Compile a pattern. Raises PatternInvalid."""
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise PatternInvalid(f"This is not a regular expression: {error}.") from error


def check_pattern(name: str, pattern: str) -> None:
    """Raise PatternInvalid unless the pattern compiles, matches no empty text, and is fast on hard texts."""
    if not NAME.fullmatch(name) or name in KINDS or name == TIMEOUT_KIND:
        raise PatternInvalid(
            f"{name!r} cannot name a pattern. Use lower-case letters, digits and underscores."
        )
    if len(pattern) > LONGEST:
        raise PatternInvalid(f"{name}: the pattern has {len(pattern)} of at most {LONGEST} characters.")
    compiled = compile_pattern(pattern)
    try:
        if compiled.search("", timeout=CHECK_SECONDS):
            raise PatternInvalid(f"{name}: the pattern matches the empty text, so it would match everywhere.")
        for probe in _build_probes(pattern):
            for _ in compiled.finditer(probe, timeout=CHECK_SECONDS):
                pass
    except TimeoutError as error:
        raise PatternInvalid(
            f"{name}: the pattern is too slow on some texts. Avoid repetitions inside repetitions."
        ) from error


def _build_probes(pattern: str) -> Iterator[str]:
    """Yield texts on which backtracking explodes: one unit many times, then a character that fails.

    The pattern's own words stand behind it: without them the library sees at once that nothing matches.
    """
    end = "\x01".join(["", *_WORDS.findall(pattern), ""])
    own = dict.fromkeys(each for each in pattern if each.isalnum() or each in " @.-_:/")
    for unit in (*own, "a", "0", "A", " ", "a ", "a0", "ab", "a.", "a-", "é"):
        yield unit * (PROBE_CHARACTERS // len(unit)) + end


def find_own_spans(text: str, patterns: dict[str, str]) -> Iterator[Span]:
    """Yield what the team's patterns find. A pattern that takes too long hides the whole text."""
    for name, pattern in patterns.items():
        try:
            for match in compile_pattern(pattern).finditer(text, timeout=RUN_SECONDS):
                if match.end() > match.start():
                    yield Span(match.start(), match.end(), name)
        except TimeoutError:
            yield Span(0, len(text), TIMEOUT_KIND)
