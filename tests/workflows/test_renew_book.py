"""A book renewed by Temporal is, byte for byte, the book renewed in one go; whatever falls."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio import activity

from lipei.pricing.v1 import renewal_work_pb2 as pb
from services.common.temporal import names, renewals
from services.common.temporal.connection import connect
from services.pricing.fitting.renewal.dislocation import dislocation
from services.pricing.fitting.renewal.plan import hold, plan_of
from services.pricing.fitting.renewal.refusal import refusal_lines
from services.pricing.fitting.renewal.renew import BookRefused
from services.pricing.fitting.renewal.renew import renew_book as renew_book_here
from services.pricing.fitting.renewal.stepping import Asked, _loaded, answered
from services.pricing.fitting.renewal.work import BUILDING, FORMAT, HELD, WORK, Work, work_name
from services.pricing.fitting.renewal.workbook import write_workbook
from services.pricing.tariffs.loader import example_tariffs
from tests.services.pricing.fitting.renewal.books import people, work, write_book
from tests.temporal import temporal
from workflows import renew_book
from workflows.renewal_steps import RenewalSteps
from workflows.worker import renewals_worker

TARIFF = example_tariffs() / "diabetes-hypertension-demo.json"


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
    manifest = renew_book_here(made, lambda *_: None)
    write_workbook(dislocation(made.result), manifest, made.folder)
    return bytes_of(made.folder)


class Killing(RenewalSteps):
    """Kills the process of each step in `doomed`, once, when it has been asked.

    One in `endless` never answers; the process that it was asked of is `asked` then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.doomed: set[tuple[str, int]] = set()
        self.endless: tuple[str, int] | None = None
        self.asked: asyncio.Future[Process] = asyncio.get_running_loop().create_future()

    async def _answer(
        self, process: Process, request: pb.RenewalStepRequest
    ) -> pb.RenewalStepResponse:
        if (request.step, request.number) in self.doomed:
            self.doomed.remove((request.step, request.number))
            process.kill()
        if (request.step, request.number) == self.endless:
            if not self.asked.done():  # a machine that stalls has it asked a second time
                self.asked.set_result(process)
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.1)
        return await super()._answer(process, request)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def steps(loop: asyncio.Runner) -> Iterator[Killing]:
    """The steps of every worker here: what its processes import is imported once."""

    async def made() -> Killing:
        return Killing()

    found = loop.run(made())
    yield found
    loop.run(found.close())


@asynccontextmanager
async def working(state: Path, steps: RenewalSteps) -> AsyncIterator[None]:
    """A worker of renewals in this process, until the block ends."""
    async with renewals_worker(await connect(state), steps, 1):
        yield


async def started(state: Path, made: Work) -> str:
    key = made.unfinished.name
    hold(made)
    request = pb.RenewBookWork(plan=plan_of(made, TARIFF).decode(), shards=made.settings.shards)
    await renewals.start_renewal(state, key, request)
    return key


async def over(state: Path, key: str) -> tuple[str, pb.RenewBookProgress]:
    while True:
        stands, progress = await renewals.renewal_progress(state, key)
        if stands != renewals.RUNNING:
            return stands, progress
        await asyncio.sleep(0.05)


async def runs_before(state: Path, key: str) -> bool:
    """Whether the last run of the workflow was continued from another."""
    client = await connect(state)
    history = await client.get_workflow_handle(names.renew_book_id(key)).fetch_history()
    begun = history.events[0].workflow_execution_started_event_attributes
    return bool(begun.continued_execution_run_id)


def test_a_renewal_that_falls_rests_and_goes_on_has_the_bytes_of_one_made_in_one_go(
    state: Path,
    book: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loop: asyncio.Runner,
    steps: Killing,
) -> None:
    monkeypatch.setattr(renew_book, "SHARDS_PER_RUN", 16)
    made = work(book, tmp_path / "workflow", shards=20)
    left = made.renewed(3).with_name(f"renewals-0003.parquet.of-one-killed{BUILDING}")
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    steps.doomed = {("write", 11)}

    async def renewed() -> tuple[str, pb.RenewBookProgress]:
        key = await started(state, made)
        await renewals.signal_renewal(state, key, "pause")
        for _ in range(2):  # two workers, one after the other: it rests over the change
            async with working(state, steps):
                _, progress = await renewals.renewal_progress(state, key)
                assert (progress.paused, progress.phase) == (True, pb.RENEWAL_PHASE_DEAL)
        await renewals.signal_renewal(state, key, "resume")
        async with working(state, steps):
            found = await over(state, key)
        assert await runs_before(state, key)
        return found

    stands, progress = loop.run(renewed())
    assert not steps.doomed
    assert (stands, progress.phase) == (renewals.ENDED, pb.RENEWAL_PHASE_DONE)
    assert (progress.last.rows, progress.last.renewed, progress.last.referred) == (1_000, 1_000, 0)
    assert bytes_of(made.folder) == in_one_go(work(book, tmp_path / "command", shards=20))


def test_a_book_with_faults_is_refused_with_all_of_them(
    state: Path, tmp_path: Path, loop: asyncio.Runner, steps: Killing
) -> None:
    rows = people(200)
    rows[3]["age"], rows[190]["expiring_charged_minor"] = 777, -5
    made = work(write_book(tmp_path / "faulty.parquet", rows), tmp_path)

    async def renewed() -> tuple[str, pb.RenewBookProgress]:
        async with working(state, steps):
            return await over(state, await started(state, made))

    stands, progress = loop.run(renewed())
    assert (stands, progress.phase) == (renewals.ENDED, pb.RENEWAL_PHASE_REFUSED)
    with pytest.raises(BookRefused) as refused:
        renew_book_here(made, lambda *_: None)
    assert list(progress.last.refused) == refusal_lines(refused.value, made)
    assert len(progress.last.refused) == 3, "a heading, and a line for each kind of fault"
    assert "777" not in " ".join(progress.last.refused)
    assert not made.held, "what was refused stands in no other renewal's way"


@pytest.mark.fault
def test_a_cancelled_renewal_ends_and_holds_its_work_no_longer(
    state: Path, book: Path, tmp_path: Path, loop: asyncio.Runner, steps: Killing
) -> None:
    made = work(book, tmp_path, shards=3)
    steps.endless = ("price", 1)

    async def cancelled() -> tuple[str, Process]:
        async with working(state, steps):
            key = await started(state, made)
            process = await steps.asked
            await renewals.signal_renewal(state, key, "cancel")
            stands, _ = await over(state, key)
        return stands, process

    stands, process = loop.run(cancelled())
    assert stands == renewals.CANCELLED
    assert process.returncode is not None, "nobody waits for what it would answer"
    assert not made.result.exists()
    assert (made.unfinished / "dealt.json").exists(), "what was done stays, to be gone on with"
    assert not (made.unfinished / HELD).exists()


def test_a_tariff_or_book_that_was_changed_meanwhile_is_refused(book: Path, tmp_path: Path) -> None:
    own, tariff = tmp_path / "book.parquet", tmp_path / "tariff.json"
    own.write_bytes(book.read_bytes())
    tariff.write_bytes(TARIFF.read_bytes())
    made = work(own, tmp_path)
    plan = plan_of(made, tariff).decode()
    assert answered(Asked(plan=plan, step="deal")).rows == 1_000
    hold(made)
    other = write_book(own, people(999))
    (said,) = answered(Asked(plan=plan, step="deal")).refused
    assert said.startswith(f"{other.name} is not the book that the renewal began with")
    tariff.write_bytes(b"{}")
    _loaded.cache_clear()  # another process would not have read it yet
    assert made.held == [], "it is over"
    hold(made)
    (said,) = answered(Asked(plan=plan, step="price")).refused
    assert said.startswith("tariff.json can no longer be read")
    assert made.held == [], "also where there is no tariff any more"


def test_what_an_earlier_version_began_is_refused_and_keeps_nobody_out(
    book: Path, tmp_path: Path
) -> None:
    made = work(book, tmp_path)
    of_plan = made.book_sha256, made.rates.version, made.settings, made.terms
    before = made.folder / WORK / work_name(*of_plan, FORMAT - 1)
    before.mkdir(parents=True)
    (before / HELD).touch()
    assert made.held == [before.name]
    (said,) = answered(Asked(plan=plan_of(made, TARIFF).decode(), step="price")).refused
    assert said.endswith("or another version began the renewal; begin anew")
    assert made.held == []


@pytest.mark.fault
def test_a_step_of_work_that_was_removed_is_refused_and_a_finished_one_is_told_again(
    book: Path, tmp_path: Path
) -> None:
    made = work(book, tmp_path)
    plan = plan_of(made, TARIFF).decode()
    (said,) = answered(Asked(plan=plan, step="price")).refused
    assert "begin anew" in said
    (said,) = answered(Asked(plan=plan, step="finish")).refused
    assert "begin anew" in said
    in_one_go(made)
    assert answered(Asked(plan=plan, step="finish")).renewed == 1_000
    other = plan_of(work(book, tmp_path, shards=7), TARIFF).decode()
    (said,) = answered(Asked(plan=other, step="finish")).refused
    assert said.startswith("somebody has put another result in its place")
