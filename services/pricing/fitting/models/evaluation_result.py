"""What an evaluation found, as immutable data: the file evaluate/evaluation.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

FOLDER, FILE = "evaluate", "evaluation.json"
Measure = Literal["claims", "amount"]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A ratio of rates with its interval of 95 % and the p-value of 1, clustered by person."""

    ratio: float
    low95: float
    high95: float
    log_error: float
    p: float


class Naive(msgspec.Struct, frozen=True, kw_only=True):
    """A plain ratio of rates with the interval that Poisson claims, and why it is wrong."""

    name: str
    ratio: float
    low95: float
    high95: float
    wrong: str


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One cause, its number of claims or their trended and capped amount.

    `enrolled` is the ratio that the programme makes; `before` that of the months before joining to
    the months before them, which is 1 unless claims or worsening lead to joining. The numbers of
    claims are of those who join.
    """

    cause: str
    measure: Measure
    control: bool
    claims_before: int
    claims_enrolled: int
    enrolled: Ratio
    before: Ratio
    naive: tuple[Naive, ...]


class Since(msgspec.Struct, frozen=True, kw_only=True):
    """The ratio of one span of months since joining, both inside, to all before the first span."""

    cause: str
    first_month: int
    last_month: int
    ratio: Ratio


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One test of what the estimate rests on: a control's effect, or the months before joining.

    `sees` is the ratio (above 1) that it would have found four times of five.
    """

    name: Literal["control", "before"]
    cause: str
    passed: bool
    p: float
    sees: float
    zh: str
    en: str


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The file: effects, what they rest on, and whether they are to be believed."""

    format: int
    synthetic: bool
    joiners: int
    others: int
    years_before: float
    years_enrolled: float
    left_out: Mapping[str, int]
    effects: tuple[Effect, ...]
    since: tuple[Since, ...]
    checks: tuple[Check, ...]
    believed: bool


def evaluation_bytes(found: Evaluation) -> bytes:
    """The one JSON form: the same study and settings give the same bytes."""
    return msgspec.json.format(msgspec.json.encode(found, order="sorted")) + b"\n"
