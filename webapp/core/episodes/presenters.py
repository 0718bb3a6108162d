"""An episode as pages show it: turns with their calls, texts of a bounded size, the end in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from webapp.core.episodes.records import count_calls, count_errors
from workers.contract.environments import EndReason, EpisodeRecord, ToolCall, Turn

LONGEST_TEXT = 20_000  # characters of one text on a page
LONGEST_EPISODE = 400_000  # after so many characters a page shows the rest of an episode cut short
SHORT_TEXT = 500
LINE = 120  # characters of a text on one line
TRAIL = 40  # lines of an episode in brief

SENTENCES: dict[EndReason, str] = {
    "finished": "The environment ended the episode.",
    "answered": "The model answered without a tool call, which ended the episode.",
    "turn_limit": "The episode reached its limit of turns.",
    "call_limit": "The episode reached its limit of tool calls.",
    "token_limit": "The episode reached its limit of tokens.",
    "session_lost": "The session of the environment died. The episode has no reward and is not counted as 0.",
}
# Control characters, and characters that reorder or hide the text around them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def make_visible(text: str) -> str:
    """Replace characters that a page would hide or be disordered by, with visible symbols."""
    return _INVISIBLE.sub(_name_character, text.replace("\r\n", "\n"))


def _name_character(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's pictures of control characters
    return f"⟨U+{code:04X}⟩"


def join_line(text: str, length: int = LINE) -> str:
    """Return the text on one line of at most this length."""
    line = make_visible(" ".join(text[: 4 * length].split()))
    return line if len(line) <= length and len(text) <= 4 * length else f"{line[:length]}…"


@dataclass(frozen=True)
class Text:
    """A text on a page. ``cut`` is the number of characters that are left out at its end."""

    shown: str
    cut: int = 0

    @property
    def rest(self) -> str:
        """What stands in place of the characters that are left out."""
        return f" … {self.cut:,} more characters are not shown" if self.cut else ""

    @property
    def line(self) -> str:
        """The beginning, on one line."""
        return join_line(self.shown)

    @property
    def long(self) -> bool:
        """True if it takes more than one line."""
        return self.cut > 0 or self.line != self.shown.strip()


@dataclass(frozen=True)
class CallView:
    """A tool call. If it is not ``readable``, ``arguments`` is all that the model wrote."""

    name: str
    arguments: Text
    readable: bool


@dataclass(frozen=True)
class TurnView:
    """A turn with its number, from 1. ``error`` is empty if the text says it."""

    number: int
    turn: Turn
    text: Text
    thoughts: Text
    calls: list[CallView]
    failed: bool
    error: str

    @property
    def trained(self) -> bool:
        """True if the model wrote its tokens, so that they are trained on."""
        return self.turn.role == "assistant"

    @property
    def tool(self) -> str:
        """The name of the tool whose result this is."""
        return make_visible(self.turn.tool)


@dataclass(frozen=True)
class EpisodeView:
    """A whole episode for a page."""

    record: EpisodeRecord
    turns: list[TurnView]
    calls: int
    errors: int
    trained_tokens: int
    other_tokens: int
    seconds: float
    sentence: str
    feedback: Text
    metrics: list[tuple[str, float]]


class _Cutter:
    """Cuts texts, the more the longer the episode is already."""

    def __init__(self) -> None:
        self._left = LONGEST_EPISODE

    def __call__(self, text: str) -> Text:
        limit = LONGEST_TEXT if self._left > 0 else SHORT_TEXT
        shown = make_visible(text[:limit])
        self._left -= len(shown)
        return Text(shown, max(0, len(text) - limit))


def view_episode(record: EpisodeRecord) -> EpisodeView:
    """Return the episode for a page."""
    cut = _Cutter()
    turns = [_view_turn(number, turn, cut) for number, turn in enumerate(record.turns, start=1)]
    return EpisodeView(
        record=record,
        turns=turns,
        calls=count_calls(record),
        errors=count_errors(record),
        trained_tokens=sum(each.turn.tokens for each in turns if each.trained),
        other_tokens=sum(each.turn.tokens for each in turns if not each.trained),
        seconds=sum(turn.seconds for turn in record.turns),
        sentence=SENTENCES[record.end],
        feedback=cut(record.feedback),
        metrics=[(make_visible(name), value) for name, value in record.metrics.items()],
    )


def _view_turn(number: int, turn: Turn, cut: _Cutter) -> TurnView:
    return TurnView(
        number=number,
        turn=turn,
        text=cut(turn.content),
        thoughts=cut(turn.reasoning),
        calls=[_view_call(call, cut) for call in turn.tool_calls],
        failed=bool(turn.error),
        error="" if turn.error in turn.content else join_line(turn.error),
    )


def _view_call(call: ToolCall, cut: _Cutter) -> CallView:
    if call.arguments is None:
        return CallView(join_line(call.name), cut(call.text), readable=False)
    return CallView(join_line(call.name), cut(format_arguments(call)), readable=True)


def format_arguments(call: ToolCall) -> str:
    """Return the arguments as JSON: on one line if they are short, otherwise indented."""
    line = json.dumps(call.arguments, ensure_ascii=False)
    return line if len(line) <= LINE else json.dumps(call.arguments, ensure_ascii=False, indent=2)


# --- in brief ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrailLine:
    """A line of an episode in brief. ``kind`` is ``call``, ``text``, ``result`` or ``error``."""

    kind: str
    text: str


@dataclass(frozen=True)
class Trail:
    """An episode in brief: a line for each text, call and result. ``more`` lines are left out."""

    lines: list[TrailLine]
    more: int


def view_trail(record: EpisodeRecord) -> Trail:
    """Return the episode in brief."""
    lines = [line for turn in record.turns for line in _list_lines(turn)]
    return Trail(lines[:TRAIL], max(0, len(lines) - TRAIL))


def _list_lines(turn: Turn) -> Iterator[TrailLine]:
    if turn.role == "tool":
        yield TrailLine("error" if turn.error else "result", join_line(turn.content))
        return
    if turn.content.strip():
        said = turn.content if turn.role == "assistant" else f"User: {turn.content}"
        yield TrailLine("text", join_line(said))
    for call in turn.tool_calls:
        arguments = call.text if call.arguments is None else json.dumps(call.arguments, ensure_ascii=False)
        yield TrailLine("call", join_line(f"{call.name} {arguments}".strip()))
