"""More records wait than one statement takes parameters, and all are freed; both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Table, Text, cast, func, insert, literal, select
from sqlalchemy.exc import OperationalError

from services.common.database import Database
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.mapping import Side, StoredMap, Unmapped
from services.his_bridge.core.outcomes import SetAside
from services.his_bridge.storage import code_maps, holding, replays
from services.his_bridge.storage.inbox import PENDING
from services.his_bridge.storage.operation_tables import replay, unmapped_code
from services.his_bridge.storage.portions import AT_ONCE, portions
from services.his_bridge.storage.tables import held_record, inbox, quarantine
from tests.services.common.sealing.keys import sealer, subject_keys
from tests.services.his_bridge.storage.hospital import NOW, Hospital, final

# PostgreSQL takes 65,535 parameters, SQLite 32,766.
MANY = {"postgresql": 66_000, "sqlite": 33_000}
LOCAL, CODE = "urn:local", "A1"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, threads=2)
    subject_keys(found)
    yield found
    found.close()


def multiply(connection: Connection, table: Table, **numbered: Any) -> None:
    """The only row of a table, very often; what differs is given by number, from 2."""
    start = select(literal(2).label("n")).cte("numbers", recursive=True)
    numbers = start.union_all(select(start.c.n + 1).where(start.c.n <= many(connection)))
    columns = [numbered.get(column.name, lambda _, c=column: c)(numbers.c.n) for column in table.c]
    rows = select(*columns).select_from(table).join(numbers, literal(1) == 1)
    connection.execute(insert(table).from_select([c.name for c in table.c], rows))


def many(connection: Connection) -> int:
    return MANY[connection.dialect.name]


def named(number: Any) -> Any:
    return cast(number, Text)


def count(connection: Connection, table: Table, *where: Any) -> int:
    return int(
        connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()
    )


def test_all_that_wait_for_one_code_are_resumed_by_a_map(database: Database) -> None:
    hospital = Hospital(database)
    pending = hospital.keep(final("F", "09:00", {"C1": "1.00"}))
    assert pending is not None
    aside = SetAside(
        faults=(Fault(reason=Reason.BRIDGE_FAILED, path=""),),
        unmapped=(Unmapped(side=Side.SERVICES, system=LOCAL, code=CODE, amount=100),),
    )
    hospital.settle((pending, aside))
    with database.writing() as connection:
        first = pending.inbox_id
        multiply(connection, inbox, id=lambda n: first + n - 1, external_index=named)
        multiply(connection, unmapped_code, inbox_id=lambda n: first + n - 1)
        multiply(
            connection,
            quarantine,
            name=named,
            seq=lambda n: quarantine.c.seq + n - 1,
            inbox_id=lambda n: first + n - 1,
        )
    table = StoredMap(side=Side.SERVICES, from_system=LOCAL, to_system="urn:x", codes={CODE: "S1"})
    with database.writing() as connection:
        key = sealer(connection)
        done = code_maps.load(connection, key, hospital.name, "r", "1", table, now_us=NOW)
        assert done.resumed == many(connection) + 1
        assert count(connection, inbox, inbox.c.state == PENDING) == many(connection) + 1
        assert count(connection, replay) == many(connection) + 1
        assert replays.waiting_names(connection, hospital.name, None, 10) == []


def test_all_that_are_held_are_let_go(database: Database) -> None:
    hospital = Hospital(database)
    hospital.arrive(final("F", "09:00", {"C1": "1.00"}))
    first = hospital.pending["F", "1"].inbox_id
    with database.writing() as connection:
        multiply(connection, inbox, id=lambda n: first + n - 1, external_index=named)
        multiply(connection, held_record, inbox_id=lambda n: first + n - 1)
    with database.writing() as connection:
        everything = range(first, first + many(connection) + 1)
        assert count(connection, held_record) == len(everything)
        holding.let_go(connection, everything)
        assert count(connection, held_record) == 0
        assert count(connection, inbox, inbox.c.state == holding.HELD) == 0


def test_the_control_that_asks_for_all_at_once_is_refused(postgres_database: str) -> None:
    database = Database(postgres_database, threads=2)
    with database.reading() as connection, pytest.raises(OperationalError):
        connection.execute(select(inbox.c.id).where(inbox.c.id.in_(range(many(connection)))))
    database.close()


def test_portions_are_all_there_in_order() -> None:
    assert list(portions(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(portions([])) == []
    assert AT_ONCE * 2 < 32_766  # a statement may name a list twice, and some values more
