"""Byte-level BPE vocabularies that llama.cpp's SentencePiece tokenizer encodes equally.

llama.cpp knows few ways to split text before byte-pair encoding, and none with tokens of two digits. Its
SentencePiece tokenizer does not split: of all neighbours whose text is a token it joins those with the best
score, the leftmost first. It therefore gives the ids of a tokenizer that splits only digits by twos, if every
pair that makes a token may be joined and all tokens of two digits have one score. Standard library only: the
web application uses it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby, pairwise
from typing import Any, Final

DIGIT_PAIRS: Final = r"\d{1,2}"
SPACE: Final = "\u2581"  # SentencePiece's character for a space
SINGLE: Final = -1e6  # score of a single byte, which no join produces
NUMBERS: Final = {f"{number:02d}" for number in range(100)}


def byte_letters() -> dict[str, int]:
    """Return letter of a byte-level vocabulary -> byte; printable bytes are themselves (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + index): byte for index, byte in enumerate(hidden)
    }


def compute_scores(tokenizer: Mapping[str, Any]) -> dict[str, float] | None:
    """Return token -> score with which llama.cpp gives this ``tokenizer.json``'s ids; None if impossible."""
    model = tokenizer["model"]
    if (
        model.get("type") != "BPE"
        or model.get("byte_fallback")
        or model.get("ignore_merges")
        or tokenizer.get("normalizer")
    ):
        return None
    if not _splits_digits_only(tokenizer.get("pre_tokenizer") or {}):
        return None
    special = {token["content"] for token in tokenizer["added_tokens"]}
    words = set(model["vocab"]) - special
    merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]]
    if not byte_letters().keys() <= words or not _may_join_all(words, merges):
        return None
    order = {first + second: index for index, (first, second) in reversed([*enumerate(merges)])}
    if not words >= NUMBERS or any(len(word) > 1 and not _is_plain(word, order) for word in words):
        return None
    return {word: _score_word(word, order) for word in words}


def to_piece(word: str) -> str | None:
    """Return a token in SentencePiece's form; None for a byte beyond ASCII, which has its own token type."""
    letters = byte_letters()
    content = bytes(letters[letter] for letter in word)
    return content.decode().replace(" ", SPACE) if content.isascii() else None


def _splits_digits_only(pre_tokenizer: Mapping[str, Any]) -> bool:
    steps = pre_tokenizer.get("pretokenizers", [])
    if [step["type"] for step in steps] != ["Split", "ByteLevel"]:
        return False
    split, level = steps
    plain = not (level.get("use_regex") or level.get("add_prefix_space") or split["invert"])
    return plain and split["behavior"] == "Isolated" and split["pattern"].get("Regex") == DIGIT_PAIRS


def _may_join_all(words: set[str], merges: list[tuple[str, ...]]) -> bool:
    """Return True if all pairs that make a token are merges, and the merges of a token are consecutive.

    Their first parts must become shorter: if two merges of a token overlap, the left one then comes first.
    """
    pairs = {
        (word[:cut], word[cut:])
        for word in words
        for cut in range(1, len(word))
        if word[:cut] in words and word[cut:] in words
    }
    grouped = [(word, list(group)) for word, group in groupby(merges, "".join)]
    shorter = all(len(first[0]) > len(second[0]) for _, group in grouped for first, second in pairwise(group))
    return shorter and pairs == set(merges) and len(grouped) == len({word for word, _ in grouped})


def _is_plain(word: str, order: dict[str, int]) -> bool:
    """Return True if a token of several bytes is ASCII, has a merge, and is two digits or has none.

    More than half of it must not be both its beginning and its end (``aaa``): otherwise the right one of two
    overlapping pairs could be merged first.
    """
    repeats = any(word.startswith(word[cut:]) for cut in range(1, (len(word) + 1) // 2))
    digits = any(letter.isdigit() for letter in word)
    sound = word in NUMBERS if digits else not repeats
    return word in order and sound and to_piece(word) is not None


def _score_word(word: str, order: dict[str, int]) -> float:
    if word in NUMBERS:
        return 0.0
    return -1.0 - order[word] if word in order else SINGLE
