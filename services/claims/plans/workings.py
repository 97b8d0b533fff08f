"""Reads a line of arithmetic that a person wrote beside a case, and says whether it is true.

Knows decimals and nothing else: no plan, no case, no engine. Format: docs/cases.md, Workings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 500
MAX_NUMBERS = 60
MAX_DEPTH = 20

_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,6})?", re.ASCII)
_TOKEN = re.compile(rf"\s*(?:({_NUMBER.pattern})(?![0-9.])|([a-z]+)|([-+*/(),]))", re.ASCII)
_LABEL = re.compile(r"[^=:]{1,60}:\s")
_PLACES = 2
_MOST_PLACES = 6


@dataclass(frozen=True, slots=True)
class Working:
    """One equation: the numbers that its left side uses, what it gives, and what is claimed."""

    numbers: tuple[Fraction, ...]
    value: Fraction
    result: Fraction
    reason: str

    @property
    def holds(self) -> bool:
        """Whether both sides are equal, exactly."""
        return self.value == self.result


def read_working(text: str) -> Working:
    """Read `[label: ]expression = number[ why]`, in exact arithmetic.

    An expression has decimals, + - * / and parentheses, `min`, `max`, `sum` of two or more,
    `round` (half away from zero) and `floor`, both to the hundredth or to as many places as a
    second value says: `round(99.5, 0)`. Nothing rounds by itself.

    >>> read_working("round(0.8 * 33.35) = 26.68 the insurer's share").holds
    True

    Raises: ValueError, saying what cannot be read.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a line of working has at most {MAX_LENGTH} characters")
    label = _LABEL.match(text)
    left, equals, right = text[label.end() if label else 0 :].partition("=")
    if not equals or "=" in right:
        raise ValueError('a line of working is one equation, such as "100 - 20 = 80 after copay"')
    claimed = _NUMBER.match(right.strip())
    reason = right.strip()[claimed.end() :] if claimed else ""
    if claimed is None or (reason and not reason[0].isspace()):
        raise ValueError("behind = stands one number, then a space and the reason")
    reading = _Expression(left)
    return Working(
        value=reading.whole(),
        numbers=tuple(reading.numbers),
        result=Fraction(claimed.group()),
        reason=reason.strip(),
    )


def plain(value: Fraction) -> str:
    """A value as people write it: a decimal when it ends, else a fraction.

    >>> plain(Fraction(5, 4)), plain(Fraction(1, 3))
    ('1.25', '1/3')
    """
    for places in range(13):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = f"{abs(scaled.numerator):0{places + 1}d}"
            sign = "-" if value < 0 else ""
            return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)
    return str(value)


def _rounded(value: Fraction, unit: Fraction) -> Fraction:
    whole = (abs(value) / unit + Fraction(1, 2)).__floor__()
    return (whole if value >= 0 else -whole) * unit


def _floored(value: Fraction, unit: Fraction) -> Fraction:
    return (value / unit).__floor__() * unit


_TO_A_UNIT: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "round": _rounded,
    "floor": _floored,
}
_OF_MANY: dict[str, Callable[[list[Fraction]], Fraction]] = {
    "min": min,
    "max": max,
    "sum": lambda values: sum(values, Fraction(0)),
}


def _unit(values: list[Fraction]) -> Fraction:
    places = values[1] if len(values) > 1 else Fraction(_PLACES)
    if len(values) > 2 or places not in range(_MOST_PLACES + 1):
        raise ValueError("write round(value), or round(value, 0) for whole units of the currency")
    return Fraction(1, 10 ** int(places))


class _Expression:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.numbers: list[Fraction] = []
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> Fraction:
        """The value of all of it."""
        value = self._terms()
        if self._peek():
            raise ValueError(f"{self._peek()!r} was not expected there")
        return value

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, expected: str = "") -> str:
        word = self._peek()
        if not word or (expected and word != expected):
            found = f"not {word!r}" if word else "but the expression ends"
            raise ValueError(f"{expected or 'a number'} was expected, {found}")
        self._at += 1
        return word

    def _terms(self) -> Fraction:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"parentheses stand at most {MAX_DEPTH} deep")
        value = self._factors()
        while self._peek() in ("+", "-"):
            value = value + self._factors() if self._take() == "+" else value - self._factors()
        self._depth -= 1
        return value

    def _factors(self) -> Fraction:
        value = self._one()
        while self._peek() in ("*", "/"):
            if self._take() == "*":
                value *= self._one()
            elif divisor := self._one():
                value /= divisor
            else:
                raise ValueError("nothing can be divided by 0")
        return value

    def _one(self) -> Fraction:
        word = self._take()
        if word == "(":
            value = self._terms()
            self._take(")")
            return value
        if word in _TO_A_UNIT or word in _OF_MANY:
            return self._applied(word)
        if not word[0].isdigit():
            raise ValueError(f"a number was expected, not {word!r}")
        self.numbers.append(Fraction(word))
        return self.numbers[-1]

    def _applied(self, name: str) -> Fraction:
        self._take("(")
        values = [self._terms()]
        while self._peek() == ",":
            self._take()
            values.append(self._terms())
        self._take(")")
        if name in _TO_A_UNIT:
            return _TO_A_UNIT[name](values[0], _unit(values))
        if len(values) < 2:
            raise ValueError(f"{name} takes two values or more")
        return _OF_MANY[name](values)


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at, end)
        if found is None:
            raise ValueError(f"{text[at:end].strip()[:20]!r} is no arithmetic")
        tokens.append(found.group().strip())
        at = found.end()
    if sum(token[0].isdigit() for token in tokens) > MAX_NUMBERS:
        raise ValueError(f"a line of working has at most {MAX_NUMBERS} numbers")
    return tokens
