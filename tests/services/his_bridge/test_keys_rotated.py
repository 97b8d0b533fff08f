"""Keys are rotated while the bridge reads: no bill is lost, doubled or closed to anybody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.common.sealing import SubjectKeys, rotation
from services.common.sealing.key_sources import KeyFile
from services.common.sealing.master import RereadKeys
from services.his_bridge.storage import showing
from services.his_bridge.wiring import hospital_of
from tests.schemas import with_tables
from tests.services.common.sealing.keys import now_us
from tests.services.his_bridge.consenting import INSURER, all_of, everybody, record
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, profile, tokens
from tests.services.his_bridge.sources.odd_server import odd_server
from tests.services.his_bridge.test_operations import H, write

BILLS = 40
FOREVER = 1 << 62


@pytest.mark.both_databases
def test_a_pull_goes_on_under_rotation(database_url: str, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "master_keys.json")
    database = with_tables(database_url, "services.his_bridge")

    def replica() -> SubjectKeys:
        made = SubjectKeys(RereadKeys(KeyFile(tmp_path / "master_keys.json")), now_us=now_us)
        made.prepare(database)
        return made

    keys, others = replica(), replica()

    async def rotating(reading: asyncio.Event) -> int:
        """New master keys and new keys of every person, again and again, until all is read."""
        rounds = 0
        while not reading.is_set() or rounds < 3:
            file.add()
            left = 1
            while left:
                left = (await asyncio.to_thread(rotation.rewrap, database, others, 3)).left
            await asyncio.to_thread(rotation.renew, database, others, before_us=now_us(), most=5)
            rounds += 1
        return rounds

    async def pulling(base_url: str) -> int:
        found = profile(
            lambda text: text.replace(BASE_URL, base_url).replace("page_size: 50", "page_size: 4")
        )
        hospital = hospital_of(found, database, keys, tokens, now_us, INSURER)
        assert hospital.source is not None
        done = asyncio.Event()
        rotated = asyncio.ensure_future(rotating(done))
        try:
            report = await hospital.bills.pull(5_000, FOREVER)
        finally:
            done.set()
            await rotated
            await hospital.source.close()
        assert rotated.result() >= 3
        return report.released

    with odd_server() as server:
        around, claims, _ = good(BILLS)
        for one in around:
            server.put(one)
        for one in claims:
            write(server, one)
        # Their consents stand under the first key, which is gone in the end.
        record(
            database, H, (one for who in everybody() for one in all_of(who)), now_us=0, keys=keys
        )
        assert asyncio.run(pulling(server.base_url)) == BILLS
    for use in rotation.master_uses(database, others):
        if use.key_id != others.master.current():
            assert use.subject_keys == 0
            file.retire(use.key_id)
    late = replica()
    with database.reading() as connection:
        page = showing.bills_after(
            connection, late.sealer(connection), H, INSURER, 0, 999, None, now_us()
        )
        assert len({one.bill.member_token for one in page}) > 1
        assert len(list(page)) == BILLS
    database.close()
