"""Quotes are kept once, sealed, for ever; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.common.access.tenant import Kind, Tenant
from services.common.database import Database, migrate
from services.common.sealing import CannotOpen, SubjectKeys
from services.pricing.core.features import read
from services.pricing.core.quote import Asked, Quote, Shadow, quoted
from services.pricing.core.rates import compile_rates
from services.pricing.core.tariff import canonical_bytes, tariff_from
from services.pricing.core.waterfall import price
from services.pricing.storage.erasure import Erasures
from services.pricing.storage.quotes import QuoteStore
from services.pricing.storage.readings import ReadingStore
from services.pricing.storage.registry import Act, Proposed, RegistryStore, Routing
from services.pricing.storage.tables import (
    APPEND_ONLY,
    StorageUnavailable,
    metadata,
)
from tests.schemas import with_tables
from tests.services.common.sealing.keys import MASTER, now_us, subject_keys
from tests.services.pricing.at_hand import DEMO, WOMAN_52, demo_rates
from tests.services.pricing.stores import health_stores
from tests.services.pricing.test_reading_storage import fill, fill_conduct

ANXIN = Tenant(Kind.INSURER, "anxin")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = with_tables(database_url, "services.pricing", threads=4)
    yield found
    found.close()


@pytest.fixture
def store(database: Database) -> QuoteStore:
    found = QuoteStore(database, subject_keys(database))
    rates = demo_rates()
    found.keep_tariff(rates.version, canonical_bytes(rates.tariff), 1)
    return found


def quote_of(number: int = 1, *, request_id: str = "r1", policy: str = "p1") -> Quote:
    values = read(demo_rates().tariff.features, WOMAN_52).values
    return quoted(
        Asked(policy_id=policy, tariff=DEMO, start_date="2026-12-01", features=WOMAN_52),
        demo_rates(),
        values,
        price(demo_rates(), values),
        quote_id=f"{number:032x}",
        request_id=request_id,
        created_us=1_790_000_000_000_000,
    )


def test_a_quote_comes_back_word_for_word(store: QuoteStore) -> None:
    made = store.add("anxin", quote_of())
    assert made == quote_of()
    assert store.by_request("r1") == made
    assert store.by_id(ANXIN, "p1", made.id) == made


def test_a_quote_is_found_under_its_own_policy_only(store: QuoteStore) -> None:
    made = store.add("anxin", quote_of())
    assert store.by_id(ANXIN, "p2", made.id) is None
    assert store.by_id(ANXIN, "p1", "0" * 32) is None
    assert store.by_request("r2") is None


def test_the_first_answer_to_a_request_stays(store: QuoteStore) -> None:
    first = store.add("anxin", quote_of(1))
    assert store.add("anxin", quote_of(2)) == first
    assert store.by_id(ANXIN, "p1", quote_of(2).id) is None
    assert store.add("anxin", quote_of(3, request_id="r3")) != first


@pytest.mark.both_databases
def test_calls_that_race_with_one_request_id_get_one_quote(
    store: QuoteStore, database: Database
) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: store.add("anxin", quote_of(n)), range(1, 25)))
    assert len({quote.id for quote in found}) == 1
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM quote")).scalar_one() == 1


def test_a_quote_is_priced_again_from_what_is_kept(store: QuoteStore) -> None:
    made = store.add("anxin", quote_of())
    content = store.tariff_content(made.tariff_version)
    assert content is not None
    rates = compile_rates(tariff_from(content))
    assert rates.version == made.tariff_version
    again = price(rates, made.values)
    assert again.premium_minor == made.premium_minor
    assert [(s.difference_e4, s.premium_e4) for s in again.steps] == [
        (s.difference_e4, s.premium_e4) for s in made.steps
    ]
    assert store.tariff_content("another") is None


def test_a_tariff_is_kept_once(store: QuoteStore) -> None:
    rates = demo_rates()
    store.keep_tariff(rates.version, b"something else", 2)
    assert store.tariff_content(rates.version) == canonical_bytes(rates.tariff)


def test_health_stands_in_no_column_in_clear(store: QuoteStore, database: Database) -> None:
    made = store.add("anxin", quote_of())
    with database.reading() as connection:
        row = connection.execute(text("SELECT * FROM quote")).one()
    kept = b"|".join(v if isinstance(v, bytes) else str(v).encode() for v in row)
    for word in (b"diabetes", b"hba1c", b'"7.2"', b"7.0-7.4"):
        assert word not in kept.replace(DEMO.encode(), b"")
    # The search finds what does stand in clear.
    assert made.id.encode() in kept
    assert str(made.premium_minor).encode() in kept


def test_sealed_facts_open_only_in_their_own_row(store: QuoteStore, database: Database) -> None:
    store.add("anxin", quote_of(1))
    store.add("anxin", quote_of(2, request_id="r2", policy="p2"))
    with database.writing() as connection:
        drop_triggers(connection, database)
        sealed = connection.execute(text("SELECT sealed FROM quote WHERE policy_id = 'p1'"))
        connection.execute(
            text("UPDATE quote SET sealed = :sealed WHERE policy_id = 'p2'"),
            {"sealed": sealed.scalar_one()},
        )
    assert store.by_request("r1") == quote_of(1)
    with pytest.raises(CannotOpen):
        store.by_request("r2")


def drop_triggers(connection: Any, database: Database) -> None:
    if database.is_sqlite:
        connection.execute(text("DROP TRIGGER quote_no_update"))
    else:
        connection.execute(text("ALTER TABLE quote DISABLE TRIGGER USER"))


@pytest.mark.both_databases
@pytest.mark.parametrize("statement", ["UPDATE {} SET at_us = 0", "DELETE FROM {}"])
def test_every_table_is_append_only(
    store: QuoteStore, database: Database, statement: str, subtests: pytest.Subtests
) -> None:
    version = demo_rates().version
    made = store.add("anxin", quote_of(), Shadow(DEMO, version, 1))
    store.keep_programme("p@sha256:0", b"{}", 1)
    keys = subject_keys(database)
    registry = RegistryStore(database)
    act = Act(actor="a", reason="r", request_id="1", fingerprint="f", at_us=1)
    registry.propose(
        "anxin",
        Proposed(
            version=version, tariff_id=DEMO, content=b"{}", evidence_sha256="e", evidence=b"{}"
        ),
        act,
    )
    registry.route(
        "anxin",
        Routing(
            tariff_id=DEMO,
            challenger=version,
            share_millionths=1,
            salt="s",
            shadow=True,
            actor="a",
            reason="r",
            at_us=1,
        ),
        act,
    )
    fill(ReadingStore(database, keys), Erasures(database, keys))
    fill_conduct(*health_stores(database, keys))
    for table in APPEND_ONLY:
        with (
            subtests.test(table),
            pytest.raises(DBAPIError, match="append-only"),
            database.writing() as connection,
        ):
            connection.execute(text(statement.format(table)))
    assert store.by_request("r1") == made


@pytest.mark.both_databases
def test_the_migrated_schema_is_the_one_the_code_means(database: Database) -> None:
    migrate(database, "services.pricing")  # a second start changes nothing
    with database.reading() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_a_database_that_does_not_answer_is_told_apart() -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/nowhere", threads=1)
    store = QuoteStore(away, SubjectKeys(MASTER, now_us=now_us))
    with pytest.raises(StorageUnavailable) as told:
        store.by_request("r1")
    assert "nobody" not in str(told.value)
    away.close()


def test_quotes_differ_in_what_was_asked() -> None:
    asked = quote_of().asked
    assert asked == msgspec.structs.replace(asked, features=dict(reversed(WOMAN_52.items())))
    assert asked != msgspec.structs.replace(asked, features={**WOMAN_52, "age": "52.0"})
    assert asked != msgspec.structs.replace(asked, start_date="2026-12-02")
