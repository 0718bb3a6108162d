"""Template filters for rendered prompts."""

from __future__ import annotations

import re
from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from webapp.datasets.templatetags.conversations import mark_control_tokens

PIECES = ["<|im_start|>", "<|im_end|>\n", "<start_of_turn>", "<script>", "&amp;", "user", "<|", "|>"]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5))).map("".join))
def test_a_prompt_is_shown_whole_and_never_as_markup(prompt: str) -> None:
    page = str(mark_control_tokens(prompt))
    text = re.sub(r'<span class="control-token">(.*?)</span>', r"\1", page)
    assert "<" not in text
    assert unescape(text) == prompt


def test_control_tokens_of_the_chat_template_are_marked() -> None:
    page = mark_control_tokens("<|im_start|>user\n2 <| 3?<|im_end|>")
    assert page.count("control-token") == 2
    assert "user\n2 &lt;| 3?<" in page
