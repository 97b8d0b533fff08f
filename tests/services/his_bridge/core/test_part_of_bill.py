"""What one of several records says of a bill, or every fault that holds it back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.intake import Held, part_of_bill
from services.his_bridge.core.parsed import (
    Concept,
    LocalCoding,
    ParsedBill,
    ParsedLine,
    ParsedSocialInsurance,
    Person,
)
from services.his_bridge.core.terms import LineAmount, LineWithoutNet
from tests.services.his_bridge.core.folding_cases import bill_of
from tests.services.his_bridge.records import TERMS, TOKEN, YIBAO

CODE = Concept(codings=(LocalCoding(system=YIBAO, code="1", display=""),), path="code")


def line(net: str | None, quantity: str = "1", **more: Any) -> ParsedLine:
    found = ParsedLine(
        path="lines[0]",
        number=1,
        concept=CODE,
        quantity=Decimal(quantity),
        unit_price=None,
        net=None if net is None else Decimal(net),
        states_amount=net is not None,
    )
    return msgspec.structs.replace(found, **more)


def parsed(*lines: ParsedLine, total: str | None = None, **more: Any) -> ParsedBill:
    like = bill_of({"id": "L", "lines": {"C1": "1.00"}})
    assert like is not None
    found = ParsedBill(
        bill_number="1",
        provider_id="H1",
        tier=None,
        care_type=like.care_type,
        start=like.start,
        end=like.end,
        diagnoses=(),
        lines=tuple(
            msgspec.structs.replace(one, number=n, path=f"lines[{n - 1}]")
            for n, one in enumerate(lines, start=1)
        ),
        total=None if total is None else Decimal(total),
        total_path="total",
        states_total=total is not None,
        person=Person(identity=None),
        social_insurance=None,
        faults=(),
    )
    return msgspec.structs.replace(found, **more)


def faults_of(said: ParsedBill, terms: Any = TERMS) -> tuple[tuple[Reason, str], ...]:
    with pytest.raises(Held) as caught:
        part_of_bill(said, TOKEN, terms)
    return tuple((fault.reason, fault.path) for fault in caught.value.faults)


def test_a_late_record_needs_no_total_and_its_bill_is_the_sum_of_its_lines() -> None:
    bill, stated = part_of_bill(parsed(line("2.00"), line("3.00")), TOKEN, TERMS)
    assert (bill.total, [one.billed for one in bill.lines], stated) == (500, [200, 300], None)


def test_a_total_that_it_states_is_that_of_its_lines() -> None:
    bill, stated = part_of_bill(parsed(line("2.00"), total="2.00"), TOKEN, TERMS)
    assert (bill.total, stated) == (200, 200)
    assert faults_of(parsed(line("2.00"), total="2.01")) == ((Reason.LINES_DO_NOT_ADD_UP, "total"),)


def test_without_lines_the_total_is_the_whole_bills() -> None:
    bill, stated = part_of_bill(parsed(total="9.00"), TOKEN, TERMS)
    assert (bill.lines, bill.total, stated) == ((), 0, 900)


def test_a_refund_names_its_charges() -> None:
    back = line("-4.00", "-2", line_id="b1", reverses_line="c1", fund_paid=Decimal("-1.00"))
    social = ParsedSocialInsurance(used=True)
    bill, _ = part_of_bill(parsed(back, social_insurance=social), TOKEN, TERMS)
    (one,) = bill.lines
    assert (one.quantity, one.unit_price) == (Decimal(-2), Decimal(2))
    assert (one.billed, one.fund_paid) == (-400, -100)
    assert (one.line_id, one.reverses_line) == ("b1", "c1")
    assert bill.social_insurance is not None
    assert bill.social_insurance.fund_paid == -100


def test_a_refund_without_lines_is_no_part_of_any_bill() -> None:
    assert faults_of(parsed(total="-4.00")) == ((Reason.REFUND_WITHOUT_LINES, "total"),)


def test_every_fault_of_what_takes_back_comes_at_once() -> None:
    named = {"reverses_line": "c1"}
    said = parsed(
        line("-4.00", "-2"),
        line("4.00", "2", **named),
        line("4.00", "-2", **named),
        line("-4.00", "-2", fund_paid=Decimal("-5.00"), **named),
        line("1.00", line_id="x"),
        line("1.00", line_id="x"),
        social_insurance=ParsedSocialInsurance(used=True),
    )
    assert faults_of(said) == (
        (Reason.NUMBER_REPEATED, "lines[5].line_id"),
        (Reason.QUANTITY_NOT_POSITIVE, "lines[0].quantity"),
        (Reason.FUND_PAID_DOES_NOT_ADD_UP, "lines[3].extension"),
        (Reason.REVERSAL_DOES_NOT_FIT, "lines[1]"),
        (Reason.REVERSAL_DOES_NOT_FIT, "lines[2]"),
    )


def test_without_a_total_there_is_no_rest_for_a_line_to_take() -> None:
    takes_rest = msgspec.structs.replace(
        TERMS, line_without_net=LineWithoutNet(first=LineAmount.REMAINDER)
    )
    bill, _ = part_of_bill(parsed(line(None), total="3.00"), TOKEN, takes_rest)
    assert bill.total == 300
    assert faults_of(parsed(line(None)), takes_rest) == ((Reason.LINE_WITHOUT_AMOUNT, "lines[0]"),)


def test_the_dialects_own_faults_come_with_the_others() -> None:
    own = Fault(reason=Reason.TIME_MISSING, path="start")
    said = parsed(total="-4.00", faults=(own,))
    assert faults_of(said) == (
        (Reason.TIME_MISSING, "start"),
        (Reason.REFUND_WITHOUT_LINES, "total"),
    )
