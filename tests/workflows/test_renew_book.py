"""A book renewed by Temporal is, byte for byte, the book renewed in one go; whatever falls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lipei.pricing.v1 import renewal_work_pb2 as pb
from services.common.temporal import renewals
from services.common.temporal.connection import connect
from services.pricing.fitting.renewal.dislocation import dislocation
from services.pricing.fitting.renewal.plan import plan_of
from services.pricing.fitting.renewal.renew import renew_book
from services.pricing.fitting.renewal.work import Work
from services.pricing.fitting.renewal.workbook import write_workbook
from services.pricing.tariffs.loader import example_tariffs
from tests.e2e.test_readings import temporal
from tests.services.pricing.fitting.renewal.books import people, work, write_book
from workflows.renewal_steps import RenewalSteps
from workflows.worker import renewals_worker

TARIFF = example_tariffs() / "diabetes-hypertension-demo.json"
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("state")
    with temporal(folder):
        yield folder


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_book(tmp_path_factory.mktemp("book") / "book.parquet", people(1_000))


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def in_one_go(made: Work) -> dict[str, bytes]:
    """What the command makes, without a workflow."""
    manifest = renew_book(made, lambda *_: None)
    write_workbook(dislocation(made.result), manifest, made.folder)
    return bytes_of(made.folder)


@asynccontextmanager
async def working(state: Path) -> AsyncIterator[RenewalSteps]:
    """A worker of renewals in this process, until the block ends."""
    steps = RenewalSteps()
    try:
        async with renewals_worker(await connect(state), steps):
            yield steps
    finally:
        await steps.close()


async def started(state: Path, made: Work) -> str:
    key = made.unfinished.name
    request = pb.RenewBookWork(plan=plan_of(made, TARIFF), shards=made.settings.shards)
    await renewals.start_renewal(state, key, request)
    return key


async def until(told: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; the test's own time-out bounds it."""
    while not await told():
        await asyncio.sleep(0.05)


async def over(state: Path, key: str) -> tuple[str, pb.RenewBookProgress]:
    while True:
        stands, progress = await renewals.renewal_progress(state, key)
        if stands != renewals.RUNNING:
            return stands, progress
        await asyncio.sleep(0.05)


def test_a_book_renewed_shard_by_shard_has_the_bytes_of_one_renewed_in_one_go(
    state: Path, book: Path, tmp_path: Path
) -> None:
    made = work(book, tmp_path / "workflow", shards=20)

    async def renewed() -> tuple[str, pb.RenewBookProgress]:
        async with working(state):
            return await over(state, await started(state, made))

    stands, progress = asyncio.run(renewed())
    assert (stands, progress.phase) == (renewals.ENDED, pb.RENEWAL_PHASE_DONE)
    assert (progress.last.rows, progress.last.renewed, progress.last.referred) == (1_000, 1_000, 0)
    whole = in_one_go(work(book, tmp_path / "command", shards=20))
    found = bytes_of(made.folder)
    assert found.keys() == whole.keys()
    assert found == whole
