"""A stream shows the same message as the whole answer, however the text is cut into tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tests.workers.serve.conftest import MODEL, TEMPLATE
from workers.engine.prompts.reasoning import GPT_OSS_TURN, KNOWN, Markers, split_thoughts
from workers.engine.prompts.rendering import Renderer
from workers.engine.prompts.tool_calls import CallFormat, find_format
from workers.serve.detokenizer import Detokenizer
from workers.serve.message_parts import CallSplitter, MessageSplitter, Part, ThoughtSplitter

HERMES = CallFormat("<tool_call>", "</tool_call>", "arguments")
LLAMA = CallFormat("", "", "parameters")
MISTRAL = CallFormat("[TOOL_CALLS]", "", "arguments", listed=True)
CALL = '{"name": "find", "arguments": {"city": "Öland"}}'
PIECES = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def cut(text: str, sizes: list[int]) -> list[str]:
    pieces, at = [], 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    return pieces


def join(parts: list[Part], kind: str) -> str:
    return "".join(part.text for part in parts if part.kind == kind)


def run(splitter: MessageSplitter, pieces: list[str]) -> list[Part]:
    return [part for piece in pieces for part in splitter.feed(piece)] + splitter.finish()


# --- thoughts --------------------------------------------------------------------------------------

WORDS = st.sampled_from(["a", " b", "\n", "  ", "<", "<th", "</", "c\n\n", "<tool_call>"])


@st.composite
def thinking_texts(draw: st.DrawFn, markers: Markers) -> tuple[str, bool]:
    """A text whose markers alternate, and whether it begins inside thoughts."""
    opened = draw(st.booleans())
    inside, text = opened, ""
    for _ in range(draw(st.integers(0, 4))):
        text += "".join(draw(st.lists(WORDS, max_size=4)))
        turn = GPT_OSS_TURN if inside and draw(st.booleans()) else ""
        text += turn + (markers.close if inside else markers.open)
        inside = not inside
    return text + "".join(draw(st.lists(WORDS, max_size=4))), opened


@pytest.mark.parametrize("markers", [KNOWN[0], KNOWN[2], KNOWN[3]], ids=lambda markers: markers.open)
def test_streamed_thoughts_and_content_are_those_of_the_graders(markers: Markers) -> None:
    @given(thinking_texts(markers), PIECES)
    def check(given_text: tuple[str, bool], sizes: list[int]) -> None:
        text, opened = given_text
        parts = run(MessageSplitter(ThoughtSplitter(markers, opened), None), cut(text, sizes))
        final, thoughts = split_thoughts(text, markers, opened)
        assert join(parts, "reasoning") == thoughts
        # White space before the first thoughts is shown only if more content was there.
        assert join(parts, "content").lstrip() == final.lstrip()

    check()


# --- tool calls ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "text", "content", "calls"),
    [
        (HERMES, f"Let me see.\n<tool_call>\n{CALL}\n</tool_call>", "Let me see.", 1),
        (HERMES, f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>\n", "", 2),
        (HERMES, "<tool_call>no JSON</tool_call>", "<tool_call>no JSON</tool_call>", 0),
        (HERMES, f"<tool_call>\n{CALL}", f"<tool_call>\n{CALL}", 0),
        (HERMES, '<tool_call>{"name": "other", "arguments": {}}</tool_call> ', None, 0),
        (HERMES, "a < b <tool", "a < b <tool", 0),
        (LLAMA, '{"name": "find", "parameters": {"city": "x"}}', "", 1),
        (LLAMA, '{"some": "JSON"}', '{"some": "JSON"}', 0),
        (LLAMA, "Just text {", "Just text {", 0),
        (MISTRAL, f"[TOOL_CALLS] [{CALL}, {CALL}]", "", 2),
    ],
)
def test_calls_of_known_tools_are_separated_and_all_else_is_content(
    form: CallFormat, text: str, content: str | None, calls: int
) -> None:
    @given(PIECES)
    def check(sizes: list[int]) -> None:
        parts = run(MessageSplitter(None, CallSplitter(form, ["find"])), cut(text, sizes))
        assert join(parts, "content") == (text if content is None else content)
        found = [part.call for part in parts if part.call]
        assert len(found) == calls
        assert all(call.name == "find" and "city" in json.loads(call.arguments) for call in found)

    check()


def test_the_format_of_calls_is_found_by_rendering_one() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL)
    assert find_format(Renderer(tokenizer)) is None
    tokenizer.chat_template = TEMPLATE
    assert find_format(Renderer(tokenizer)) == HERMES


# --- characters and stop texts ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(AutoTokenizer.from_pretrained(MODEL), [2])


TEXTS = st.text(st.sampled_from("ab c\nö€😀é"), max_size=12)


def test_pieces_are_whole_characters_and_make_the_whole_text(renderer: Renderer) -> None:
    @given(TEXTS, st.lists(st.text(st.sampled_from("abö😀"), min_size=1, max_size=3), max_size=2))
    def check(text: str, stop: list[str]) -> None:
        detokenizer = Detokenizer(renderer, stop)
        pieces, ids = [], []
        for token in renderer.encode_text(text):
            ids.append(token)
            ended = detokenizer.add(token)
            pieces.append(detokenizer.take())
            if ended:
                break
        pieces.append(detokenizer.take_rest())
        written = renderer.decode(ids)
        found = [index for word in stop if (index := written.find(word)) >= 0]
        assert "".join(pieces) == written[: min(found, default=None)]
        assert found or written == text
        assert "\ufffd" not in "".join(pieces)

    check()


def test_bytes_that_are_no_text_do_not_hold_back_what_follows(renderer: Renderer) -> None:
    broken = renderer.encode_text("😀")[:1]
    detokenizer, shown = Detokenizer(renderer), ""
    for token in broken * 6 + renderer.encode_text("after"):
        detokenizer.add(token)
        shown += detokenizer.take()
    assert shown.endswith("after")
    assert shown + detokenizer.take_rest() == detokenizer.finish()
