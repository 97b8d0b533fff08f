"""What a reading says, in the one unit of its quantity, rounded. Knows no programme and no wire.

% = 0.09148 × IFCC (mmol/mol) + 2.152 (the NGSP's master equation); mg/dL = 18.016 × mmol/L. A value
is converted exactly, rounded half-up to the places in which targets are written (0.1 %, 0.1 mmol/L,
1 mmHg), and only then compared with anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from functools import cache

import msgspec

from services.common.money import parse_decimal
from services.pricing.core.tariff import scaled, written

LOINC = "http://loinc.org"
# As many places as a hospital's information system may write; the value is rounded afterwards.
_PLACES = 18


class Quantity(StrEnum):
    """What is measured."""

    HBA1C = "hba1c"
    GLUCOSE = "glucose"
    SYSTOLIC = "systolic"
    DIASTOLIC = "diastolic"


class Provenance(StrEnum):
    """Who vouches for a reading."""

    LABORATORY = "LABORATORY"
    CLINIC = "CLINIC"
    DEVICE = "DEVICE"
    TYPED = "TYPED"

    @property
    def through_his(self) -> bool:
        """Whether it came through a hospital's information system."""
        return self in (Provenance.LABORATORY, Provenance.CLINIC)

    @property
    def rank(self) -> int:
        """0 is best; laboratory and clinic both came through the HIS and rank alike."""
        return 0 if self.through_his else 1 if self is Provenance.DEVICE else 2


class Fasting(StrEnum):
    """Whether the person had fasted, as the source says it."""

    UNKNOWN = "UNKNOWN"
    FASTING = "FASTING"
    NON_FASTING = "NON_FASTING"


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement as its source wrote it."""

    system: str
    code: str
    value: str
    unit: str
    fasting: Fasting
    provenance: Provenance
    withdrawn: bool = False  # the hospital took it back: it counts no more
    release: int = 0  # grows with each release by the hospital; 0: it counts none
    # Not said is not written: what was recorded before there were devices reads and compares alike.
    device: str | msgspec.UnsetType = msgspec.UNSET


class Measured(msgspec.Struct, frozen=True):
    """A measurement as it counts: `value` in steps of its quantity (7.2 % is 72)."""

    quantity: Quantity
    value: int
    fasting: bool


class ReadingFault(msgspec.Struct, frozen=True):
    """One fault of one field: a stable reason and what to do, never the value."""

    field: str
    reason: str
    text: str


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of one member, ready to be counted; both times carry a zone."""

    name: str
    measured: Measured
    provenance: Provenance
    effective: datetime
    received: datetime
    recorder: str  # who handed it in, as an opaque name
    device: str = ""  # what measured it, as an opaque id; "" where it is not known


class _Scale(msgspec.Struct, frozen=True):
    """Unit and places of a quantity, and the bounds beyond which a value is an error of entry.

    The bounds are what meters and laboratories can show at all, and what no living person leaves;
    a value in another unit than it says (126 as mmol/L, 7.0 as mg/dL) falls outside them.
    """

    unit: str
    places: int
    first: str
    last: str


_SCALES = {
    Quantity.HBA1C: _Scale("%", 1, "3.0", "20.0"),
    Quantity.GLUCOSE: _Scale("mmol/L", 1, "0.5", "50.0"),
    Quantity.SYSTOLIC: _Scale("mm[Hg]", 0, "40", "300"),
    Quantity.DIASTOLIC: _Scale("mm[Hg]", 0, "20", "200"),
}
_IFCC_SLOPE, _IFCC_OFFSET = Fraction("0.09148"), Fraction("2.152")
_MG_DL_PER_MMOL_L = Fraction("18.016")
# Nathan et al. 2008 (ADAG), in mmol/L; the same as 28.7 × HbA1c − 46.7 in mg/dL.
_EAG_SLOPE, _EAG_BELOW = Fraction("1.59"), Fraction("2.59")

Conversion = Callable[[Fraction], Fraction]


def _same(value: Fraction) -> Fraction:
    return value


def _from_ifcc(value: Fraction) -> Fraction:
    return _IFCC_SLOPE * value + _IFCC_OFFSET


def _from_mg_dl(value: Fraction) -> Fraction:
    return value / _MG_DL_PER_MMOL_L


class Code(msgspec.Struct, frozen=True):
    """What a LOINC code measures, and how each of its units becomes the quantity's."""

    quantity: Quantity
    fasting: bool  # the code itself says that the person had fasted
    units: Mapping[str, Conversion]


# UCUM spells the litre L and l; laboratories write both.
_GLUCOSE_UNITS: Mapping[str, Conversion] = {
    "mmol/L": _same,
    "mmol/l": _same,
    "mg/dL": _from_mg_dl,
    "mg/dl": _from_mg_dl,
}
CODES: Mapping[str, Code] = {
    "4548-4": Code(Quantity.HBA1C, False, {"%": _same}),
    "59261-8": Code(Quantity.HBA1C, False, {"mmol/mol": _from_ifcc}),
    "2339-0": Code(Quantity.GLUCOSE, False, _GLUCOSE_UNITS),
    "15074-8": Code(Quantity.GLUCOSE, False, _GLUCOSE_UNITS),
    "14771-0": Code(Quantity.GLUCOSE, True, _GLUCOSE_UNITS),
    "1558-6": Code(Quantity.GLUCOSE, True, _GLUCOSE_UNITS),
    "8480-6": Code(Quantity.SYSTOLIC, False, {"mm[Hg]": _same}),
    "8462-4": Code(Quantity.DIASTOLIC, False, {"mm[Hg]": _same}),
}


def glucose_of_hba1c(percent: Fraction) -> Fraction:
    """Estimated average glucose in mmol/L of an HbA1c in %.

    >>> glucose_of_hba1c(Fraction(7))
    Fraction(427, 50)
    """
    return _EAG_SLOPE * percent - _EAG_BELOW


def hba1c_of_glucose(mmol_l: Fraction) -> Fraction:
    """The HbA1c in % whose estimated average glucose this is."""
    return (mmol_l + _EAG_BELOW) / _EAG_SLOPE


def unit_of(quantity: Quantity) -> str:
    """The UCUM unit in which a quantity is compared."""
    return _SCALES[quantity].unit


def places_of(quantity: Quantity) -> int:
    """The decimal places to which a quantity is rounded before it is compared."""
    return _SCALES[quantity].places


def value_text(quantity: Quantity, value: int) -> str:
    """A value in steps as people write it.

    >>> value_text(Quantity.GLUCOSE, 39), value_text(Quantity.SYSTOLIC, 135)
    ('3.9', '135')
    """
    return written(value, places_of(quantity))


def measure(said: Written) -> Measured | list[ReadingFault]:
    """The quantity, its value in the one unit and rounded, and whether it counts as fasting.

    A glucose of unknown fasting status counts as non-fasting unless its code says fasting. Nothing
    is guessed: an unknown code or unit, a value that is no plain decimal or lies outside what can
    be measured is a fault, and all faults come at once.

    >>> measure(
    ...     Written(
    ...         system=LOINC,
    ...         code="59261-8",
    ...         value="53",
    ...         unit="mmol/mol",
    ...         fasting=Fasting.UNKNOWN,
    ...         provenance=Provenance.LABORATORY,
    ...     )
    ... )
    Measured(quantity=<Quantity.HBA1C: 'hba1c'>, value=70, fasting=False)
    """
    faults: list[ReadingFault] = []
    code = CODES.get(said.code) if said.system == LOINC else None
    if code is None:
        text = f"must be a LOINC code ({LOINC}) of a programme: {', '.join(CODES)}"
        faults.append(ReadingFault("code", "UNKNOWN_CODE", text))
    convert = code.units.get(said.unit) if code else None
    if code and convert is None:
        text = f"must be {' or '.join(code.units)} for this code"
        faults.append(ReadingFault("unit", "UNKNOWN_UNIT", text))
    if code and code.fasting and said.fasting is Fasting.NON_FASTING:
        text = "the code says fasting; use another code or leave the status out"
        faults.append(ReadingFault("fasting_status", "CONTRADICTS", text))
    value: int | None = None
    try:
        exact = Fraction(parse_decimal(said.value, places=_PLACES, what="the value"))
    except ValueError as refused:
        faults.append(ReadingFault("value", "BAD_DECIMAL", str(refused)))
    else:
        if code and convert:
            value = _rounded(convert(exact), code.quantity, faults)
    if faults or code is None or value is None:
        return faults
    fasting = code.fasting or said.fasting is Fasting.FASTING
    return Measured(code.quantity, value, code.quantity is Quantity.GLUCOSE and fasting)


@cache
def plausible_steps(quantity: Quantity) -> tuple[int, int]:
    """The least and the greatest plausible value, in steps of the quantity.

    >>> plausible_steps(Quantity.HBA1C)
    (30, 200)
    """
    scale = _SCALES[quantity]
    return scaled(scale.first, scale.places), scaled(scale.last, scale.places)


def is_plausible(quantity: Quantity, value: int) -> bool:
    """Whether a value in steps is one that a meter or laboratory can show of a living person."""
    least, most = plausible_steps(quantity)
    return least <= value <= most


def plausible_text(quantity: Quantity) -> str:
    """The bounds of what is plausible, with their unit.

    >>> plausible_text(Quantity.HBA1C)
    '3.0 to 20.0 %'
    """
    scale = _SCALES[quantity]
    return f"{scale.first} to {scale.last} {scale.unit}"


def _rounded(exact: Fraction, quantity: Quantity, faults: list[ReadingFault]) -> int | None:
    scale = _SCALES[quantity]
    value = half_up(exact, scale.places)
    if is_plausible(quantity, value):
        return value
    text = f"must lie in {plausible_text(quantity)}; check value and unit"
    faults.append(ReadingFault("value", "OUT_OF_BOUNDS", text))
    return None


def half_up(exact: Fraction, places: int = 0) -> int:
    """The nearest step of a quantity of so many places; a half goes up.

    >>> half_up(Fraction(139, 2)), half_up(Fraction(694, 10)), half_up(Fraction(694, 100), 1)
    (70, 69, 69)
    """
    steps: int = 10**places
    return (2 * exact.numerator * steps + exact.denominator) // (2 * exact.denominator)
