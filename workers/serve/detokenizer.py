"""Text of a completion while it grows: whole characters only, and never a part of a stop text."""

from __future__ import annotations

from collections.abc import Sequence

from workers.engine.prompts.rendering import Renderer

UNFINISHED = "\ufffd"  # stands for bytes of a character that later tokens complete
WINDOW = 6  # tokens that are decoded again: the text of a token depends on those before it
LONGEST_CHARACTER = 4  # tokens without a whole character, after which the bytes are no UTF-8


class Detokenizer:
    """Decodes one completion and finds its stop texts.

    A ``live`` one decodes token by token. Otherwise only ``finish`` does, unless there are stop texts.
    ``starts`` has where the text of each token begins, ``taken`` how many characters ``take`` has returned.
    """

    def __init__(self, renderer: Renderer, stop: Sequence[str] = (), live: bool = True) -> None:
        self._renderer, self._stop, self._live = renderer, tuple(stop), live or bool(stop)
        self._ids: list[int] = []
        self._decoded = 0  # tokens whose text is in ``_text``
        self.taken = 0
        self._text = ""
        self._cut: int | None = None
        self.starts: list[int] = []

    def add(self, token: int) -> bool:
        """Add a token that does not end the completion; return True if a stop text is complete."""
        self._ids.append(token)
        if self._live:
            before = len(self._text)
            self.starts.append(before)
            self._text += self._decode_pending()
            self._cut = self._find_stop(self._text, before - max(map(len, self._stop), default=0))
        return self._cut is not None

    def _decode_pending(self) -> str:
        """Return the text of the tokens that are not in ``_text``; empty within a character."""
        first = max(0, self._decoded - WINDOW)
        before, after = self._decode(self._ids[first : self._decoded]), self._decode(self._ids[first:])
        if after.endswith(UNFINISHED) and len(self._ids) - self._decoded < LONGEST_CHARACTER:
            return ""
        self._decoded = len(self._ids)
        return after[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        text = self._renderer.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)

    def _find_stop(self, text: str, begin: int) -> int | None:
        found = (text.find(stop, max(0, begin)) for stop in self._stop)
        return min((index for index in found if index >= 0), default=None)

    def take(self) -> str:
        """Return the text that is certain and was not taken before: it cannot become a stop text."""
        end = self._cut
        if end is None:
            end = len(self._text) - measure_held_back(self._text, self._stop)
        piece = self._text[self.taken : end]
        self.taken = max(self.taken, end)
        return piece

    def take_rest(self) -> str:
        """Return what ``take`` has not returned, after the last token."""
        whole = self.finish()
        rest = whole[self.taken :]
        self.taken = len(whole)
        return rest

    def finish(self) -> str:
        """Return the whole text, after the last token."""
        whole = self._renderer.decode(self._ids)
        return whole[: self._find_stop(whole, 0)]


def measure_held_back(text: str, words: Sequence[str]) -> int:
    """Return the length of the longest end of ``text`` that may be the beginning of a word."""
    for size in range(min(max(map(len, words), default=1) - 1, len(text)), 0, -1):
        if any(word.startswith(text[-size:]) for word in words):
            return size
    return 0
