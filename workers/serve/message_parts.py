"""Splits a growing completion into thoughts, content and tool calls, without showing any of their markers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from workers.engine.prompts.reasoning import GPT_OSS_TURN, Markers
from workers.engine.prompts.tool_calls import CallFormat, WrittenCall, parse_calls
from workers.serve.detokenizer import measure_held_back


@dataclass(frozen=True)
class Part:
    """A piece of the message. ``call`` is set for a whole tool call, which has no text."""

    kind: Literal["reasoning", "content", "call"]
    text: str
    call: WrittenCall | None = None


class ThoughtSplitter:
    """Separates thoughts as ``reasoning.split_thoughts`` does, piece by piece.

    One case differs: text before a closing marker without an opening one was sent as content already.
    """

    def __init__(self, markers: Markers, opened: bool) -> None:
        self._markers, self._inside = markers, opened
        self._seen_marker = opened
        self._buffer = ""
        self._blank = ""  # white space that is shown only if more text follows
        self._fresh = True  # at the beginning of thoughts
        self._breaks = 0  # thoughts that began since the last ones were shown
        self._has_content = self._has_reasoning = False

    def feed(self, text: str) -> Iterator[Part]:
        """Yield the parts that are certain after another piece of text."""
        self._buffer += text
        while found := self._find_marker():
            index, word = found
            yield from self._show(self._buffer[:index])
            self._buffer = self._buffer[index + len(word) :]
            self._pass_marker(word)
        held = measure_held_back(self._buffer, self._words())
        ready, self._buffer = (
            self._buffer[: len(self._buffer) - held],
            self._buffer[len(self._buffer) - held :],
        )
        yield from self._show(ready)

    def finish(self) -> Iterator[Part]:
        """Yield what was held back, after the last piece."""
        yield from self._show(self._buffer)
        if not self._seen_marker and self._blank:
            yield Part("content", self._blank)

    def _words(self) -> list[str]:
        """Return the markers that count at this point."""
        close = self._markers.close
        if self._inside:
            return [close, f"{GPT_OSS_TURN}{close}", f"<|end|>{close}"]
        return [self._markers.open] if self._seen_marker else [self._markers.open, close]

    def _find_marker(self) -> tuple[int, str] | None:
        found = [(index, word) for word in self._words() if (index := self._buffer.find(word)) >= 0]
        return min(found, key=lambda pair: (pair[0], -len(pair[1])), default=None)

    def _pass_marker(self, word: str) -> None:
        self._inside = not self._inside and word == self._markers.open
        self._seen_marker, self._blank = True, ""
        if self._inside:
            self._fresh = True
            self._breaks += 1

    def _show(self, text: str) -> Iterator[Part]:
        if text:
            yield from self._show_reasoning(text) if self._inside else self._show_content(text)

    def _show_reasoning(self, text: str) -> Iterator[Part]:
        text = self._blank + text
        body = text.rstrip()
        self._blank = text[len(body) :]
        if not body:
            return
        if self._fresh:
            body = "\n\n" * self._breaks * self._has_reasoning + body.lstrip()
            self._fresh, self._breaks, self._has_reasoning = False, 0, True
        yield Part("reasoning", body)

    def _show_content(self, text: str) -> Iterator[Part]:
        if not self._has_content:
            text, self._blank = self._blank + text, ""
            if text.isspace():
                self._blank = text
                return
            text = text.lstrip() if self._seen_marker else text
            self._has_content = True
        yield Part("content", text)


class CallSplitter:
    """Separates tool calls from content, piece by piece. What is no call of a known tool remains content."""

    def __init__(self, form: CallFormat, names: Sequence[str]) -> None:
        self._form, self._names = form, names
        self._buffer = ""
        self._blank = ""  # white space that is shown only if more content follows
        self._after_call = False

    def feed(self, text: str) -> Iterator[Part]:
        """Yield the parts that are certain after another piece of content."""
        self._buffer += text
        begin, end = self._form.begin, self._form.end
        while end and (start := self._buffer.find(begin)) >= 0:
            stop = self._buffer.find(end, start)
            if stop < 0:
                break
            yield from self._show(self._buffer[:start])
            yield from self._read(self._buffer[start : stop + len(end)])
            self._buffer = self._buffer[stop + len(end) :]
        start = self._find_begin()
        ready, self._buffer = self._buffer[:start], self._buffer[start:]
        yield from self._show(ready)

    def finish(self) -> Iterator[Part]:
        """Yield what was held back, after the last piece."""
        yield from self._read(self._buffer)
        if self._blank and not self._after_call:
            yield Part("content", self._blank)

    def _find_begin(self) -> int:
        """Return where a call begins or may begin."""
        if not self._form.begin:
            rest = self._buffer.lstrip()
            return 0 if not rest or rest.startswith("{") else len(self._buffer)
        found = self._buffer.find(self._form.begin)
        return (
            found if found >= 0 else len(self._buffer) - measure_held_back(self._buffer, [self._form.begin])
        )

    def _read(self, block: str) -> Iterator[Part]:
        """Yield the calls of a block with its markers; the block itself if it holds none."""
        body = block.strip()
        if body.startswith(self._form.begin) and body.endswith(self._form.end):
            body = body[len(self._form.begin) : len(body) - len(self._form.end)]
            if calls := parse_calls(body, self._form, self._names):
                self._after_call, self._blank = True, ""
                yield from (Part("call", "", call) for call in calls)
                return
        yield from self._show(block)

    def _show(self, text: str) -> Iterator[Part]:
        text = self._blank + text
        body = text.rstrip()
        self._blank = text[len(body) :]
        if body:
            body = body.lstrip() if self._after_call else body
            self._after_call = False
            yield Part("content", body)


class MessageSplitter:
    """Thoughts, content and tool calls of one completion, in the order of its text."""

    def __init__(self, thoughts: ThoughtSplitter | None, calls: CallSplitter | None) -> None:
        self._thoughts, self._calls = thoughts, calls

    def feed(self, text: str) -> list[Part]:
        """Return the parts that are certain after another piece of text."""
        found: Iterable[Part] = self._thoughts.feed(text) if self._thoughts else [Part("content", text)]
        return [part for each in found for part in self._find_calls(each) if part.text or part.call]

    def finish(self) -> list[Part]:
        """Return what was held back, after the last piece."""
        found = self._thoughts.finish() if self._thoughts else []
        rest = [part for each in found for part in self._find_calls(each)]
        return rest + (list(self._calls.finish()) if self._calls else [])

    def _find_calls(self, part: Part) -> Iterable[Part]:
        return self._calls.feed(part.text) if self._calls and part.kind == "content" else [part]
