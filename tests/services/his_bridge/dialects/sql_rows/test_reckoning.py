"""What rows leave of a bill is the same by both ways to it: the fold's, and the comparison's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from services.his_bridge.core.events import EventKind
from services.his_bridge.core.folding import fold
from services.his_bridge.core.row_terms import RowStatus
from services.his_bridge.dialects.sql_rows.reckoning import Stated, reckoned
from tests.services.his_bridge.core.folding_cases import event_of

STATUSES = {
    "FINAL": RowStatus.FINAL,
    "LATE": RowStatus.LATE,
    "REVERSAL": RowStatus.REVERSED,
}
BILL = {"id": "A", "at": "09:00", "says": "FINAL", "lines": {"C1": "50.00"}}
MORE = {"id": "B", "at": "10:00", "says": "LATE", "reverses": "A", "lines": {"C2": "7.00"}}
MORE_YET = {"id": "C", "at": "08:00", "says": "LATE", "reverses": "B", "lines": {"C3": "2.00"}}
ALL = {"id": "D", "at": "11:00", "says": "REVERSAL"}


@pytest.mark.parametrize(
    ("rows", "total"),
    [
        ([BILL, MORE, MORE_YET], 5_900),
        ([BILL | {"at": "12:00"}, MORE, MORE_YET], 5_900),
        ([BILL, MORE, ALL], 0),
        ([MORE, ALL | {"id": "A"}], 0),  # what it names took back everything before itself
        ([BILL | {"at": "12:00"}, MORE, ALL], 5_000),
        ([BILL, ALL | {"reverses": "A"}], 0),
    ],
)
def test_both_ways_lead_to_one_total(rows: list[Mapping[str, Any]], total: int) -> None:
    events = [event_of(said) for said in rows]
    folded = fold(events)
    assert folded is not None
    assert not folded.aside
    made = reckoned(
        [
            Stated(
                record=event.record,
                bill=event.account,
                status=STATUSES[EventKind(event.kind)],
                day=date(2026, 3, 1),
                total=None,
                names=event.reverses,
                lines=event.bill.total if event.bill else None,
                at_us=event.order[0],
            )
            for event in events
        ]
    )
    assert (folded.bill.total if folded.bill else 0, made[1] if made else 0) == (total, total)
