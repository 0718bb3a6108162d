"""Text from environments: made harmless for databases, cut to a length, and the cut marked."""

from __future__ import annotations

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
