"""Recognizers of personal data and secrets in text. Best effort: names, addresses and more pass."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn
from stdnum.us import ssn

VERSION = 1  # grows when a recognizer changes


@dataclass(frozen=True)
class Span:
    """A part of a text that is replaced by a placeholder."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Recognizer:
    """A kind of data. ``find`` takes the text and the region of telephone numbers."""

    label: str
    find: Callable[[str, str], Iterator[tuple[int, int]]]


# Repetitions are bounded, so that a long text costs time in proportion to its length.
_EMAIL = re.compile(r"[\w.%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,8}\.[a-z]{2,24}", re.IGNORECASE)
_PHONE = re.compile(r"\d(?:[^\w\n]{0,3}\d){6}")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b", re.IGNORECASE)
_CARD = re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])")
_SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
_IP = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})(?![\w:])", re.IGNORECASE
)
_SECRET = re.compile(
    r"\b(?:sk|pk|rk)[-_][\w-]{16,200}"
    r"|\bgh[opsu]_[A-Za-z0-9]{30,200}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\bxox[abpr]-[\w-]{10,200}"
    r"|\beyJ[\w-]{10,2000}\.[\w-]{10,4000}\.[\w-]{5,1000}"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\w\s+/=]{1,8000}-----END [A-Z ]{0,30}PRIVATE KEY-----"
)
_DATA = re.compile(r"data:[\w/+.-]{1,100};base64,[A-Za-z0-9+/=]+")
SHORTEST_IBAN = 15


def _search(pattern: re.Pattern[str]) -> Callable[[str, str], Iterator[tuple[int, int]]]:
    def find(text: str, _region: str) -> Iterator[tuple[int, int]]:
        return (match.span() for match in pattern.finditer(text))

    return find


def _find_emails(text: str, _region: str) -> Iterator[tuple[int, int]]:
    if "@" in text:
        yield from (match.span() for match in _EMAIL.finditer(text))


def _find_phones(text: str, region: str) -> Iterator[tuple[int, int]]:
    if _PHONE.search(text):  # the matcher is slow
        for match in PhoneNumberMatcher(text, region or None, leniency=Leniency.VALID):
            yield match.start, match.end


def _find_ibans(text: str, _region: str) -> Iterator[tuple[int, int]]:
    """Cut each candidate until its checksum holds: the words behind a number look like its groups."""
    for match in _IBAN.finditer(text):
        candidate = match[0]
        for length in range(len(candidate), SHORTEST_IBAN - 1, -1):
            if candidate[length - 1] != " " and iban.is_valid(candidate[:length]):
                yield match.start(), match.start() + length
                break


def _find_cards(text: str, _region: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        if luhn.is_valid(re.sub("[ -]", "", match[0])):
            yield match.span()


def _find_ssns(text: str, _region: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _SSN.finditer(text) if ssn.is_valid(match[0]))


def _find_addresses(text: str, _region: str) -> Iterator[tuple[int, int]]:
    for match in _IP.finditer(text):
        try:
            ipaddress.ip_address(match[0])
        except ValueError:
            continue
        yield match.span()


# In the order in which overlapping finds win.
KINDS = {
    "secret": Recognizer("API keys, tokens and private keys", _search(_SECRET)),
    "email": Recognizer("E-mail addresses", _find_emails),
    "iban": Recognizer("Bank accounts (IBAN)", _find_ibans),
    "card": Recognizer("Payment cards", _find_cards),
    "ssn": Recognizer("US social security numbers", _find_ssns),
    "phone": Recognizer("Telephone numbers", _find_phones),
    "ip": Recognizer("IP addresses", _find_addresses),
    "data": Recognizer("Embedded files, such as images", _search(_DATA)),
}


def find_spans(text: str, kinds: list[str], region: str) -> Iterator[Span]:
    """Yield what the recognizers of ``kinds`` find; spans may overlap."""
    for kind, recognizer in KINDS.items():
        if kind in kinds:
            for start, end in recognizer.find(text, region):
                yield Span(start, end, kind)
