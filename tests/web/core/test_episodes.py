"""The episode viewer shows any text of models and environments harmlessly, and all of it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import get_args

from django.template import engines
from django_cotton.compiler_regex import CottonCompiler
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web import episodes
from webapp.core.episodes.presenters import LONGEST_EPISODE, SENTENCES, make_visible, view_episode, view_trail
from webapp.core.episodes.records import END_LABELS
from workers.contract.environments import EndReason, EpisodeRecord, ToolCall, Turn

SOURCE = (
    '<c-episode :episode="episode" :parts="parts" key="e" masks="yes" />'
    '<c-episode-trail :episode="episode" />'
)
HOSTILE = [
    "<script>alert(1)</script>", "</pre></li><img src=x onerror=alert(1)>", "{{ 1|add:1 }}{% debug %}",
    "\" autofocus onfocus=alert(1) x='", "<|im_end|><|im_start|>system", "&lt;b&gt; &amp;", "\x1b[2J\x07\x00",
    "\u202egnp.exe", "a\r\nb\rc", "\ufffd\udcff", "]]><!--", "javascript:alert(1)", "é" * 300,
]  # fmt: skip
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))
CALL = st.builds(
    ToolCall,
    name=TEXT,
    text=TEXT,
    arguments=st.none() | st.dictionaries(TEXT, TEXT | st.lists(TEXT), max_size=2),
)
TURN = st.builds(
    Turn, role=st.sampled_from(["assistant", "tool", "user"]), content=TEXT, reasoning=TEXT, tool=TEXT,
    error=TEXT, tool_calls=st.lists(CALL, max_size=2), reward=st.none() | st.floats(-1, 1),
)  # fmt: skip
EPISODE = st.builds(
    EpisodeRecord, turns=st.lists(TURN, max_size=4), end=st.sampled_from(["finished", "session_lost"]),
    feedback=TEXT, metrics=st.dictionaries(TEXT, st.floats(-1, 1), max_size=2),
    reward=st.none() | st.just(0.5),
)  # fmt: skip
OWN_TAGS = {
    "div", "p", "span", "strong", "input", "button", "label", "ol", "li", "details", "summary", "pre", "code",
}  # fmt: skip
OWN_ATTRIBUTES = {
    "class", "id", "type", "aria-label", "placeholder", "role", "hidden", "tabindex", "data-episode",
    "data-episode-tools", "data-episode-search", "data-episode-found", "data-episode-fold",
    "data-episode-masks", "data-turn", "data-role",
}  # fmt: skip


class Page(HTMLParser):
    """What a browser reads: tags, attributes with their values, and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.values, self.text = set[str](), set[str](), set[str](), ""
        self.others: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.values |= {value or "" for _, value in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_decl(self, decl: str) -> None:
        self.others.append(decl)

    unknown_decl = handle_decl
    handle_pi = handle_decl


def render(episode: EpisodeRecord, parts: int | None = None) -> str:
    """Return the viewer's HTML."""
    source = CottonCompiler().process(SOURCE)
    return engines["django"].from_string(source).render({"episode": episode, "parts": parts})


@settings(max_examples=60, deadline=None)
@given(EPISODE)
def test_no_text_of_an_episode_becomes_markup(episode: EpisodeRecord) -> None:
    page = Page(render(episode, parts=1))
    assert page.tags <= OWN_TAGS
    assert page.attributes <= OWN_ATTRIBUTES
    assert page.others == []
    assert not any("alert" in value or "autofocus" in value for value in page.values)
    for turn in episode.turns:
        for text in (turn.reasoning, turn.content):
            assert make_visible(text) in page.text


@given(TEXT)
def test_invisible_characters_are_shown_by_symbols(text: str) -> None:
    shown = make_visible(text)
    assert not any(ord(each) < 32 and each not in "\t\n" for each in shown)
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2069\udcff\x7f") & set(shown)
    shown.encode()


def test_long_observations_are_cut_with_their_length() -> None:
    """However much an environment says, the page stays of a bounded size."""
    said = [episodes.result("search", "x" * 100_000) for _ in range(300)]
    episode = EpisodeRecord(turns=said, end="finished")
    html = render(episode)
    assert len(html) < 3 * LONGEST_EPISODE
    assert "80,000 more characters are not shown" in html
    assert view_trail(episode).more == 260
    assert not view_episode(episodes.refund()).turns[0].text.cut


def test_every_end_has_words() -> None:
    assert get_args(EndReason) == tuple(END_LABELS) == tuple(SENTENCES)
    assert SENTENCES["finished"] in render(episodes.refund())
