"""Erasing a member destroys their key: what was sealed is gone, what was counted stays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from sqlalchemy import text

from lipei.pricing.v1 import pricing_pb2 as pb
from services.common.access.caller import calling_as
from services.common.database import Database
from services.common.grpc_edge import Refused
from services.common.sealing import Erased, SubjectKeys
from services.common.sealing.erasures import OtherErasure
from services.common.sealing.key_sources import written
from services.common.sealing.master import KeySet
from services.pricing.core.book import Book
from services.pricing.core.quote import Participation, Quote
from services.pricing.core.tariff import canonical_bytes
from services.pricing.judging import Shelf
from services.pricing.servicer import PricingServicer, Stores
from services.pricing.storage.about import records_about
from services.pricing.storage.erasure import Erasure, Erasures, NothingKept
from services.pricing.storage.quotes import QuoteStore
from services.pricing.storage.readings import ReadingStore, Recorded
from services.pricing.storage.registry import RegistryStore
from tests.forked import run_forked
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.pricing import process
from tests.services.pricing.at_hand import demo_rates
from tests.services.pricing.core.reading_cases import programmes
from tests.services.pricing.stores import health_stores
from tests.services.pricing.test_reading_storage import (
    A_TARGET,
    AFTER,
    ANNA,
    ANXIN,
    BEN,
    FROM,
    NOW,
    fill_conduct,
    incoming,
    low,
    values,
)
from tests.services.pricing.test_storage import quote_of
from tests.tenants import of_insurer

NOBODY: Any = None
LATER = NOW + 1


@pytest.fixture(autouse=True)
def _called_by_the_insurer() -> Iterator[None]:
    with calling_as(of_insurer("anxin")):
        yield


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = with_tables(database_url, "services.pricing", threads=4)
    yield found
    found.close()


@pytest.fixture
def keys(database: Database) -> SubjectKeys:
    return subject_keys(database)


@pytest.fixture
def stores(database: Database, keys: SubjectKeys) -> Stores:
    quotes = QuoteStore(database, keys)
    rates = demo_rates()
    quotes.keep_tariff(rates.version, canonical_bytes(rates.tariff), 1)
    registry = RegistryStore(database)
    readings, erasures = ReadingStore(database, keys), Erasures(database, keys)
    return Stores(quotes, readings, erasures, registry, *health_stores(database, keys))


@pytest.fixture
def service(database: Database, stores: Stores) -> PricingServicer:
    return PricingServicer(Shelf(Book([demo_rates()]), programmes()), database, stores)


def quote_with(token: str, number: int, policy: str = "p1") -> Quote:
    made = quote_of(number, request_id=f"r{number}", policy=policy)
    part = Participation(f"members/{token}", "diabetes-glucose", "Asia/Shanghai", "")
    return msgspec.structs.replace(
        made, asked=msgspec.structs.replace(made.asked, participation=part)
    )


def fill(stores: Stores) -> None:
    stores.readings.record(ANXIN, "q-anna", (incoming(1, "3.0"), incoming(2)), low, NOW)
    stores.readings.record(ANXIN, "q-ben", (incoming(1, "3.1", token=BEN),), low, NOW)
    stores.readings.set_target(ANXIN, "t-anna", ANNA, A_TARGET, NOW, None)
    fill_conduct(stores.medication, stores.clearings)
    stores.quotes.add("anxin", quote_with(ANNA, 1))
    stores.quotes.add("anxin", quote_with(BEN, 2))
    stores.quotes.add("anxin", quote_of(3, request_id="r3", policy="p1"))
    stores.quotes.add("anxin", quote_of(4, request_id="r4", policy="p2"))


def test_what_was_sealed_is_gone_and_everybody_elses_stays(stores: Stores) -> None:
    fill(stores)
    done = stores.erasures.erase(ANXIN, "e1", ANNA, ["p1"], LATER)
    assert done == Erasure(
        keys=2, readings=2, targets=1, tasks=1, quotes=2, medications=1, clearings=1
    )
    assert stores.medication.events_of(ANXIN, ANNA, FROM, AFTER) == []
    assert stores.clearings.cleared(ANXIN, ANNA) == frozenset()
    assert stores.readings.readings_of(ANXIN, ANNA, FROM, AFTER) == []
    assert stores.readings.targets_of(ANXIN, ANNA) == []
    assert stores.readings.tasks_after(ANXIN, ANNA, 0, 10) == []
    for request_id in ("r1", "r3"):
        with pytest.raises(Erased):
            stores.quotes.by_request(request_id)
    assert values(stores.readings, BEN) == {"r1": "3.1"}
    for number, request_id in ((2, "r2"), (4, "r4")):
        found = stores.quotes.by_request(request_id)
        assert found is not None
        assert found.id == f"{number:032x}"


@pytest.mark.on_postgresql
def test_records_about_a_member_are_the_quotes_with_their_part_until_erased(
    database: Database, keys: SubjectKeys, stores: Stores
) -> None:
    def about(token: str) -> list[str]:
        with database.reading() as connection:
            return records_about(connection, keys.sealer(connection), token)

    fill(stores)
    assert about(ANNA) == [f"policies/p1/quotes/{1:032x}"]
    assert about(BEN) == [f"policies/p1/quotes/{2:032x}"]
    stores.erasures.erase(ANXIN, "e1", ANNA, [], LATER)
    assert about(ANNA) == []
    assert about(BEN) == [f"policies/p1/quotes/{2:032x}"]


def test_quotes_that_name_nobody_stay_unless_their_policy_is_named(stores: Stores) -> None:
    fill(stores)
    assert stores.erasures.erase(ANXIN, "e1", ANNA, [], LATER).quotes == 1
    assert stores.quotes.by_request("r3") is not None


def test_lists_lose_nothing_and_name_nobody(stores: Stores, service: PricingServicer) -> None:
    fill(stores)
    stores.erasures.erase(ANXIN, "e1", ANNA, [], LATER)
    (erased, other) = stores.readings.tasks_after(ANXIN, None, 0, 10)
    assert erased.about is None
    assert other.about is not None
    assert other.about.member_token == BEN
    request = pb.ListCoachTasksRequest(parent="members/-")
    listed = asyncio.run(service.ListCoachTasks(request, NOBODY)).tasks
    assert [task.erased for task in listed] == [True, False]
    assert listed[0].name == f"members/-/coachTasks/{erased.name}"
    assert ANNA not in str(listed)


def test_what_comes_afterwards_belongs_to_a_new_member(stores: Stores) -> None:
    fill(stores)
    stores.erasures.erase(ANXIN, "e1", ANNA, [], LATER)
    # The same reading, sent again, is a new one of a member who starts without any.
    assert stores.readings.record(ANXIN, "q2", (incoming(1, "5.0"),), low, LATER).recorded == 1
    assert values(stores.readings) == {"r1": "5.0"}
    assert stores.readings.targets_of(ANXIN, ANNA) == []
    assert stores.erasures.erase(ANXIN, "e2", ANNA, [], LATER).readings == 1


def test_requests_that_were_answered_answer_the_same_or_say_erased(stores: Stores) -> None:
    fill(stores)
    request = (incoming(1, "3.0"), incoming(2))
    before = stores.readings.record(ANXIN, "q-anna", request, low, NOW)
    stores.erasures.erase(ANXIN, "e1", ANNA, [], LATER)
    assert stores.readings.record(ANXIN, "q-anna", request, low, LATER) == before
    assert before == Recorded(2, 0, before.tasks)
    assert len(before.tasks) == 1
    with pytest.raises(Erased):
        stores.readings.set_target(ANXIN, "t-anna", ANNA, A_TARGET, LATER, None)


def test_an_erasure_is_done_once_and_answers_the_same(stores: Stores) -> None:
    fill(stores)
    done = stores.erasures.erase(ANXIN, "e1", ANNA, ["p1"], LATER)
    assert stores.erasures.erase(ANXIN, "e1", ANNA, ["p1"], LATER) == done
    with pytest.raises(OtherErasure):
        stores.erasures.erase(ANXIN, "e1", BEN, ["p1"], LATER)
    assert values(stores.readings, BEN) == {"r1": "3.1"}  # the destruction was rolled back
    assert stores.erasures.erase(ANXIN, "e1", ANNA, [], LATER) == done  # nothing is left of her
    with pytest.raises(NothingKept):
        stores.erasures.erase(ANXIN, "e2", ANNA, ["p1"], LATER)
    assert values(stores.readings, BEN) == {"r1": "3.1"}


def test_a_dry_run_says_what_would_go_and_does_nothing(stores: Stores) -> None:
    fill(stores)
    would = stores.erasures.erase(ANXIN, "e1", ANNA, ["p1"], LATER, dry_run=True)
    assert would.keys
    assert stores.erasures.erase(ANXIN, "e1", ANNA, ["p1"], LATER) == would  # nothing was gone


def test_another_replica_finds_it_erased_at_once(stores: Stores, database: Database) -> None:
    fill(stores)
    replica = QuoteStore(database, subject_keys(database))
    assert replica.by_request("r1") is not None  # with its key in memory
    stores.erasures.erase(ANXIN, "e1", ANNA, [], LATER)
    with pytest.raises(Erased):
        replica.by_request("r1")


def test_no_row_leads_from_the_token_to_what_is_left(stores: Stores, database: Database) -> None:
    fill(stores)
    stores.erasures.erase(ANXIN, "e1", ANNA, ["p1"], LATER)
    kept = ""
    with database.reading() as connection:
        for table in ("member", "subject_key", "erasure", "quote", "reading", "recording"):
            kept += str(connection.execute(text(f"SELECT * FROM {table}")).all())
    assert ANNA not in kept
    assert "p1" in kept  # the search finds what stands in clear


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.EraseMemberRequest(), {"request_id", "member"}),
        (pb.EraseMemberRequest(request_id="e", member="members/-"), {"member"}),
        (
            pb.EraseMemberRequest(request_id="e", member=f"members/{ANNA}", policies=["p1", "x/y"]),
            {"policies[0]", "policies[1]"},
        ),
        (
            pb.EraseMemberRequest(
                request_id="e", member=f"members/{ANNA}", policies=["policies/p"] * 1_001
            ),
            {"policies"},
        ),
    ],
)
def test_a_malformed_request_erases_nothing(
    service: PricingServicer, stores: Stores, request_: pb.EraseMemberRequest, fields: set[str]
) -> None:
    fill(stores)
    with pytest.raises(Refused) as refused:
        asyncio.run(service.EraseMember(request_, NOBODY))
    assert {violation.field for violation in refused.value.violations} == fields
    assert len(values(stores.readings)) == 2


def test_over_the_wire(service: PricingServicer, stores: Stores) -> None:
    fill(stores)

    def erase(request_id: str, token: str) -> pb.EraseMemberResponse:
        request = pb.EraseMemberRequest(
            request_id=request_id, member=f"members/{token}", policies=["policies/p1"]
        )
        return asyncio.run(service.EraseMember(request, NOBODY))

    done = erase("e1", ANNA)
    assert (done.destroyed_key_count, done.reading_count, done.quote_count) == (2, 2, 2)
    assert (done.target_count, done.coach_task_count) == (1, 1)
    assert erase("e1", ANNA) == done
    with pytest.raises(Refused) as reused:
        erase("e1", BEN)
    assert reused.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(Refused) as unknown:
        erase("e2", ANNA)
    assert (unknown.value.code, ANNA in str(unknown.value.metadata)) == (
        grpc.StatusCode.NOT_FOUND,
        False,
    )
    with pytest.raises(Refused) as erased:
        asyncio.run(service.GetQuote(pb.GetQuoteRequest(name=_name(1)), NOBODY))
    assert (erased.value.code, erased.value.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "ERASED",
    )


def _name(number: int) -> str:
    return f"policies/p1/quotes/{number:032x}"


def test_values_that_were_swapped_are_data_loss_on_the_wire(
    service: PricingServicer, stores: Stores, database: Database
) -> None:
    fill(stores)
    stores.quotes.add("anxin", quote_with(ANNA, 5))
    with database.writing() as connection:
        if database.is_sqlite:
            connection.execute(text("DROP TRIGGER quote_no_update"))
        else:
            connection.execute(text("ALTER TABLE quote DISABLE TRIGGER USER"))
        # Of the same subject, which only the row tells apart; and of another subject.
        for at, other in ((5, 1), (2, 1)):
            connection.execute(
                text(
                    "UPDATE quote SET sealed = (SELECT sealed FROM quote WHERE id = :o)"
                    " WHERE id = :at"
                ),
                {"o": f"{other:032x}", "at": f"{at:032x}"},
            )
        connection.execute(
            text("UPDATE quote SET sealed = substr(sealed, 1, 40) WHERE id = :at"),
            {"at": f"{3:032x}"},
        )
    for number in (5, 2, 3):
        with pytest.raises(Refused) as told:
            asyncio.run(service.GetQuote(pb.GetQuoteRequest(name=_name(number)), NOBODY))
        assert (told.value.code, told.value.reason) == (
            grpc.StatusCode.DATA_LOSS,
            "SEALED_VALUE_ALTERED",
        )
    assert asyncio.run(service.GetQuote(pb.GetQuoteRequest(name=_name(1)), NOBODY)).quote.name


def test_a_service_without_its_master_key_does_not_start(tmp_path: Path) -> None:
    with process.serving(tmp_path):
        pass
    file = tmp_path / "keys" / "master_keys.json"
    file.write_bytes(written(KeySet({"m5": bytes(32)}, "m5")))
    refused = run_forked("services.pricing.main", environ=process.environ_for(tmp_path))
    assert refused.code == 1
    assert "KEY_UNKNOWN" in refused.err
    assert "Traceback" not in refused.err
