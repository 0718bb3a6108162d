"""Runs inside the sandbox: reads numbers with sign, power of ten, percent sign and unit."""

import re
from dataclasses import dataclass
from typing import Any

import sympy

MAX_DIGITS, MAX_EXPONENT = 1_000, 5_000
CURRENCY = r"(?:\\?\$|[€£¥₹]|\\(?:euro|pounds)\b|(?:USD|EUR|GBP|Rs\.?)\s)"
PLAIN = r"\d+(?:[  ]\d{3})+(?:\.\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+"
NUMBER = re.compile(rf"(?P<sign>[+-]?)\s*{CURRENCY}?\s*(?P<sign2>-?)(?P<digits>{PLAIN})")
POWER = re.compile(
    r"\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{\s*([+-]?\d+)\s*\}|([+-]?\d+))|[eE]([+-]?\d+)(?![\w.])"
)
SLASH = re.compile(r"\s*/\s*(\d+(?:,\d{3})*)(?![\d.])")
FRAC = re.compile(r"\s*\\frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
MIXED = re.compile(r"[ \-](\d+)\s*/\s*(\d+)(?![\d.])")
UNIT = re.compile(
    r"\s*(?:\\text\{\s*(?P<text>[^{}]*)\}|(?P<word>[^\W\d_]{2,}(?:\s*/\s*[^\W\d_]+)?"
    r"|[mgshlL](?=\s*$)|m(?=\s*\^)|[€£¥₹]|\\?\$))"
    r"(?:\s*\^\s*\{?(?P<power>\d)\}?)?\s*"
)
SECOND_UNIT = re.compile(r"(?:\s+[^\W\d_]+){1,4}\s*")


class Unreadable(Exception):
    """The text is no value."""


@dataclass(frozen=True)
class Number:
    """``decimal``: it was written with a point, so it may be rounded. ``percent``: it had a percent sign."""

    value: Any
    decimal: bool = False
    percent: bool = False
    unit: str = ""


def read_number(text: str) -> Number | None:
    """A number with its unit, percent sign and power of ten; ``None`` if the text is something else."""
    match = NUMBER.match(text)
    if match is None:
        return _fraction(text)
    digits = match["digits"].replace(",", "").replace(" ", "")
    if len(digits) > MAX_DIGITS:
        raise Unreadable("a number is too long")
    value, at = sympy.Rational(digits if digits[-1] != "." else digits[:-1]), match.end()
    decimal = "." in digits
    if (
        (mixed := MIXED.match(text, at))
        and not decimal
        and 0 < int(mixed[1]) < int(mixed[2])
        and text[at] == " "
    ):
        value, at = value + sympy.Rational(int(mixed[1]), int(mixed[2])), mixed.end()
    elif (slash := SLASH.match(text, at)) and int(slash[1].replace(",", "")):
        value, at = value / int(slash[1].replace(",", "")), slash.end()
    elif (frac := FRAC.match(text, at)) and not decimal:
        fraction = _ratio_of(frac)
        value, at = value + fraction, frac.end() if 0 < fraction < 1 else 0
    elif power := POWER.match(text, at):
        exponent = int(next(filter(None, power.groups())))
        if abs(exponent) > MAX_EXPONENT:
            raise Unreadable("an exponent is too large")
        value, at = value * sympy.Integer(10) ** exponent, power.end()
    if (match["sign"] == "-") != (match["sign2"] == "-"):
        value = -value
    return _ended(value, decimal, text[at:]) if at else None


def _fraction(text: str) -> Number | None:
    match = re.match(r"[+-]?\s*", text)
    start = match.end() if match else 0
    frac = FRAC.match(text, start)
    if frac is None or not int(frac[3] or frac[4]):
        return None
    value = _ratio_of(frac)
    return _ended(-value if "-" in text[:start] else value, False, text[frac.end() :])


def _ratio_of(frac: re.Match[str]) -> Any:
    below = int(frac[3] or frac[4])
    return sympy.Rational(int(frac[1] or frac[2]), below) if below else sympy.Integer(0)


def _ended(value: Any, decimal: bool, rest: str) -> Number | None:
    """The number if nothing but a percent sign or a unit follows it."""
    joined, rest = rest[:1] not in " ~", rest.strip()
    if not rest or re.fullmatch(r"/-|[./]", rest):
        return Number(value, decimal)
    if rest == "%":
        return Number(value / 100, decimal, percent=True)
    unit = None if joined and len(rest) == 1 and rest.isalpha() else UNIT.match(rest)
    if unit is None or (unit["word"] or "").lower() in FUNCTIONS:
        return None
    alone = unit.end() == len(rest) or SECOND_UNIT.fullmatch(rest, unit.end())
    return Number(value, decimal, unit=_unit(unit)) if alone else None


FUNCTIONS = {"sin", "cos", "tan", "log", "ln", "exp", "sqrt", "pi", "ab", "xy", "yz", "xz", "bc", "ac"}
UNITS = {
    "mm": "mm", "millimeter": "mm", "millimetre": "mm", "cm": "cm", "centimeter": "cm", "centimetre": "cm",
    "m": "m", "meter": "m", "metre": "m", "km": "km", "kilometer": "km", "kilometre": "km", "inch": "in",
    "inches": "in", "in": "in", "ft": "ft", "foot": "ft", "feet": "ft", "mile": "mi", "mi": "mi",
    "yard": "yd",
    "g": "g", "gram": "g", "kg": "kg", "kilogram": "kg", "mg": "mg", "lb": "lb", "pound": "lb", "ounce": "oz",
    "s": "s", "sec": "s", "second": "s", "min": "min", "minute": "min", "h": "h", "hr": "h", "hour": "h",
    "day": "d", "week": "w", "month": "month", "year": "y", "l": "l", "liter": "l", "litre": "l", "ml": "ml",
    "degree": "°", "radian": "rad", "rad": "rad", "€": "EUR", "euro": "EUR", "dollar": "USD", "cent": "cent",
}  # fmt: skip


def _unit(match: re.Match[str]) -> str:
    """The unit's one name, with its power; empty if it is none that is known."""
    word = (match["text"] if match["text"] is not None else match["word"]).strip().lower().rstrip(".")
    known = UNITS.get(word) or UNITS.get(word.removesuffix("s"))
    return f"{known}{match['power'] or ''}" if known else ""
