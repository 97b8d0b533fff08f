"""Canonical bytes and hashes: the same content gives the same bytes, other content others."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import msgspec
import pytest

from services.claims.core.adjudicate import adjudicate
from services.claims.core.canonical import (
    Inputs,
    decision_bytes,
    decision_from,
    input_hash,
    inputs_bytes,
    inputs_from,
    output_hash,
    plan_bytes,
    plan_from,
    plan_version,
)
from services.claims.core.decision import Decision
from services.claims.core.facts import (
    Balance,
    Coding,
    EarlierService,
    PriorPayments,
    Scope,
    UsageSnapshot,
    plain_decimal,
    usage_snapshot,
)
from tests.services.claims.core.bills import DAY, YIBAO, bill, line, plan_named, policy

USED = Balance(
    accumulator="member-deductible",
    scope=Scope.MEMBER,
    period_start=date(2025, 1, 1),
    amount=5_000_000,
)
SHARED = Balance(accumulator="family-ceiling", scope=Scope.FAMILY, period_start=date(2025, 1, 1))


def _inputs(quantity: str = "2", usage: UsageSnapshot | None = None) -> Inputs:
    return Inputs(
        plan_version="every-term@sha256:0",
        policy=policy(),
        usage=usage or UsageSnapshot(),
        bill=bill(line(quantity=quantity)),
        prior=PriorPayments(),
    )


def _decision() -> Decision:
    return adjudicate(plan_named("every-term"), policy(), UsageSnapshot(), bill())


def test_the_way_a_number_is_written_moves_no_hash() -> None:
    assert input_hash(_inputs("2")) == input_hash(_inputs("2.000"))
    assert input_hash(_inputs("2")) != input_hash(_inputs("2.001"))


@pytest.mark.parametrize(
    ("written", "plain"),
    [("2.50", "2.5"), ("1E+2", "100"), ("0.000", "0"), ("12.345600", "12.3456")],
)
def test_a_number_has_one_form(written: str, plain: str) -> None:
    assert str(plain_decimal(Decimal(written))) == plain


def test_the_order_of_rows_in_storage_moves_no_hash() -> None:
    services = [
        EarlierService(
            bill_number=number,
            provider_id="CLINIC",
            code=Coding(system=YIBAO, code="V1"),
            service_date=DAY,
            quantity=Decimal(1),
            unit_price=Decimal(1),
        )
        for number in ("A", "B")
    ]
    one = usage_snapshot([USED, SHARED], services)
    other = usage_snapshot([SHARED, USED], reversed(services))
    assert input_hash(_inputs(usage=one)) == input_hash(_inputs(usage=other))


def test_two_balances_for_one_accumulator_are_refused() -> None:
    with pytest.raises(ValueError, match="member-deductible"):
        usage_snapshot([USED, USED])


def test_inputs_read_back_and_unknown_fields_are_refused() -> None:
    stored = inputs_bytes(_inputs())
    assert inputs_from(stored) == _inputs()
    with pytest.raises(msgspec.ValidationError):
        inputs_from(stored.replace(b'"bill":{', b'"bill":{"mood":"good",'))


def test_defaults_leave_no_trace_so_that_later_fields_move_no_old_hash() -> None:
    assert b"price_list" not in inputs_bytes(_inputs())
    assert b"null" not in inputs_bytes(_inputs())


def test_a_decision_reads_back_with_its_hash() -> None:
    decision = _decision()
    read = decision_from(decision_bytes(decision))
    assert read == decision
    assert output_hash(read) == decision.output_hash


def test_the_output_hash_covers_every_fen_and_every_word() -> None:
    decision = _decision()
    changed = [
        msgspec.structs.replace(decision, benefit=decision.benefit + 1),
        msgspec.structs.replace(decision, category="other"),
        msgspec.structs.replace(decision, usage_changes=()),
        msgspec.structs.replace(
            decision,
            lines=(msgspec.structs.replace(decision.lines[0], section="inpatient"),),
        ),
    ]
    assert decision.output_hash not in {output_hash(one) for one in changed}


def test_the_output_hash_does_not_cover_who_decided_from_what() -> None:
    decision = msgspec.structs.replace(
        _decision(), engine_version="0", plan_version="", input_hash="", output_hash=""
    )
    assert output_hash(decision) == _decision().output_hash


@pytest.mark.parametrize(
    "name", ["every-term", "every-edit", "million-medical", "chronic-diabetes", "synthea-usd"]
)
def test_a_plan_reads_back_and_keeps_its_name(name: str) -> None:
    plan = plan_named(name)
    read = plan_from(plan_bytes(plan))
    assert read == plan
    assert plan_bytes(read) == plan_bytes(plan)
    assert plan_version(read) == plan_version(plan)
    assert plan_version(plan).startswith(f"{name}@sha256:")
    assert len(plan_version(plan)) == len(name) + len("@sha256:") + 64
