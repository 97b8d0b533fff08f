"""A bill's state is a fold over its events, in whatever order they arrived."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.his_bridge.core.bill import Bill, CareType, Coding, Line
from services.his_bridge.core.events import (
    BillEvent,
    BillStatus,
    EventKind,
    fold,
    kind_of_statement,
)

WHEN = datetime(2026, 3, 1, tzinfo=UTC)


def bill(*amounts: int) -> Bill:
    return Bill(
        bill_number="1",
        provider_id="H1",
        care_type=CareType.INPATIENT,
        member_token="k1.00",
        start=WHEN,
        end=WHEN,
        zone="Asia/Shanghai",
        currency="CNY",
        total=sum(amounts),
        lines=tuple(
            Line(
                number=number,
                code=Coding(system="s", code=str(amount)),
                quantity=Decimal(1),
                unit_price=Decimal(amount) / 100,
                billed=amount,
            )
            for number, amount in enumerate(amounts, start=1)
        ),
    )


def event(kind: EventKind, order: int, *amounts: int, reverses: str | None = None) -> BillEvent:
    return BillEvent(
        event_id=f"e{order}",
        kind=kind,
        order=(order, order),
        bill=bill(*amounts) if amounts else None,
        reverses=reverses,
    )


STORY = [
    event(EventKind.INTERIM, 1, 100),
    event(EventKind.INTERIM, 2, 100, 200),
    event(EventKind.FINAL, 3, 100, 200, 300),
    event(EventKind.LATE, 4, 50),
    event(EventKind.LATE, 5, 7),
    event(EventKind.REVERSAL, 6, reverses="e4"),
]


def total(*events: BillEvent) -> int | None:
    state = fold(events)
    return state.bill.total if state and state.bill else None


def test_a_stay_from_interim_to_a_late_charge_taken_back() -> None:
    assert fold([]) is None
    assert [total(*STORY[:n]) for n in range(1, 7)] == [100, 300, 600, 650, 657, 607]
    state = fold(STORY)
    assert state is not None
    assert state.status is BillStatus.FINAL
    assert state.bill is not None
    assert [line.number for line in state.bill.lines] == [1, 2, 3, 4]
    assert sum(line.billed for line in state.bill.lines) == state.bill.total


@given(st.permutations(STORY))
def test_the_order_of_arrival_does_not_matter(arrived: list[BillEvent]) -> None:
    assert fold(arrived) == fold(STORY)


def test_a_correction_states_everything_anew() -> None:
    assert total(*STORY, event(EventKind.CORRECTION, 7, 42)) == 42


def test_a_reversal_of_the_whole_leaves_nothing_until_it_is_stated_anew() -> None:
    gone = [*STORY, event(EventKind.REVERSAL, 7)]
    state = fold(gone)
    assert state is not None
    assert (state.status, state.bill) == (BillStatus.REVERSED, None)
    assert total(*gone, event(EventKind.CORRECTION, 8, 9)) == 9


def test_a_reversal_ahead_of_its_original_is_parked_and_then_counts() -> None:
    early = event(EventKind.REVERSAL, 2, reverses="e3")
    state = fold([event(EventKind.FINAL, 1, 100), early])
    assert state is not None
    assert state.parked == ("e2",)
    assert total(event(EventKind.FINAL, 1, 100), early) == 100
    late = event(EventKind.LATE, 3, 5)
    after = fold([event(EventKind.FINAL, 1, 100), early, late])
    assert after is not None
    assert after.parked == ()
    assert after.bill is not None
    assert after.bill.total == 100


def test_only_a_reversal_is_not_a_bill() -> None:
    state = fold([event(EventKind.REVERSAL, 1, reverses="e9")])
    assert state is not None
    assert (state.bill, state.parked) == (None, ("e1",))


def test_what_a_whole_statement_says() -> None:
    final = fold([event(EventKind.FINAL, 1, 100)])
    assert kind_of_statement(None, bill(100)) is EventKind.FINAL
    assert kind_of_statement(final, bill(100)) is None
    assert kind_of_statement(final, bill(101)) is EventKind.CORRECTION
    renamed = msgspec.structs.replace(bill(100), bill_number="2")
    assert kind_of_statement(final, renamed) is EventKind.CORRECTION
    interim = fold([event(EventKind.INTERIM, 1, 100)])
    assert kind_of_statement(interim, bill(100)) is EventKind.FINAL
    reversed_ = fold([event(EventKind.FINAL, 1, 100), event(EventKind.REVERSAL, 2)])
    assert kind_of_statement(reversed_, bill(100)) is EventKind.CORRECTION
