"""Text from environments: made harmless for databases, cut to a length, and the cut marked."""

from __future__ import annotations

import json

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean_text(text: str, most: int) -> str:
    """Return at most ``most`` characters, without NUL and halves of surrogate pairs; a cut is marked.

    Special tokens of a tokenizer stay: whoever encodes the text must not parse them.
    """
    kept = text if len(text) <= most else mark_cut(text, most)
    whole = kept if kept.isascii() else kept.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", REPLACEMENT)


def mark_cut(text: str, most: int) -> str:
    """Return the beginning of ``text`` with a mark that says how much is missing."""
    return f"{text[:most]}\n[cut: {len(text) - most} more characters]"


def is_storable(value: object) -> bool:
    """Return True if databases take a value of JSON, whose texts then hold no NUL and no lone surrogate."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\\u0000" not in text
