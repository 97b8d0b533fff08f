"""Erasures that were done: listed by page, for each tenant its own, with who and why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData

from lipei.keys.v1 import keys_pb2 as pb
from services.common.access.caller import Caller, calling_as
from services.common.access.tenant import tenant_of
from services.common.database import Database
from services.common.refusals import Refused
from services.common.sealing import SubjectKeys, erasures
from services.common.sealing.erasures import By
from services.common.sealing.servicer import KeysServicer
from services.common.sealing.tables import erasure_table, subject_key_table
from tests.services.common.sealing.keys import MASTER, now_us
from tests.tenants import of_hospital, of_installation

NOBODY: Any = None
MINE, ANOTHERS = of_hospital("general"), of_hospital("away")


@pytest.fixture
def servicer(tmp_path: Path) -> Iterator[KeysServicer]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    metadata = MetaData()
    subject_key_table(metadata)
    erasure_table(metadata)
    with database.writing() as connection:
        metadata.create_all(connection)
    keys = SubjectKeys(MASTER, now_us=now_us)
    keys.prepare(database)
    with database.writing() as connection:
        sealer = keys.sealer(connection)
        for number in range(5):
            tenant = tenant_of(MINE if number % 2 == 0 else ANOTHERS)
            erasures.remember(
                connection,
                sealer,
                tenant.own(f"r{number}"),
                b"content",
                member=f"{number:032x}",
                answer=b"",
                now_us=1_000_000 * (9 - number // 2),  # two at one moment
                by=By(tenant.key, "hospital_records", "ordered court/1"),
            )
    yield KeysServicer(database, keys)
    database.close()


def listed(servicer: KeysServicer, caller: Caller, page_size: int = 0) -> list[pb.Erasure]:
    async def pages() -> list[pb.Erasure]:
        found: list[pb.Erasure] = []
        request = pb.ListErasuresRequest(page_size=page_size)
        while True:
            page = await servicer.ListErasures(request, NOBODY)
            assert len(page.erasures) <= (page_size or 100)
            found += page.erasures
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    with calling_as(caller):
        return asyncio.run(pages())


def test_each_tenant_sees_its_own_and_the_installation_all(servicer: KeysServicer) -> None:
    every = listed(servicer, of_installation())
    assert sorted(int(one.member.removeprefix("members/"), 16) for one in every) == [0, 1, 2, 3, 4]
    assert [one.erase_time.seconds for one in every] == [7, 8, 8, 9, 9]
    assert {(one.ground, one.role) for one in every} == {("ordered court/1", "hospital_records")}
    for caller, numbers in ((MINE, [4, 2, 0]), (ANOTHERS, [3, 1])):
        mine = listed(servicer, caller)
        assert [int(one.member.removeprefix("members/"), 16) for one in mine] == numbers


@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 5])
def test_pages_lose_and_repeat_none(servicer: KeysServicer, page_size: int) -> None:
    assert listed(servicer, of_installation(), page_size) == listed(servicer, of_installation())


def test_a_foreign_page_token_is_refused(servicer: KeysServicer) -> None:
    with calling_as(MINE):
        request = pb.ListErasuresRequest(page_size=1)
        token = asyncio.run(servicer.ListErasures(request, NOBODY)).next_page_token
    for caller in (ANOTHERS, of_installation()):
        request = pb.ListErasuresRequest(page_token=token)
        with calling_as(caller), pytest.raises(Refused) as refused:
            asyncio.run(servicer.ListErasures(request, NOBODY))
        assert [one.reason for one in refused.value.violations] == ["FOREIGN_PAGE_TOKEN"]
    with calling_as(MINE), pytest.raises(Refused):
        asyncio.run(servicer.ListErasures(pb.ListErasuresRequest(page_size=-1), NOBODY))
