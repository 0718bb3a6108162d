"""Runs inside the sandbox: compares two mathematical values.

A decimal equals another number within a *relative* tolerance. Whole numbers, fractions and expressions
without decimals are equal only if they are exactly equal.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from workers.grading.sandboxed.quantities import Number
from workers.grading.sandboxed.values import (
    Clock,
    Equation,
    Expression,
    Listing,
    Named,
    Relations,
    Union,
    Words,
)

# A decimal against a fraction without end or an irrational number: six places are a usual way to write one.
ROUNDED = sympy.Rational(1, 10**6)
# A decimal against a number that could have been written out: the noise of floating point alone.
NOISE = sympy.Rational(1, 10**9)
# Two expressions without decimals, both evaluated to DIGITS.
SURE = sympy.Rational(1, 10**40)
DIGITS = 60
ENOUGH_POINTS = 3
COORDINATES = ((7, 5), (-13, 11), (23, 7), (3, 17), (-29, 8), (41, 9), (-5, 19), (2, 3), (53, 4), (-31, 6))
POINTS = [sympy.Rational(*pair) for pair in COORDINATES]
# Evaluated at points they cost seconds.
SYMBOLIC = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative, AppliedUndef)
MATRICES = (sympy.MatrixBase, sympy.MatrixExpr)
FLIPPED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "≠": "≠", "=": "=", "≈": "≈"}


def equal(reference: Any, answer: Any) -> bool:
    """Return True if the answer equals the reference, in the form that the reference has."""
    if isinstance(reference, Named) and isinstance(answer, Named):
        return _named_equal(reference, answer)
    if isinstance(reference, Named):
        return _equations_equal(reference, answer) or equal(reference.value, _bare(answer))
    if isinstance(answer, Named) and not isinstance(reference, Equation):
        return equal(reference, answer.value)
    if isinstance(reference, Equation) or isinstance(answer, Equation):
        return _equations_equal(reference, answer)
    if isinstance(reference, Relations) or isinstance(answer, Relations):
        return _relations_equal(reference, answer)
    return _plainly_equal(reference, answer)


def _plainly_equal(reference: Any, answer: Any) -> bool:
    """Compare values without a name or a relation sign."""
    if isinstance(reference, Union) or isinstance(answer, Union):
        return _unordered_equal(_parts(reference), _parts(answer))
    if isinstance(reference, Listing) or isinstance(answer, Listing):
        return _listings_equal(reference, answer)
    if isinstance(reference, Clock) or isinstance(answer, Clock):
        return bool(reference == answer)
    if isinstance(reference, Words) or isinstance(answer, Words):
        return _word(reference) == _word(answer)
    if isinstance(reference, Number) and isinstance(answer, Number):
        return _numbers_equal(reference, answer)
    return _expressions_equal(_with_unit(reference), _with_unit(answer))


def _with_unit(value: Any) -> Any:
    """Return ``5 m`` as the product that ``5m`` is read as."""
    if isinstance(value, Number) and len(value.unit) == 1 and value.unit.isalpha():
        return Expression(value.value * sympy.Symbol(value.unit, real=True), value.decimal)
    return value


def _word(value: Any) -> str:
    if isinstance(value, Words):
        return value.text
    symbol = isinstance(value, Expression) and isinstance(value.value, sympy.Symbol)
    return str(value.value).casefold() if symbol else "no word"


def _bare(answer: Any) -> Any:
    return answer.value if isinstance(answer, Named) else answer


# --- numbers and expressions -----------------------------------------------------------------------


def _numbers_equal(reference: Number, answer: Number) -> bool:
    if reference.unit and answer.unit and reference.unit != answer.unit:
        return False
    decimal = reference.decimal or answer.decimal
    if close(reference.value, answer.value, decimal):
        return True
    if reference.percent == answer.percent:
        return False
    # "28" where 28 % is asked for, or the other way round.
    percent, other = (reference, answer) if reference.percent else (answer, reference)
    return close(percent.value * 100, other.value, decimal)


def close(first: Any, second: Any, decimal: bool) -> bool:
    """Return True if two numbers are equal: exactly, or within the tolerance of a decimal among them."""
    if first == second:
        return True
    if not decimal:
        return _near(first, second, SURE) if not _both_rational(first, second) else False
    written_out = _both_rational(first, second) and _terminates(first) and _terminates(second)
    return _near(first, second, NOISE if written_out else ROUNDED)


def _both_rational(first: Any, second: Any) -> bool:
    return isinstance(first, sympy.Rational) and isinstance(second, sympy.Rational)


def _terminates(value: Any) -> bool:
    """Return True if the fraction can be written as a decimal."""
    below = int(value.q)
    for factor in (2, 5):
        while below % factor == 0:
            below //= factor
    return below == 1


def _near(first: Any, second: Any, tolerance: Any) -> bool:
    """Compare with a tolerance relative to the greater one; not an absolute one, so that 1e-30 is not 0."""
    if not _both_rational(first, second):
        first, second = sympy.N(first, DIGITS), sympy.N(second, DIGITS)
        if not (_finite(first) and _finite(second)):
            return False
    scale = max(abs(first), abs(second))
    return bool(abs(first - second) <= tolerance * scale)


def _finite(value: Any) -> bool:
    return bool(value.is_number and value.is_finite) and value.is_comparable is not False


def _expressions_equal(reference: Any, answer: Any) -> bool:
    first, second = _value(reference), _value(answer)
    decimal = getattr(reference, "decimal", False) or getattr(answer, "decimal", False)
    if isinstance(first, MATRICES) or isinstance(second, MATRICES):
        return _matrices_equal(_exact(first), _exact(second), decimal)
    if not isinstance(first, sympy.Basic) or not isinstance(second, sympy.Basic):
        return False
    if first == second or _rebuilt(first) == _rebuilt(second):
        return True
    if not first.free_symbols and not second.free_symbols:
        return close(_exact(first), _exact(second), decimal)
    return _functions_equal(first, second, ROUNDED if decimal else SURE)


def _value(value: Any) -> Any:
    return value.value if isinstance(value, Number | Expression) else None


def _exact(value: Any) -> Any:
    try:
        return value.doit()
    except Exception:
        return value


def _rebuilt(value: Any) -> Any:
    """Return the same expression in sympy's order; latex2sympy keeps the order of the text."""
    if not isinstance(value, sympy.Basic) or not value.args:
        return value
    try:
        return value.func(*map(_rebuilt, value.args))
    except Exception:
        return value


def _matrices_equal(first: Any, second: Any, decimal: bool) -> bool:
    if not (isinstance(first, sympy.MatrixBase) and isinstance(second, sympy.MatrixBase)):
        return False
    if first.shape != second.shape:
        return False
    pairs = zip(first, second, strict=True)
    return all(_expressions_equal(Expression(a, decimal), Expression(b, decimal)) for a, b in pairs)


def _functions_equal(first: Any, second: Any, tolerance: Any) -> bool:
    """Return True if they agree at every point where both are real. Falls back on sympy's simplification."""
    if first.has(*SYMBOLIC) or second.has(*SYMBOLIC):
        first, second = _exact(first), _exact(second)
        if first.has(*SYMBOLIC) or second.has(*SYMBOLIC):
            return bool(_rebuilt(first) == _rebuilt(second))
    seen = 0
    for a, b in _sampled(first, second):
        if not _near(a, b, tolerance):
            return False
        seen += 1
    if seen >= ENOUGH_POINTS:
        return True
    try:
        return bool(sympy.simplify(first - second) == 0)
    except Exception:
        return False


def _sampled(first: Any, second: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the values of both at points where both are real and finite."""
    symbols = sorted(first.free_symbols | second.free_symbols, key=str)
    for number in range(len(POINTS)):
        at = {symbol: POINTS[(number + 3 * place) % len(POINTS)] for place, symbol in enumerate(symbols)}
        try:
            a, b = sympy.N(first.subs(at), DIGITS), sympy.N(second.subs(at), DIGITS)
        except (TypeError, ValueError, ZeroDivisionError, AttributeError):
            continue
        if a.is_real and b.is_real and _finite(a) and _finite(b):
            yield a, b


# --- lists, sets, intervals ------------------------------------------------------------------------


def _parts(value: Any) -> tuple[Any, ...]:
    return value.items if isinstance(value, Union) else (value,)


def _listings_equal(reference: Any, answer: Any) -> bool:
    """Compare bare lists and sets in any order, everything in other brackets in order."""
    if _is_decimal_comma(reference, answer) or _is_decimal_comma(answer, reference):
        return True
    first, second = _as_listing(reference), _as_listing(answer)
    brackets = {first.brackets, second.brackets}
    if brackets <= {"", "{}"}:
        ordered = any(item == Words("…") for item in (*first.items, *second.items))
        return (_ordered_equal if ordered else _unordered_equal)(first.items, second.items)
    if len(brackets) == 1 or brackets == {"", "()"}:
        return _ordered_equal(first.items, second.items)
    return brackets == {"", "[]"} and len(first.items) != 2 and _ordered_equal(first.items, second.items)


def _as_listing(value: Any) -> Listing:
    return value if isinstance(value, Listing) else Listing("", (value,))


def _is_decimal_comma(listing: Any, number: Any) -> bool:
    """Return True for ``2,74`` and 2.74: the comma is a decimal separator in many countries."""
    if not (isinstance(listing, Listing) and isinstance(number, Number) and number.decimal):
        return False
    if listing.brackets or len(listing.items) != 2 or not all(isinstance(i, Number) for i in listing.items):
        return False
    whole, part = (item.value for item in listing.items)
    return f"{float(number.value):.12f}".rstrip("0") == f"{whole}.{part}"


def _ordered_equal(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    return len(first) == len(second) and all(equal(a, b) for a, b in zip(first, second, strict=True))


def _unordered_equal(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    """Pair each item with another one. Equality with a tolerance is nearly transitive, so greed works."""
    left = list(_distinct(second))
    wanted = list(_distinct(first))
    if len(left) != len(wanted):
        return False
    for item in wanted:
        partner = next((at for at, other in enumerate(left) if equal(item, other)), None)
        if partner is None:
            return False
        left.pop(partner)
    return True


def _distinct(items: tuple[Any, ...]) -> list[Any]:
    return [item for at, item in enumerate(items) if item not in items[:at]]


# --- equations and inequalities --------------------------------------------------------------------


def _named_equal(reference: Named, answer: Named) -> bool:
    if reference.name.casefold() == answer.name.casefold():
        return equal(reference.value, answer.value)
    return _equations_equal(reference, answer)


def _equations_equal(reference: Any, answer: Any) -> bool:
    """Return True if one is a multiple of the other. A bare number is compared with an equation's end."""
    first, second = _difference(reference), _difference(answer)
    if first is not None and second is not None:
        return _proportional(first, second, signed=False)
    if isinstance(answer, Equation) and not isinstance(reference, Named | Equation):
        # "x + y = 7" says 7; "2x + z = 1" and "x - y = 0" are equations and say no number.
        letters: bool = not answer.left.atoms(sympy.Number) - {sympy.S.NegativeOne}
        return letters and bool(answer.right != 0) and equal(reference, answer.ends_in)
    return False


def _difference(value: Any) -> Any:
    """Return left side minus right side; ``None`` if it is no equation between expressions."""
    if isinstance(value, Equation):
        return value.left - value.right
    if isinstance(value, Named) and len(value.name) == 1 and isinstance(value.value, Number | Expression):
        if isinstance(value.value.value, sympy.MatrixBase):
            return None
        return sympy.Symbol(value.name.lower(), real=True) - value.value.value
    return None


def _proportional(first: Any, second: Any, signed: bool) -> bool:
    """True if ``first / second`` is one constant other than 0, and above 0 if ``signed``."""
    if _rebuilt(first) == _rebuilt(second):
        return True
    first, second = _numerator(first), _numerator(second)
    if first.free_symbols != second.free_symbols:
        return False
    ratios = [a / b for a, b in _sampled(first, second) if b != 0]
    if len(ratios) < ENOUGH_POINTS or not all(_near(a, b, SURE) for a, b in pairwise(ratios)):
        return False
    return bool(ratios[0] > 0 if signed else ratios[0] != 0)


def _numerator(value: Any) -> Any:
    try:
        return sympy.fraction(sympy.together(_exact(value)))[0]
    except Exception:
        return value


def _relations_equal(reference: Any, answer: Any) -> bool:
    if isinstance(reference, Relations) and isinstance(answer, Relations):
        first, second = _pieces(reference), _pieces(answer)
        if len(first) != len(second):
            return False
        return all(any(_same_relation(a, b) for b in second) for a in first)
    wanted, given = _interval(reference), _interval(answer)
    return wanted is not None and given is not None and _listings_equal(wanted, given)


def _pieces(value: Relations) -> list[tuple[Any, str]]:
    """Return each relation of a chain as (left side minus right side, sign)."""
    pairs = zip(pairwise(value.sides), value.operators, strict=True)
    return [(left - right, operator) for (left, right), operator in pairs]


def _same_relation(first: tuple[Any, str], second: tuple[Any, str]) -> bool:
    same = first[1] == second[1] and _proportional(first[0], second[0], signed=first[1] not in "=≠≈")
    return same or (FLIPPED[first[1]] == second[1] and _proportional(first[0], -second[0], signed=True))


def _interval(value: Any) -> Listing | None:
    """The interval that an inequality in one letter describes."""
    if isinstance(value, Listing):
        return value
    if not isinstance(value, Relations) or not set(value.operators) <= set("<>≤≥"):
        return None
    sides, operators = value.sides, value.operators
    if operators[0] in ">≥":
        sides, operators = sides[::-1], tuple(FLIPPED[each] for each in operators[::-1])
    if len(sides) == 3 and isinstance(sides[1], sympy.Symbol) and set(operators) <= set("<≤"):
        brackets = ("[" if operators[0] == "≤" else "(") + ("]" if operators[1] == "≤" else ")")
        return Listing(brackets, (_number_or_expression(sides[0]), _number_or_expression(sides[2])))
    if len(sides) == 2 and isinstance(sides[0], sympy.Symbol):
        ends = (sympy.S.NegativeInfinity, sides[1])
        return Listing("(" + ("]" if operators[0] == "≤" else ")"), tuple(map(_number_or_expression, ends)))
    if len(sides) == 2 and isinstance(sides[1], sympy.Symbol):
        ends = (sides[0], sympy.S.Infinity)
        return Listing(("[" if operators[0] == "≤" else "(") + ")", tuple(map(_number_or_expression, ends)))
    return None


def _number_or_expression(value: Any) -> Any:
    return Number(value) if isinstance(value, sympy.Rational) else Expression(value)
