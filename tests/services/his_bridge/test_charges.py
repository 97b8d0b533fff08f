"""Invoices and single charges of a real FHIR server, all the way to what is released."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, select

from services.common.database import Database
from services.his_bridge.core.faults import Reason
from services.his_bridge.core.reconciliation import DayTotals
from services.his_bridge.intake import PullReport
from services.his_bridge.profiles.loader import parse_profile
from services.his_bridge.sources.port import Source, SourceFault
from services.his_bridge.storage.tables import bill_event, quarantine, released_bill
from services.his_bridge.wiring import Hospital, hospital_of
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import INSURER, all_of, record
from tests.services.his_bridge.dialects.charged import account, charge, everything, invoice
from tests.services.his_bridge.fhir_server import FhirServer, fhir_server
from tests.services.his_bridge.records import BASE_URL, PROFILE, TOKEN, money, tokens

R = TypeVar("R")
HOSPITAL, FAR = "demo-hospital", 1 << 62


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FhirServer]:
    with fhir_server(tmp_path / "server") as found:
        resources = everything()
        found.put(resources[kind] for kind in resources if kind not in ("Invoice", "ChargeItem"))
        yield found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = with_tables(f"sqlite:///{tmp_path / 'test.db'}", "services.his_bridge")
    record(found, HOSPITAL, all_of(TOKEN), now_us=0)
    yield found
    found.close()


def with_hospital(
    server: FhirServer,
    database: Database,
    bills_from: str,
    work: Callable[[Hospital], Awaitable[R]],
) -> R:
    text = PROFILE.replace(BASE_URL, server.base_url)
    profile = parse_profile(f"{text}fhir_r4: {{bills_from: {bills_from}}}\n", "test")

    async def run() -> R:
        keys = subject_keys(database)
        hospital = hospital_of(profile, database, keys, tokens, lambda: 1, INSURER)
        try:
            return await work(hospital)
        finally:
            assert hospital.source is not None
            await hospital.source.close()

    return asyncio.run(run())


def pull(server: FhirServer, database: Database, bills_from: str) -> PullReport:
    return with_hospital(server, database, bills_from, lambda h: h.bills.pull(10_000, FAR))


def released(database: Database) -> list[tuple[str, int]]:
    """Kind and total of what was released, in order."""
    with database.reading() as connection:
        rows = connection.execute(
            select(released_bill.c.kind, released_bill.c.total_minor).order_by(released_bill.c.seq)
        )
        return [(row.kind, row.total_minor) for row in rows]


def events(database: Database) -> int:
    with database.reading() as connection:
        query = select(func.count()).select_from(bill_event)
        return int(connection.execute(query).scalar_one())


def source_of(hospital: Hospital) -> Source:
    assert hospital.source is not None
    return hospital.source


def test_an_invoice_is_released_taken_back_and_agrees_with_the_books(
    server: FhirServer, database: Database
) -> None:
    server.put([charge(), invoice()])
    report = pull(server, database, "invoice")
    assert (report.released, report.quarantined) == (1, 0)
    assert released(database) == [("FINAL", 8300)]
    day = date(2026, 3, 1)
    found = with_hospital(server, database, "invoice", lambda h: source_of(h).reconcile(day, day))
    assert found == {day: DayTotals(bills={"Invoice/n1": 8300})}
    server.put([{**invoice(), "status": "balanced"}])
    assert pull(server, database, "invoice").released == 0
    server.put([{**invoice(), "status": "cancelled"}])
    assert pull(server, database, "invoice").released == 1
    assert released(database)[-1] == ("REVERSAL", 8300)
    before = events(database)
    assert pull(server, database, "invoice").received == 0
    assert events(database) == before


def test_an_invoice_that_is_a_draft_again_is_a_bill_no_more(
    server: FhirServer, database: Database
) -> None:
    server.put([charge(), {**invoice(), "status": "draft"}])
    assert pull(server, database, "invoice").received == 0  # nothing of ours yet
    server.put([invoice()])
    pull(server, database, "invoice")
    server.put([{**invoice(), "status": "draft"}])
    pull(server, database, "invoice")
    assert released(database) == [("FINAL", 8300), ("REVERSAL", 8300)]
    server.put([invoice()])
    pull(server, database, "invoice")
    assert released(database)[-1] == ("CORRECTION", 8300)


def test_charges_become_the_bill_of_their_account(server: FhirServer, database: Database) -> None:
    def step(*resources: dict[str, Any]) -> PullReport:
        server.put(resources)
        return pull(server, database, "charge_item")

    first = step(charge("i1"), {**charge("i2"), "priceOverride": money(12)})
    assert (first.received, first.quarantined) == (2, 0)
    closed = step({**account(), "status": "inactive"})
    assert closed.quarantined == 0
    assert released(database)[-1] == ("FINAL", 4200)
    # A late charge, one that was wrong, and one that costs something else after all.
    step({**charge("i3"), "priceOverride": money(5)})
    assert released(database)[-1][1] == 4700
    step({**charge("i2"), "status": "entered-in-error"})
    assert released(database)[-1][1] == 3500
    step({**charge("i1"), "priceOverride": money(60)})
    assert released(database)[-1][1] == 6500
    before, known = events(database), released(database)
    assert step().received == 0
    assert (events(database), released(database)) == (before, known)


def test_books_that_show_no_bills_cannot_be_compared(
    server: FhirServer, database: Database
) -> None:
    day = date(2026, 3, 1)
    with pytest.raises(SourceFault) as caught:
        with_hospital(server, database, "charge_item", lambda h: source_of(h).reconcile(day, day))
    assert caught.value.reason == "SOURCE_CANNOT_RECONCILE"


def test_a_charge_that_points_at_nothing_waits(server: FhirServer, database: Database) -> None:
    server.put([{**charge(), "context": {"reference": "Encounter/none"}}])
    assert pull(server, database, "charge_item").quarantined == 1
    with database.reading() as connection:
        faults = connection.execute(select(quarantine.c.faults)).scalar_one()
    assert str(Reason.REFERENCE_NOT_FOUND).encode() in faults
