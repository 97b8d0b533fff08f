"""The social-insurance split (医保结算): what of each line its fund pays, and what the patient.

Of a line of class 甲 all counts; of class 乙 the patient pays a part first (先行自付); class 丙 is
the patient's alone. Of what counts in a stay the patient pays the first yuan (起付线), and of the
rest the fund pays a rate by house and kind of care. Rates are plausible, no city's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_UP, Decimal

from demo.hospital.codes import Service

HOSPITAL, CLINIC = "H99000100001", "H99000100002"

# The patient's first part of class 乙.
_FIRST_PART = {"consumable": Decimal("0.20")}
_FIRST_PART_ELSE = Decimal("0.10")
# What the fund pays of what is left, by house and care.
_RATES = {
    HOSPITAL: {
        "AMB": Decimal("0.50"),
        "ONLINE": Decimal("0.50"),
        "EMER": Decimal("0.60"),
        "REFILL": Decimal("0.70"),
        "IMP": Decimal("0.80"),
    },
    CLINIC: {
        "AMB": Decimal("0.65"),
        "REFILL": Decimal("0.80"),
        "IMP": Decimal("0.90"),
    },
}
# The patient's first yuan of a stay.
_FIRST_YUAN = {HOSPITAL: Decimal(900), CLINIC: Decimal(200)}
_FEN = Decimal("0.01")
_NOTHING = Decimal(0)


def fund_paid(
    lines: Iterable[tuple[Service, Decimal]], *, provider: str, care: str
) -> Iterator[Decimal]:
    """What the fund pays of each line (service, amount in yuan), in order, to the fen, half up.

    >>> from demo.hospital.codes import SERVICES
    >>> mr = SERVICES["002102000010000"]  # 乙, 620 yuan
    >>> list(fund_paid([(mr, Decimal("620.00"))], provider=HOSPITAL, care="AMB"))
    [Decimal('279.00')]
    """
    rate = _RATES[provider][care]
    first = _FIRST_YUAN[provider] if care == "IMP" else _NOTHING
    for service, net in lines:
        counts = counting(service, net)
        by_patient = min(first, counts)
        first -= by_patient
        yield ((counts - by_patient) * rate).quantize(_FEN, ROUND_HALF_UP)


def counting(service: Service, net: Decimal) -> Decimal:
    """What of a line counts for social insurance (纳入范围), after the patient's first part."""
    if service.list_class == "丙":
        return _NOTHING
    if service.list_class == "甲":
        return net
    part = _FIRST_PART.get(service.kind, _FIRST_PART_ELSE)
    return net - (net * part).quantize(_FEN, ROUND_HALF_UP)
