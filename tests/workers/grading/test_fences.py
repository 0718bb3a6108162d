"""Code is found in fenced blocks as models write them: indented, quoted, in one line, never closed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.grading.fences import Block, fenced_blocks, last_block, outside_blocks, without_backticks

# A body of a block: no line may close or open one.
BODY = st.text(st.characters(blacklist_characters="`~\r", blacklist_categories=["Cs"]), min_size=1).filter(
    lambda text: text.strip() == text
)


@given(BODY, st.sampled_from(["```", "~~~", "````"]), st.sampled_from(["", "json", "SQL", "c++"]))
def test_a_block_is_read_to_the_letter(body: str, fence: str, tag: str) -> None:
    """Every character of the body is kept, also line separators that are no line feeds."""
    text = f"before\n{fence}{tag}\n{body}\n{fence}\nafter"
    assert fenced_blocks(text) == [Block(tag.lower(), body)]
    assert outside_blocks(text) == "before\nafter"


@given(BODY)
def test_a_block_that_is_never_closed_ends_with_the_text(body: str) -> None:
    assert fenced_blocks(f"```python\n{body}") == [Block("python", body)]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("no block", []),
        ("`inline` only", []),
        ("   ```json\n   {}\n   ```", [("json", "   {}")]),
        ("> ```sql\n> select 1\n> ```", [("sql", "> select 1")]),
        ("- ```sql\nselect 1\n```", [("sql", "select 1")]),
        ("2. ```sql\nselect 1\n```", [("sql", "select 1")]),
        ("```json {1, 3}\n1\n```", [("json", "1")]),
        ("```{.python .numberLines}\n1\n```", [(".python", "1")]),
        ("````\n```\nx\n```\n````", [("", "```\nx\n```")]),
        ("```\na\n~~~\nb\n```", [("", "a\n~~~\nb")]),
        ("```json\n{}```", [("json", "{}")]),
        ("```json\n{}\n```.", [("json", "{}")]),
        ("```json\n{}\n`````", [("json", "{}")]),
        ("The query ```sql select 1``` is it", [("sql", "select 1")]),
        ("```a``` and ```b```", [("", "a"), ("", "b")]),
        ("```json\r\n{}\r\n```\r\n", [("json", "{}")]),
        ("```\n```", [("", "")]),
        ("```a\n1\n```\n```b\n2\n```", [("a", "1"), ("b", "2")]),
    ],
)
def test_blocks_as_models_write_them(text: str, blocks: list[tuple[str, str]]) -> None:
    assert fenced_blocks(text) == [Block(*block) for block in blocks]


def test_the_last_block_of_a_language_counts_and_an_empty_one_does_not() -> None:
    text = "```sql\nfirst\n```\n```sql\nlast\n```\n```python\nother\n```\n```sql\n  \n```"
    assert last_block(text, {"sql"}) == "last"
    assert last_block(text, {"python", "sql"}) == "other"
    assert last_block(text, {"json"}) is None


@pytest.mark.parametrize(
    ("text", "bare"),
    [("`select 1`", "select 1"), ("  `a`\n", "a"), ("`a` or `b`", "`a` or `b`"), ("a", "a"), ("``", "``")],
)
def test_backticks_around_the_whole_text_are_dropped(text: str, bare: str) -> None:
    assert without_backticks(text) == bare


@given(st.text(alphabet="`~ \n>-1.jsonaé\u2028", max_size=60))
def test_any_text_has_blocks_or_none(text: str) -> None:
    """Nothing raises, and no content is invented."""
    for block in fenced_blocks(text):
        assert all(line in text for line in block.body.split("\n"))
