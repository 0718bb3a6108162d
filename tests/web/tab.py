"""A browser tab without a browser: follows a page's live fragments as htmx and ``live.js`` do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from html.parser import HTMLParser
from typing import Any

from django.test import Client

from webapp.jobs.live.stream import select_events
from webapp.jobs.models import Job

VOID = frozenset({"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})
LIVE = re.compile(r"live:|calm:|every \d")
PER_REQUEST = re.compile(r'(?<=name="csrfmiddlewaretoken") value="[^"]*"|\s*data-live-url="[^"]*"')


@dataclass
class Element:
    """An element with an id: its attributes and its whole text."""

    attributes: dict[str, str]
    start: int
    end: int = -1
    inner: int = 0
    closing: int = 0


class _Elements(HTMLParser):
    """Finds every element with an id, and where it begins and ends."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.found: dict[str, Element] = {}
        self._open: list[tuple[str, Element | None]] = []
        self._lines = [0]
        for line in text.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self.feed(text)

    def _here(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        attributes = {name: value or "" for name, value in attrs}
        element = Element(attributes, self._here()) if attributes.get("id") else None
        if element:
            element.inner = element.start + len(self.get_starttag_text() or "")
            self.found.setdefault(attributes["id"], element)
        self._open.append((tag, element))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """``<use …/>`` opens nothing."""

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            name, element = self._open.pop()
            if element:
                element.closing = self._here()
                element.end = element.closing + len(f"</{tag}>")
            if name == tag:
                return


@lru_cache(64)
def elements(text: str) -> dict[str, Element]:
    """Id -> element."""
    return _Elements(text).found


def part(text: str, name: str) -> str:
    """The element with this id, in one line, without what differs by request; empty if there is none."""
    found = elements(text).get(name)
    shown = PER_REQUEST.sub("", text[found.start : found.end]) if found else ""
    return re.sub(r"\s+(?=>)|(?<=\s)\s+", "", shown.replace("\n", " ")).replace(' hx-swap-oob="true"', "")


def live_ids(text: str) -> set[str]:
    """Ids of the fragments that refresh by themselves."""
    return {
        name for name, found in elements(text).items() if LIVE.search(found.attributes.get("hx-trigger", ""))
    }


@dataclass
class Tab:
    """A page that was opened once. ``follow`` brings what the stream and the clock bring."""

    client: Client
    url: str
    job: Job | None = None
    text: str = ""
    cursor: int = 0
    ever_live: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Load the page, as a reload does."""
        answer = self.client.get(self.url)
        assert answer.status_code == 200, self.url
        self.text = answer.content.decode()
        after = re.search(r"/stream/\?after=(\d+)", self.text)
        self.cursor = int(after[1]) if after else 0
        self.ever_live |= live_ids(self.text)

    def follow(self, *, clock: bool = False) -> None:
        """Refresh the fragments that the job's new events trigger; with ``clock`` those that poll, too."""
        kinds: set[str] = set()
        if self.job and "/stream/?after=" in self.text:
            found, ended = select_events(self.job.pk, self.cursor)
            kinds = {kind for _, kind, _ in found} | ({"end"} if ended else set())
            self.cursor = found[-1][0] if found else self.cursor
        told = re.compile("|".join([rf"(live|calm):{kind} " for kind in kinds] + ["every " * clock or "^$"]))
        for name in live_ids(self.text):
            if told.search(elements(self.text)[name].attributes["hx-trigger"].replace(",", " ,")):
                self._refresh(name)

    def _refresh(self, name: str) -> None:
        found = elements(self.text).get(name)
        if found is None or "hx-get" not in found.attributes:
            return
        address = found.attributes["hx-get"]
        address = self.url.split("?")[0] + address if address.startswith("?") else address
        answer = self.client.get(address, headers={"HX-Request": "true", "HX-Target": name})
        assert answer.status_code == 200, address
        if answer.headers.get("HX-Refresh"):
            self.open()
            return
        self._put(name, answer.content.decode(), whole="outerHTML" in found.attributes.get("hx-swap", ""))

    def _put(self, name: str, fragment: str, *, whole: bool) -> None:
        parts = elements(fragment)
        for other, element in parts.items():
            if element.attributes.get("hx-swap-oob"):
                self._replace(other, fragment[element.start : element.end], whole=True)
        own = parts[name] if whole else None
        self._replace(name, fragment[own.start : own.end] if own else fragment, whole=whole)

    def _replace(self, name: str, fragment: str, *, whole: bool) -> None:
        found = elements(self.text).get(name)
        assert found, f"{self.url} has no place for #{name}"
        start, end = (found.start, found.end) if whole else (found.inner, found.closing)
        self.text = self.text[:start] + fragment + self.text[end:]

    def reloaded(self) -> Any:
        """What a reload would show."""
        return Tab(self.client, self.url, self.job)
