"""Reads tests/cases/bills/*.yaml: what a hospital's records say, into events and merges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from services.common.money import minor_units
from services.common.strict_yaml import load
from services.his_bridge.core.bill import (
    Bill,
    CareType,
    Coding,
    Diagnosis,
    Line,
    SocialInsurance,
    Tier,
)
from services.his_bridge.core.events import BillEvent, EventKind
from services.his_bridge.core.merges import Merge, Order
from services.his_bridge.core.outcomes import BillHappened, Merged, MergeLevel

FILE = Path(__file__).parents[3] / "cases" / "bills" / "folding.yaml"
CASES: list[Mapping[str, Any]] = load(FILE.read_bytes(), FILE.name)["cases"]
TOKENS = {"li": "k1." + "a" * 64, "wang": "k1." + "b" * 64}
ICD = "http://hl7.org/fhir/sid/icd-10"


def fen(amount: str) -> int:
    """Minor units."""
    return minor_units(Decimal(amount), "CNY")


def order_of(said: Mapping[str, Any]) -> Order:
    hours, minutes = str(said["at"]).split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000_000, str(said.get("version", 1))


def events_of(records: Sequence[Mapping[str, Any]]) -> list[BillEvent]:
    return [event_of(said) for said in records if "merge" not in said]


def merges_of(records: Sequence[Mapping[str, Any]]) -> list[Merge]:
    return [
        Merge(
            record=said["id"],
            into=said["merge"]["into"],
            out_of=said["merge"]["out-of"],
            order=order_of(said),
        )
        for said in records
        if "merge" in said
    ]


def event_of(said: Mapping[str, Any]) -> BillEvent:
    return BillEvent(
        record=said["id"],
        account=said.get("account", "A"),
        kind=EventKind(said["says"]),
        order=order_of(said),
        bill=bill_of(said),
        reverses=said.get("reverses"),
        stated_total=fen(said["total"]) if "total" in said else None,
    )


def outcome_of(said: Mapping[str, Any]) -> BillHappened | Merged:
    """What a dialect makes of the record."""
    if "merge" in said:
        merge = said["merge"]
        return Merged(level=MergeLevel.ACCOUNT, into=merge["into"], out_of=merge["out-of"])
    event = event_of(said)
    return BillHappened(
        bill_id=event.account,
        kind=event.kind,
        bill=event.bill,
        reverses=event.reverses,
        stated_total=event.stated_total,
    )


def bill_of(said: Mapping[str, Any]) -> Bill | None:
    """What a record states of its bill; None when it states no more than what it is."""
    if not {"lines", "back", "unnamed", "head"} & said.keys():
        return None
    first, last = said.get("days", (1, 1))
    diagnoses = said.get("diagnoses", ())
    lines = tuple(lines_of(said))
    funds = said.get("funds")
    by_line = [line.fund_paid for line in lines if line.fund_paid is not None]
    paid = fen(funds) if funds else sum(by_line) if by_line else None
    return Bill(
        bill_number=said.get("number", f"NO-{said.get('account', 'A')}"),
        provider_id="H1",
        care_type=CareType.INPATIENT,
        member_token=TOKENS[said.get("patient", "li")],
        start=datetime(2026, 3, first, 1, tzinfo=UTC),
        end=datetime(2026, 3, last, 2, tzinfo=UTC),
        zone="Asia/Shanghai",
        currency="CNY",
        total=sum(line.billed for line in lines),
        lines=lines,
        diagnoses=tuple(
            Diagnosis(number=n, code=Coding(system=ICD, code=code), principal=n == 1)
            for n, code in enumerate(diagnoses, start=1)
        ),
        tier=Tier(said["tier"].upper()) if "tier" in said else None,
        social_insurance=None if paid is None else SocialInsurance(used=True, fund_paid=paid),
    )


def lines_of(said: Mapping[str, Any]) -> Iterator[Line]:
    numbers = iter(range(1, 100))
    for charge, amounts in said.get("lines", {}).items():
        yield line(next(numbers), amounts, charge=charge, of=said)
    for charge, amounts in said.get("back", {}).items():
        yield line(next(numbers), amounts, back=charge, of=said)
    for amount in said.get("unnamed", ()):
        yield line(next(numbers), amount, of=said)


def line(
    number: int, amounts: Any, *, of: Mapping[str, Any], charge: str = "", back: str = ""
) -> Line:
    quantity, amount, *fund = amounts if isinstance(amounts, list) else (1, amounts)
    sign = -1 if back else 1
    codes = list(of.get("diagnoses", ()))
    return Line(
        number=number,
        code=Coding(system="s", code=charge or back or "X"),
        quantity=Decimal(quantity) * sign,
        unit_price=(Decimal(amount) / quantity).quantize(Decimal("0.000001")),
        billed=fen(amount) * sign,
        fund_paid=fen(fund[0]) * sign if fund else None,
        line_id=charge or (f"back-{of['id']}-{number}" if back else ""),
        reverses_line=back,
        diagnosis_numbers=tuple(codes.index(c) + 1 for c in of.get("for", {}).get(charge, ())),
    )
