"""A page of the register fetches its own consents, and of later ones only that there are any."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.access.caller import UnderWay, under_way
from services.common.access.read_tally import counting, tally_file
from services.common.evidence.compared import fetched_in
from services.his_bridge.storage.consents import consents_after
from services.his_bridge.storage.counted import SEALED
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import all_of, record

RPC = "/lipei.his_bridge.v1.ConsentService/ListConsents"


@pytest.mark.parametrize(("size", "more"), [(1, True), (2, True), (3, False), (4, False)])
def test_the_consent_after_a_page_is_not_fetched(tmp_path: Path, size: int, more: bool) -> None:
    driver = counting(tmp_path, "his_bridge", SEALED, wanted=True)
    database = with_tables(
        f"sqlite:///{tmp_path}/his_bridge.db", "services.his_bridge", driver=driver
    )
    keys = subject_keys(database)
    record(database, "general", all_of("k1." + "a" * 64))
    with under_way(UnderWay(rpc=RPC, clearance=4)), database.reading() as connection:
        page = consents_after(connection, keys.sealer(connection), "general", 0, size, None)
    database.close()
    assert (len(page), page.more) == (min(size, 3), more)
    fetched = [one.record for one in fetched_in(tally_file(tmp_path, "his_bridge"))]
    assert fetched == [kept.row.consent_id for kept in page]
