"""What one policy pays at its renewal: technical price, off-balance, collar, credit.

The collar holds the premium without credit within shares of the expiring one, both without
credit and for the same cover; the credit comes off afterwards, so that no collar ever eats a
credit. Technical and charged premiums are kept apart: only the first says what the risk costs.
"""

from __future__ import annotations

import msgspec

from services.pricing.core.arithmetic import (
    BILLION,
    MAX_COLUMN_E4,
    Whole,
    balanced,
    clipped,
    to_multiple,
)
from services.pricing.core.rates import ROUNDING, Label
from services.pricing.core.tariff import E4, MILLION, Basis, Collar, Tariff, written
from services.pricing.core.waterfall import Step, Waterfall

OFF_BALANCE, COLLAR = "off_balance", "collar"
# Of a book's renewal. Changes whenever the same inputs would give other files: unfinished work of
# before is not used, and no policy alone is renewed by a manifest of before.
BOOK_FORMAT = 4
NINE_PLACES = 9
_MILLIONTHS_AN_E4 = MILLION // E4
# The greatest expiring premium: nine times as much, the collar's most, still fits in a column.
MOST_EXPIRING_MINOR = MAX_COLUMN_E4 // E4 // 9


class BookFactor(msgspec.Struct, frozen=True):
    """The off-balance factor of a finished renewal of the book, and which renewal that was."""

    billionths: int
    source: str


class Expiring(msgspec.Struct, frozen=True, kw_only=True):
    """What a renewal was asked with, word for word, beside what every quote is asked with.

    `uncredited_minor` is the expiring premium without credit, rerated to the new cover.
    """

    last_date: str
    uncredited_minor: int
    currency: str
    factor: BookFactor | None = None
    collar: Collar | None = None


class Renewal(msgspec.Struct, frozen=True, kw_only=True):
    """What a renewal's premium without credit came of, and the tier that its readings earned."""

    technical_minor: int
    collar: Collar
    least_minor: int
    most_minor: int
    tier: str = ""


def collar_of(stated: Collar | None, tariff: Tariff) -> Collar | None:
    """The collar that holds: the one that was stated, else the tariff's own; None without any."""
    own = tariff.basis.collar if isinstance(tariff.basis, Basis) else None
    return own if stated is None else stated


def wider_than_own(stated: Collar | None, tariff: Tariff) -> bool:
    """Whether a stated collar goes beyond the tariff's own, which its approval rests on."""
    own = collar_of(None, tariff)
    return (
        own is not None
        and stated is not None
        and (
            stated.least_millionths < own.least_millionths
            or stated.greatest_millionths > own.greatest_millionths
        )
    )


def bounds_minor(expiring_minor: Whole, collar: Collar) -> tuple[Whole, Whole]:
    """Least and most premium without credit, in whole minor units inside the collar.

    >>> collar = Collar(least_millionths=850_000, greatest_millionths=1_250_000, source="")
    >>> bounds_minor(345_371, collar)
    (293566, 431713)
    """
    least = -(-expiring_minor * collar.least_millionths // MILLION)
    most = expiring_minor * collar.greatest_millionths // MILLION
    return least, most


def bounds_e4(expiring_minor: Whole, collar: Collar) -> tuple[Whole, Whole]:
    """Least and most premium without credit before it is rounded to the fen, inside the collar.

    The book is balanced between these: in whole fen its bounds would move the total of many small
    premiums by more than the millionth within which it must meet its target.

    >>> collar = Collar(least_millionths=850_000, greatest_millionths=1_250_000, source="")
    >>> bounds_e4(345_371, collar)
    (2935653500, 4317137500)
    """
    least = -(-expiring_minor * collar.least_millionths // _MILLIONTHS_AN_E4)
    most = expiring_minor * collar.greatest_millionths // _MILLIONTHS_AN_E4
    return least, most


def to_minor_inside(least_e4: Whole, most_e4: Whole) -> tuple[Whole, Whole]:
    """The bounds in whole minor units inside the collar: `bounds_minor` of `bounds_e4`.

    >>> to_minor_inside(2_935_653_500, 4_317_137_500)
    (293566, 431713)
    """
    return -(-least_e4 // E4), most_e4 // E4


def offered_e4(technical_e4: Whole, k_billionths: int, least_e4: Whole, most_e4: Whole) -> Whole:
    """clip(k·t, lo, hi): the renewal premium without credit, before it is rounded."""
    return clipped(balanced(technical_e4, k_billionths), least_e4, most_e4)


def uncredited_e4(offered: Whole, least_e4: Whole, most_e4: Whole, to_minor_units: int) -> Whole:
    """The offer rounded to the tariff's multiple, but never out of the collar by rounding."""
    least_minor, most_minor = to_minor_inside(least_e4, most_e4)
    return clipped(to_multiple(offered, to_minor_units), least_minor * E4, most_minor * E4)


def renewed(
    technical: Waterfall,
    k_billionths: int | None,
    bounds: tuple[int, int],
    to_minor_units: int,
) -> Waterfall:
    """The waterfall of the renewal premium without credit; `bounds` are `bounds_e4`.

    `technical` is `price`'s waterfall with the outcome layer at f(m0); its rounding, the last
    step, gives way to the off-balance, the collar and the rounding of the renewal. Without a book's
    factor (None) it is 1, and the step says so.
    """
    steps = list(technical.steps[:-1])
    gross = steps[-1].premium_e4
    least, most = bounds
    k = BILLION if k_billionths is None else k_billionths
    scaled = balanced(gross, k)
    offered = offered_e4(gross, k, least, most)
    charged = uncredited_e4(offered, least, most, to_minor_units)
    steps += [
        Step(_off_balance(k_billionths), scaled - gross, scaled),
        Step(_collar(scaled, offered), offered - scaled, offered),
        Step(ROUNDING, charged - offered, charged),
    ]
    return Waterfall(charged // E4, tuple(steps))


def _off_balance(k_billionths: int | None) -> Label:
    if k_billionths is None:
        zh, en = (
            "平衡因子 1：未给出整册续保的系数",
            "Off-balance factor 1: no book's factor was given",
        )
        return Label(OFF_BALANCE, "none given", 0, zh, en)
    said = written(k_billionths, NINE_PLACES).rstrip("0").rstrip(".")
    return Label(OFF_BALANCE, "", 0, f"平衡因子 {said}", f"Off-balance factor {said}")


def _collar(scaled: int, offered: int) -> Label:
    if offered > scaled:
        return Label(COLLAR, "least", 0, "升至涨跌幅下限", "Raised to the collar's lower end")
    if offered < scaled:
        return Label(COLLAR, "most", 0, "降至涨跌幅上限", "Lowered to the collar's upper end")
    return Label(COLLAR, "inside", 0, "在涨跌幅之内", "Inside the collar")
