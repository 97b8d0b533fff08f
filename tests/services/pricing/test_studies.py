"""Readings as a study is told of them: whose, which, and what is on record.

What rests on SQL of its own is asked on both databases.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from msgspec.structs import replace as changed
from sqlalchemy import insert

from lipei.pricing.v1 import study_pb2 as pb
from lipei.type.v1 import reading_pb2
from services.common.access.caller import Caller, calling_as, noting
from services.common.access.pseudonym import study_name
from services.common.access.studies import PURPOSE
from services.common.access.study_tokens import StudySeal
from services.common.access.tenant import Kind, Tenant
from services.common.database import Database
from services.common.refusals import Refused
from services.common.sealing import SubjectKeys
from services.pricing.core.recording import Incoming
from services.pricing.storage.erasure import Erasures
from services.pricing.storage.readings import ReadingStore
from services.pricing.storage.studies import Most, StudyReadings
from services.pricing.storage.tables import holding, metadata
from services.pricing.study_servicer import StudyServicer
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.pricing.core.reading_cases import written
from tests.tenants import of_hospital, of_insurer

ANNA, BEN, CARL = (f"k1.{letter * 64}" for letter in "abc")
KEY, STUDY, BEFORE = bytes(32), "0" * 32, "2025-07-01"
ANXIN, GENERAL = Tenant(Kind.INSURER, "anxin"), Tenant(Kind.HOSPITAL, "general")
NOBODY: Any = None


def at(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


def incoming(token: str, name: str, value: str, day: str, received: str = "") -> Incoming:
    return Incoming(
        name=f"members/{token}/readings/{name}",
        member_token=token,
        effective_us=at(day),
        stated_us=at(received or day),
        written=written("hba1c", value, "laboratory"),
    )


class Office:
    """Pricing's study on a real database: ANNA and BEN are anxin's, CARL is nobody's."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        self.database, self.keys = database, keys
        self.store = ReadingStore(database, keys)
        self.erasures = Erasures(database, keys)
        self.servicer = servicer(database, keys, batch=1)
        for token in (ANNA, BEN):
            self.store.take_part(ANXIN, token, at("2025-01-01"))
        self.record(incoming(ANNA, "late", "7.1", "2025-06-28", received="2025-07-01"))
        self.record(
            incoming(ANNA, "b", "7.0", "2025-05-02"), incoming(ANNA, "a", "6.5", "2025-06-02")
        )
        self.record(
            incoming(BEN, "c", "8.0", "2025-05-03"), incoming(CARL, "d", "9.0", "2025-05-04")
        )

    def record(self, *readings: Incoming) -> None:
        request_id = hashlib.sha256(repr(readings).encode()).hexdigest()
        self.store.record(GENERAL, request_id, readings, _never, at("2025-12-01"))

    def exported(
        self, *tokens: str, who: Caller | None = None, **more: Any
    ) -> tuple[list[pb.ExportReadingsResponse], list[str]]:
        """What is told, and the records as evidence names them."""
        people = [bytes.fromhex(named(token)) for token in tokens]
        told = {"study": STUDY, "before_date": BEFORE, "people": people, **more}
        who = who or chief()
        whose = f"insurer/{who.insurer} {told['study']} {told['before_date']}"
        told.setdefault("grant", StudySeal(KEY).grant(whose, b"".join(told["people"])))
        return asyncio.run(self._exported(pb.ExportReadingsRequest(**told), who))

    async def _exported(
        self, request: pb.ExportReadingsRequest, who: Caller
    ) -> tuple[list[pb.ExportReadingsResponse], list[str]]:
        answers, records = [], []
        with calling_as(who), noting() as noted:
            async for answer in self.servicer.ExportReadings(request, NOBODY):
                answers.append(answer)
                records += [noted.names[one.person] for one in answer.people]
            assert not noted.names  # of a long stream nothing gathers
        return answers, records

    def values(self, *tokens: str, **more: Any) -> dict[str, list[str]]:
        answers, _ = self.exported(*tokens, **more)
        return {
            one.person: [reading.value for reading in one.readings]
            for answer in answers
            for one in answer.people
        }

    def refused(self, *tokens: str, **more: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            self.exported(*tokens, **more)
        return caught.value


def _never(_: Incoming) -> None:
    return None


def chief(insurer: str = "anxin", purpose: str = PURPOSE) -> Caller:
    return replace(of_insurer(insurer), purpose=purpose)


def named(token: str, insurer: str = "insurer/anxin") -> str:
    return study_name("person", token, KEY, tenant=insurer, study=f"{STUDY} {BEFORE}")


@pytest.fixture
def office(sqlite_database: str) -> Iterator[Office]:
    database = with_tables(sqlite_database, "services.pricing", threads=2)
    yield Office(database, subject_keys(database))
    database.close()


@pytest.fixture
def both(database_url: str) -> Iterator[Office]:
    database = with_tables(database_url, "services.pricing", threads=2)
    yield Office(database, subject_keys(database))
    database.close()


def test_whoever_is_named_is_told_of_by_time_and_on_record(both: Office) -> None:
    answers, records = both.exported(ANNA, BEN, CARL)
    assert both.values(ANNA, BEN, CARL) == {named(ANNA): ["7.0", "6.5"], named(BEN): ["8.0"]}
    assert sorted(records) == [f"members/{token}/studies/{STUDY}" for token in (ANNA, BEN)]
    assert [(one.done, one.total) for one in answers] == [(1, 2), (2, 2), (2, 2)]
    (first,) = (one for answer in answers for one in answer.people if one.person == named(ANNA))
    reading = first.readings[0]
    assert (reading.code, reading.unit) == ("4548-4", "%")
    assert reading.provenance == reading_pb2.READING_PROVENANCE_LABORATORY
    assert reading.effective_time.ToMicroseconds() == at("2025-05-02")
    written_out = b"".join(one.SerializeToString() for one in answers)
    assert not [one for one in (ANNA[3:], "general", "readings/") if one.encode() in written_out]


def test_a_device_has_a_name_of_the_study_and_of_the_person(office: Office) -> None:
    def meter(token: str, name: str, day: str, device: str) -> Incoming:
        plain = incoming(token, name, "7.0", day)
        return changed(plain, written=changed(plain.written, device=device))

    office.record(
        meter(ANNA, "m1", "2025-06-03", "shared"),
        meter(ANNA, "m2", "2025-06-04", "shared"),
        meter(ANNA, "m3", "2025-06-05", "other"),
        meter(BEN, "m4", "2025-06-03", "shared"),
    )
    answers, _ = office.exported(ANNA, BEN)
    devices = {
        one.person: [reading.device for reading in one.readings]
        for answer in answers
        for one in answer.people
    }
    plain_b, plain_a, first, second, other = devices[named(ANNA)]
    assert (plain_b, plain_a) == ("", "")
    assert first == second
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert len({first, other, devices[named(BEN)][-1]}) == 3
    assert b"shared" not in b"".join(one.SerializeToString() for one in answers)
    again, _ = office.exported(ANNA, study="1" * 32)
    assert first not in str(again)


def test_nobody_else_is_told_of(office: Office) -> None:
    assert office.values(BEN) == {named(BEN): ["8.0"]}
    theirs = bytes.fromhex(named(ANNA, "insurer/taihe"))
    assert office.values(who=chief("taihe"), people=[theirs]) == {}
    assert office.values(ANNA, study="1" * 32) == {}  # the name of another study


@pytest.mark.parametrize(
    ("readings", "told"),
    [
        (1, [{ANNA: 2}, {BEN: 1}]),  # one member alone may have more
        (3, [{ANNA: 2}, {BEN: 1}]),  # ANNA has three with the one of the valuation day
        (4, [{ANNA: 2, BEN: 1}]),
    ],
)
def test_a_batch_ends_before_its_readings_are_too_many(
    both: Office, readings: int, told: list[dict[str, int]]
) -> None:
    both.servicer = servicer(both.database, both.keys, batch=5, readings=readings)
    answers, _ = both.exported(ANNA, BEN)
    found = [{one.person: len(one.readings) for one in answer.people} for answer in answers]
    order = [{named(token): number for token, number in some.items()} for some in told]
    assert sorted(found, key=repr) == sorted(order, key=repr)


def servicer(database: Database, keys: SubjectKeys, **how: int) -> StudyServicer:
    def now_us() -> int:
        return at("2026-01-01")

    return StudyServicer(database, StudyReadings(database, keys), KEY, now_us=now_us, **how)


def test_a_page_token_of_claims_is_none_here(office: Office) -> None:
    answers, _ = office.exported(ANNA, BEN)
    assert office.exported(ANNA, BEN, page_token=answers[0].next_page_token)
    theirs = StudySeal(KEY).page_token(f"insurer/anxin {STUDY} {BEFORE}", "digest/1/200")
    fault = office.refused(ANNA, BEN, page_token=theirs)
    assert fault.violations[0].reason == "FOREIGN_PAGE_TOKEN"


def test_it_goes_on_after_a_token(office: Office) -> None:
    answers, _ = office.exported(ANNA, BEN)
    rest, _ = office.exported(ANNA, BEN, page_token=answers[0].next_page_token)
    assert rest == answers[1:]


@pytest.mark.on_postgresql
def test_what_was_taken_back_or_erased_is_absent(both: Office) -> None:
    taken_back = incoming(ANNA, "a", "6.5", "2025-06-02", received="2025-06-03")
    both.record(changed(taken_back, written=changed(taken_back.written, withdrawn=True)))
    assert both.values(ANNA) == {named(ANNA): ["7.0"]}
    both.erasures.erase(GENERAL, "e", ANNA, (), at("2025-12-02"))
    assert both.values(ANNA, BEN) == {named(BEN): ["8.0"]}


def test_every_fault_of_a_request_is_told(office: Office) -> None:
    assert office.refused(ANNA, who=chief(purpose="pricing")).reason == "PURPOSE_NOT_ALLOWED"
    assert office.refused(ANNA, who=replace(of_hospital(), purpose=PURPOSE)).reason == (
        "TENANT_UNCLEAR"
    )
    none, short = office.refused(), office.refused(people=[b"short"])
    assert [one.field for one in (*none.violations, *short.violations)] == ["people", "people[0]"]
    assert office.refused(ANNA, page_token="x").violations[0].reason == "FOREIGN_PAGE_TOKEN"


def test_only_who_is_granted_is_told_of(office: Office) -> None:
    def grant(*tokens: str, key: bytes = KEY, study: str = STUDY, ns: int | None = None) -> bytes:
        seal = StudySeal(key) if ns is None else StudySeal(key, clock_ns=lambda: ns)
        people = b"".join(bytes.fromhex(named(token)) for token in tokens)
        return seal.grant(f"insurer/anxin {study} {BEFORE}", people)

    assert office.values(ANNA, grant=grant(ANNA))
    for other in (
        b"",
        b"x" * 40,
        grant(BEN),
        grant(ANNA, BEN),
        grant(ANNA, study="1" * 32),
        grant(ANNA, key=bytes([1]) * 32),
        grant(ANNA, ns=0),  # long over
    ):
        fault = office.refused(ANNA, grant=other)
        assert (fault.code, fault.reason) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "STUDY_NOT_GRANTED",
        )


def test_a_page_token_tells_nothing_and_cannot_be_made(office: Office) -> None:
    answers, _ = office.exported(ANNA, BEN)
    token = answers[0].next_page_token
    opened = base64.urlsafe_b64decode(token)
    assert STUDY.encode() not in opened
    forged = base64.urlsafe_b64encode(opened[:-1] + bytes([opened[-1] ^ 1])).decode()
    plain = base64.urlsafe_b64encode(f"study insurer/anxin {STUDY} {BEFORE}\0".encode()).decode()
    for other in (forged, plain):
        fault = office.refused(ANNA, BEN, page_token=other)
        assert fault.violations[0].reason == "FOREIGN_PAGE_TOKEN"


def test_what_a_portion_costs_does_not_grow_with_the_insurer(tmp_path: Path) -> None:
    """By the steps of SQLite's machine: five members among fifty, and among a thousand."""
    small, large = (_steps(f"sqlite:///{tmp_path / str(size)}", size) for size in (50, 1_000))
    assert small > 0
    assert large < 2 * small


def _steps(url: str, size: int) -> int:
    steps = [0]

    def step() -> None:
        steps[0] += 1

    class Counting(sqlite3.Connection):
        def __init__(self, *args: Any, **how: Any) -> None:
            super().__init__(*args, **how)
            self.set_progress_handler(step, 1)

    database = with_tables(url, "services.pricing", driver=Counting)
    ids = [f"{number:032x}" for number in range(size)]
    store = StudyReadings(database, subject_keys(database))
    with database.writing() as connection:
        connection.execute(
            insert(metadata.tables["member"]),
            [{"id": one, "token_index": one, "created_us": 1} for one in ids],
        )
        held = [{"id": one, "tenant": "insurer/anxin", "member": one, "at_us": 1} for one in ids]
        connection.execute(insert(holding), held)
    steps[0] = 0
    found = store.portion(ANXIN, lambda _: True, 0, ids[size // 2], Most(members=5, readings=9))
    assert found.looked_at == 5
    assert found.last == ids[size // 2 + 5]
    used = steps[0]
    assert store.counted(ANXIN, found.last) == (size // 2 + 6, size)
    database.close()
    return used
