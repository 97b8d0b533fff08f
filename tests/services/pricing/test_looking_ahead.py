"""A page of coach's tasks fetches its own tasks, and of what comes after only that it is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.access.caller import UnderWay, under_way
from services.common.access.read_tally import counting, tally_file
from services.common.evidence.compared import fetched_in
from services.pricing.storage.counted import SEALED
from services.pricing.storage.readings import ReadingStore
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.pricing.test_reading_storage import ANXIN, NOW, incoming, low

RPC = "/lipei.pricing.v1.PricingService/ListCoachTasks"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReadingStore]:
    """Three tasks."""
    driver = counting(tmp_path, "pricing", SEALED, wanted=True)
    database = with_tables(f"sqlite:///{tmp_path}/pricing.db", "services.pricing", driver=driver)
    found = ReadingStore(database, subject_keys(database))
    readings = tuple(incoming(number, "3.0") for number in range(3))
    found.record(ANXIN, "q1", readings, low, NOW)
    yield found
    database.close()


@pytest.mark.parametrize(("size", "more"), [(1, True), (2, True), (3, False), (4, False)])
def test_the_task_after_a_page_is_not_fetched(
    store: ReadingStore, tmp_path: Path, size: int, more: bool
) -> None:
    with under_way(UnderWay(rpc=RPC, clearance=3)):
        page = store.tasks_after(ANXIN, None, 0, size)
    assert (len(page), page.more) == (min(size, 3), more)
    fetched = [one.record for one in fetched_in(tally_file(tmp_path, "pricing"))]
    assert fetched == [task.name for task in page]
