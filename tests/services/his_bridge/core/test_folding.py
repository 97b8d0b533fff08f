"""The bill that its events make: cases of tests/cases/bills, and what must always hold."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.his_bridge.core.balance import rounded
from services.his_bridge.core.bill import Bill, Line
from services.his_bridge.core.events import BillEvent, EventKind
from services.his_bridge.core.folded_lines import numbers_given
from services.his_bridge.core.folding import BillStatus, FoldedBill, fold
from services.his_bridge.core.merges import Aliases, Merge, aliases_of
from tests.services.his_bridge.core.folding_cases import (
    CASES,
    ICD,
    bill_of,
    events_of,
    fen,
    merges_of,
)


def waits_in(folded: FoldedBill | None, aliases: Aliases) -> dict[str, str]:
    aside = folded.aside if folded else {}
    found = {record: str(faults[0].reason) for record, faults in aside.items()}
    return found | {record: str(reason) for record, reason in aliases.refused.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_case(case: Mapping[str, Any]) -> None:
    """In every order of arrival."""
    orders = list(itertools.permutations(case["records"]))
    for records in orders if len(orders) <= 120 else random.Random(1).sample(orders, 120):
        aliases = aliases_of(merges_of(records))
        folded = fold(events_of(records), aliases)
        assert waits_in(folded, aliases) == case.get("waits", {})
        check(folded, case["bill"])


@pytest.mark.parametrize("account", ["F", "A"])
@pytest.mark.parametrize(("taken_back_by", "status"), [("R", "REVERSED"), ("F", "FINAL")])
def test_a_row_that_another_took_back_stays_so_when_it_is_touched_again(
    account: str, taken_back_by: str, status: str
) -> None:
    """Be it the whole bill or a part. What took itself back (the control) counts again."""
    lines, more = {"lines": {"C1": "100.00"}}, {"account": account}
    records: list[dict[str, Any]] = [
        {"id": "F", "at": "09:00", "says": "FINAL", **lines, **more},
        {"id": taken_back_by, "version": 2, "at": "11:00", "says": "REVERSAL", "reverses": "F"}
        | more,
        {"id": "F", "version": 3, "at": "12:00", "says": "FINAL", **lines, **more},
    ]
    for arrived in itertools.permutations(records):
        folded = fold(events_of(arrived))
        assert folded is not None
        assert folded.status == status


def check(folded: FoldedBill | None, wanted: Mapping[str, Any]) -> None:
    assert folded is not None
    bill = folded.bill
    found: dict[str, Any] = {
        "status": str(folded.status),
        "blocked": folded.blocked,
        "total": f"{(bill.total if bill else 0) / 100:.2f}",
    }
    if bill is not None:
        code_of = {entry.number: entry.code.code for entry in bill.diagnoses}
        assert all(entry.code.system == ICD for entry in bill.diagnoses)
        social = bill.social_insurance
        found |= {
            "account": bill.bill_number.removeprefix("NO-"),
            "numbers": [line.number for line in bill.lines],
            "days": [bill.start.day, bill.end.day],
            "tier": bill.tier.lower() if bill.tier else None,
            "diagnoses": list(code_of.values()),
            "funds": f"{social.fund_paid / 100:.2f}" if social and social.fund_paid else None,
            "for": {
                line.line_id: [code_of[number] for number in line.diagnosis_numbers]
                for line in bill.lines
                if line.diagnosis_numbers
            },
        }
        assert bill.total == sum(line.billed for line in bill.lines)
    for name, value in wanted.items():
        if name == "lines":
            assert bill is not None
            assert {line.line_id: _amounts(line) for line in bill.lines} == {
                charge: _wanted(amounts) for charge, amounts in value.items()
            }
        else:
            assert found[name] == value, name
    assert folded.blocked is wanted.get("blocked", False)


def _amounts(line: Line) -> tuple[Decimal, int, int | None]:
    return line.quantity, line.billed, line.fund_paid


def _wanted(amounts: Any) -> tuple[Decimal, int, int | None]:
    quantity, amount, *fund = amounts if isinstance(amounts, list) else (1, amounts)
    return Decimal(quantity), fen(amount), fen(fund[0]) if fund else None


def test_every_fault_of_the_fold_has_a_case() -> None:
    shown = {reason for case in CASES for reason in case.get("waits", {}).values()}
    assert shown == {
        "ORIGINAL_NOT_THERE",
        "OVER_REVERSED",
        "REVERSAL_DOES_NOT_FIT",
        "LINES_DO_NOT_ADD_UP",
        "SOCIAL_INSURANCE_CONTRADICTS",
        "PATIENTS_DIFFER",
        "MERGE_CIRCULAR",
        "MERGED_BEFORE",
    }


# What must always hold.

KINDS = st.sampled_from(EventKind)
CHARGES = st.sampled_from(["C1", "C2", "C3"])
RECORDS = st.sampled_from(["R1", "R2", "R3", "R4", "R5"])
ACCOUNTS = st.sampled_from(["A", "A", "B"])


@st.composite
def events(draw: st.DrawFn) -> BillEvent:
    kind = draw(KINDS)
    lines = draw(st.dictionaries(CHARGES, st.integers(1, 3), max_size=2))
    back = draw(st.dictionaries(CHARGES, st.integers(1, 3), max_size=1))
    said: dict[str, Any] = {
        "id": draw(RECORDS),
        "account": draw(ACCOUNTS),
        "lines": {charge: [n, f"{n * 7}.00"] for charge, n in lines.items()},
        "back": {charge: [n, f"{n * 7}.00"] for charge, n in back.items()},
        "unnamed": draw(st.lists(st.sampled_from(["1.00", "2.00"]), max_size=1)),
    }
    if draw(st.booleans()):
        said["funds"] = draw(st.sampled_from(["1.00", "50.00"]))
    if draw(st.integers(0, 9)) == 0:
        said["patient"] = "wang"
    states = kind is not EventKind.REVERSAL and draw(st.integers(0, 5)) > 0
    return BillEvent(
        record=said["id"],
        account=said["account"],
        kind=kind,
        order=(draw(st.integers(0, 4)), str(draw(st.integers(1, 3)))),
        bill=bill_of(said) if states else None,
        reverses=draw(st.none() | RECORDS) if kind is EventKind.REVERSAL else None,
        stated_total=draw(st.none() | st.sampled_from([700, 1400, 2100])),
    )


MERGES = st.lists(
    st.builds(
        Merge,
        record=st.sampled_from(["M1", "M2", "M3"]),
        into=st.sampled_from(["A", "B", "C"]),
        out_of=st.sampled_from(["A", "B", "C"]),
        order=st.tuples(st.integers(0, 4), st.just("")),
    ),
    max_size=3,
    unique_by=lambda merge: merge.record,
)


def together(happened: Sequence[BillEvent], aliases: Aliases) -> dict[str, FoldedBill | None]:
    """By account that is left, what its events make."""
    groups: dict[str, list[BillEvent]] = {}
    for event in happened:
        groups.setdefault(aliases.survivor(event.account), []).append(event)
    return {account: fold(group, aliases) for account, group in groups.items()}


def distinct(happened: Sequence[BillEvent]) -> list[BillEvent]:
    """One event for each version of a record: the inbox takes no second."""
    return list({event.key: event for event in happened}.values())


@settings(max_examples=120, deadline=None)
@given(st.lists(events(), max_size=8), MERGES, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter_and_nothing_is_ever_negative(
    happened: list[BillEvent], merges: list[Merge], chance: random.Random
) -> None:
    happened = distinct(happened)
    aliases = aliases_of(merges)
    found = together(happened, aliases)
    arrived, told = [*happened, *happened[:3]], list(merges)  # some of them twice
    chance.shuffle(arrived)
    chance.shuffle(told)
    assert aliases_of(told) == aliases
    assert together(arrived, aliases) == found
    for folded in found.values():
        if folded is not None and folded.bill is not None:
            sane(folded.bill)
            assert (folded.status is not BillStatus.FINAL) or folded.bill.lines


@settings(max_examples=100, deadline=None)
@given(events())
def test_one_record_makes_the_same_bill_with_and_without_the_walk(event: BillEvent) -> None:
    """A merge of other accounts says nothing of this one, and has it walked all the same."""
    elsewhere = aliases_of([Merge(record="M", into="Y", out_of="Z", order=(0, ""))])
    assert fold([event]) == fold([event], elsewhere)


def sane(bill: Bill) -> None:
    assert bill.lines
    assert bill.total == sum(line.billed for line in bill.lines)
    assert len({line.number for line in bill.lines}) == len(bill.lines)
    assert bill.start <= bill.end
    known = {entry.number for entry in bill.diagnoses}
    for line in bill.lines:
        assert line.number > 0
        assert line.quantity > 0
        assert line.billed >= 0
        assert line.reverses_line == ""
        assert line.billed == rounded(line.quantity, line.unit_price, bill.currency)
        assert {*line.diagnosis_numbers} <= known


@settings(max_examples=100, deadline=None)
@given(st.lists(events(), min_size=1, max_size=8))
def test_a_line_once_released_keeps_its_number(happened: list[BillEvent]) -> None:
    given_: dict[str, int] = {}
    arrived: list[BillEvent] = []
    for event in distinct(happened):
        arrived.append(event)
        account = "A"
        mine = [one for one in arrived if one.account == account]
        folded = fold(mine, given=given_)
        if folded is None or folded.bill is None:
            continue
        now = numbers_given(folded.bill.lines)
        assert all(given_[charge] == number for charge, number in now.items() if charge in given_)
        assert not {n for c, n in now.items() if c not in given_} & {*given_.values()}
        given_ |= now
        plain = fold(mine)
        assert plain is not None
        assert plain.bill is not None
        assert plain.bill.total == folded.bill.total
        assert [bare(line) for line in plain.bill.lines] == [bare(n) for n in folded.bill.lines]


def bare(line: Line) -> Line:
    return msgspec.structs.replace(line, number=0, line_id="")


def test_a_statement_that_is_all_there_is_comes_out_as_it_is() -> None:
    """Bills of one record are what they always were, numbers and all."""
    said = {"id": "F", "unnamed": ["1.00", "2.00"], "diagnoses": ["E11.9"], "funds": "2.00"}
    stated = bill_of(said)
    assert stated is not None
    moved = msgspec.structs.replace(
        stated,
        end=stated.end + timedelta(days=3),
        lines=tuple(
            msgspec.structs.replace(line, number=line.number * 10) for line in stated.lines
        ),
    )
    event = BillEvent(record="F", account="F", kind=EventKind.FINAL, order=(0, "1"), bill=moved)
    assert fold([event]) == FoldedBill(status=BillStatus.FINAL, bill=moved)
    assert fold([]) is None
