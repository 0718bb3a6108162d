"""A model's card: the package's README.md, as text and as safe HTML."""

from __future__ import annotations

import re

import nh3
from django.core.files.storage import default_storage
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

from webapp.registry.models import TunedModel

FILE = "README.md"
MAX_BYTES = 500_000
FRONT_MATTER = re.compile(r"\A---\r?\n.*?\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)
LOWEST_HEADING = 6
TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
SCHEMES = {"https", "http", "mailto"}


def has_card(model: TunedModel) -> bool:
    """Return True if the package has a card to show; an uploaded adapter has none."""
    return any(file["name"] == FILE and file["bytes"] <= MAX_BYTES for file in model.files)


def read_card(model: TunedModel) -> str:
    """Return the card as stored, in Markdown."""
    with default_storage.open(f"{model.prefix}/{FILE}") as file:
        return str(file.read(), errors="replace")


def render_card(markdown: str) -> SafeString:
    """Return the card as HTML for a page: without front matter and images, headings one level lower."""
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = parser.parse(FRONT_MATTER.sub("", markdown, count=1))
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1:]) + 1, LOWEST_HEADING)}"
    rendered = parser.renderer.render(tokens, parser.options, {})
    clean = nh3.clean(
        rendered, tags=TAGS, attributes={"a": {"href"}}, url_schemes=SCHEMES, url_relative="deny"
    )
    return mark_safe(clean)  # noqa: S308 -- cleaned by nh3
