"""Groove's documents as public pages, rendered from ``docs/*.md``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import nh3
from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_GET
from markdown_it import MarkdownIt
from markdown_it.token import Token

FOLDER = Path(settings.BASE_DIR) / "docs"
IMAGE = re.compile(r"[a-z0-9-]+\.(png|svg)")
OWN_LINK = re.compile(r"([a-z0-9-]+)\.md(#.*)?")
TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "img"),
    *("h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href"}, "img": {"src", "alt"}} | {f"h{level}": {"id"} for level in range(2, 7)}


@dataclass(frozen=True)
class Document:
    """A document: its title, its sections as (anchor, title), and its body as safe HTML."""

    name: str
    title: str
    sections: list[tuple[str, str]]
    html: SafeString


def list_names() -> list[str]:
    """Return the names of all documents, as in their URLs."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def read_document(name: str) -> Document | None:
    """Return the document, or None if there is none of this name."""
    if name not in list_names():
        return None
    path = FOLDER / f"{name}.md"
    return _render(name, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _render(name: str, path: Path, modified: int) -> Document:
    """Render a document.

    ``modified`` is part of the cache key, so a changed file is rendered again.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = parser.parse(path.read_text(encoding="utf-8"))
    headings = list(_anchor_headings(tokens))
    title = headings[0][2] if headings else name
    if headings and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        tokens = tokens[3:]  # the page template has its own heading
    for token in tokens:
        _rewrite_links(token.children or [])
    clean = nh3.clean(parser.renderer.render(tokens, parser.options, {}), tags=TAGS, attributes=ATTRIBUTES)
    sections = [(anchor, text) for level, anchor, text in headings if level == 2]
    return Document(name, title, sections, mark_safe(clean))  # noqa: S308 -- nh3 has just cleaned it


def _anchor_headings(tokens: Sequence[Token]) -> Iterator[tuple[int, str, str]]:
    """Give every heading its anchor, as GitHub does. Yields level, anchor and text."""
    seen: Counter[str] = Counter()
    for opening, content in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = "".join(child.content for child in content.children or [])
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = seen[anchor]
        seen[anchor] += 1
        unique = f"{anchor}-{number}" if number else anchor
        opening.attrSet("id", unique)
        yield int(opening.tag[1:]), unique, text


def _rewrite_links(inline: Sequence[Token]) -> None:
    """Rewrite links between documents and to images as URLs of this site."""
    for token in inline:
        attribute = {"link_open": "href", "image": "src"}.get(token.type)
        target = str(token.attrGet(attribute) or "") if attribute else ""
        if attribute and target:
            token.attrSet(attribute, _rewrite_url(target))


def _rewrite_url(target: str) -> str:
    if found := OWN_LINK.fullmatch(target):
        return reverse("document", args=[found[1]]) + (found[2] or "")
    if target.startswith("images/"):
        return reverse("document_image", args=[target.removeprefix("images/")])
    return target


# --- pages -----------------------------------------------------------------------------------------


@require_GET
def list_documents(request: HttpRequest) -> HttpResponse:
    """List all documents."""
    documents = [document for name in list_names() if (document := read_document(name))]
    return render(request, "docs/index.html", {"documents": documents})


@require_GET
def show_document(request: HttpRequest, name: str) -> HttpResponse:
    """Show a document."""
    document = read_document(name)
    if document is None:
        raise Http404(f"There is no document {name!r}.")
    return render(request, "docs/page.html", {"document": document})


@require_GET
def show_api_reference(request: HttpRequest) -> HttpResponse:
    """Show the API's OpenAPI document with Swagger UI, whose files this site serves."""
    swagger = {"url": reverse("v1:openapi-json"), "deepLinking": True, "supportedSubmitMethods": []}
    return render(request, "docs/reference.html", {"swagger": swagger})


@require_GET
def show_image(request: HttpRequest, name: str) -> FileResponse:
    """Serve an image of a document."""
    path = FOLDER / "images" / name
    if path not in FOLDER.glob("images/*") or not IMAGE.fullmatch(name):
        raise Http404(f"There is no picture {name!r}.")
    return FileResponse(path.open("rb"))
