"""`lipei his pull` shows a backfill until the bridge has caught up, and survives Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import typer
from rich.console import Console

from services.common.transport.certificates import FOLDER
from stack.commands.failing import Failed
from stack.commands.his import BECAME
from stack.commands.his_pull import (
    LINE_EVERY_S,
    PATIENCE_S,
    SHORT_PATIENCE_S,
    Watching,
    pushes,
    refused_files,
    watched,
)
from tests.identities import equip
from tests.services.his_bridge import messages_hl7
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, PROFILE
from tests.services.his_bridge.running import CALL_S, Bridge, running_bridge
from tests.services.his_bridge.sources.odd_server import OddServer, odd_server
from tests.services.his_bridge.test_dropped_corrections import CSV_PROFILE, HEADER, NUMBER, ROW
from tests.stack.typed import lipei

H = "demo-hospital"
BILLS = 30


@pytest.fixture
def server() -> Iterator[OddServer]:
    around, claims, _ = good(BILLS)
    with odd_server(tells_total=True) as found:
        for one in around:
            found.put(one)
        for one in claims:
            found.now += timedelta(days=1)
            found.write(one["id"], **{key: value for key, value in one.items() if key != "id"})
        yield found


@pytest.fixture
def bridge(server: OddServer, tmp_path: Path) -> Iterator[Bridge]:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    text = PROFILE.replace(BASE_URL, server.base_url)
    text = text.replace("page_size: 50", "page_size: 5, attempts: 1")
    (profiles / f"{H}.yaml").write_text(text)
    with running_bridge(tmp_path / "state", profiles) as found:
        yield found


class Worker:
    """In the worker's stead: one bounded pull at each of the watcher's pauses; time passes too."""

    def __init__(self, bridge: Bridge, at_once: int = 5) -> None:
        self.now_s = 0.0
        self.asked = 0
        self.pauses = 0
        self._bridge = bridge
        self._at_once = at_once

    def ask(self) -> None:
        self.asked += 1

    def pause(self, seconds: float) -> None:
        self.now_s += LINE_EVERY_S
        self.pauses += 1
        with contextlib.suppress(grpc.RpcError):  # a worker tries again
            self._bridge.pull(self._at_once)

    def watching(
        self, channel: str = "bills", pause: Callable[[float], None] | None = None
    ) -> Watching:
        return Watching(
            self._bridge.stub, H, channel, clock=lambda: self.now_s, pause=pause or self.pause
        )


def shown(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=200)


def lines_of(out: Console) -> list[str]:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def test_a_backfill_is_shown_until_it_has_caught_up(
    bridge: Bridge, capsys: pytest.CaptureFixture[str]
) -> None:
    worker, out = Worker(bridge), shown()
    watched(worker.watching(), worker.ask, out)
    assert worker.asked == 1
    lines = lines_of(out)
    assert len(lines) == len(set(lines)) >= BILLS // 5
    # What came, of how many by the source's count, until which of the records' days, how fast.
    third = lines[2]
    assert third.startswith("bills: 15 of about 30 records (15 new), changed until 2026-03-1")
    assert "5 in quarantine" not in third
    assert "30 a minute; about 30 s left" in third
    assert capsys.readouterr().out == (
        f"caught up with the source: {BILLS} records, of which {BILLS} new; "
        f"0 bills, 0 in quarantine, {BILLS} held\n"
    )
    # Once more there is nothing new, and it says so at once.
    watched(worker.watching(), worker.ask, out)
    assert ", of which 0 new; " in capsys.readouterr().out


def test_ctrl_c_leaves_the_pull_running_and_the_next_call_shows_on(
    bridge: Bridge, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(bridge)

    def impatient(seconds: float) -> None:
        if worker.pauses == 2:
            raise KeyboardInterrupt
        worker.pause(seconds)

    with pytest.raises(typer.Exit) as ended:
        watched(worker.watching(pause=impatient), worker.ask, shown())
    assert ended.value.exit_code == 130
    assert capsys.readouterr().out == f"the pull goes on; `lipei his pull {H}` shows it again\n"
    worker.pause(1)  # it did
    out = shown()
    watched(worker.watching(), worker.ask, out)
    assert lines_of(out)[0].startswith("bills: 20 of about 30 records (20 new)")
    assert f": {BILLS} records, of which {BILLS} new" in capsys.readouterr().out


def test_a_terminal_gets_a_bar(bridge: Bridge, capsys: pytest.CaptureFixture[str]) -> None:
    worker, out = Worker(bridge), shown(terminal=True)
    watched(worker.watching(), worker.ask, out)
    text = "\n".join(lines_of(out))
    assert "━" in text
    assert f"{BILLS} of about {BILLS} records" in text
    assert capsys.readouterr().out.startswith("caught up with the source")


def test_a_source_that_goes_on_failing_ends_the_showing_with_its_reason(
    bridge: Bridge, server: OddServer
) -> None:
    worker, out = Worker(bridge), shown()
    server.script.extend([(401, {}, b"{}")] * 100)
    with pytest.raises(Failed) as failed:
        watched(worker.watching(), worker.ask, out)
    assert failed.value.lines[0] == (
        "the source cannot be read: SOURCE_REFUSES; what was fetched is kept"
    )
    assert worker.now_s >= PATIENCE_S
    assert "last attempt: SOURCE_REFUSES" in lines_of(out)[0]


def test_what_no_waiting_cures_ends_the_showing_soon(bridge: Bridge, server: OddServer) -> None:
    worker = Worker(bridge)
    server.script.extend([(200, {"content-type": "text/html"}, b"<html>")] * 100)
    with pytest.raises(Failed) as failed:
        watched(worker.watching(), worker.ask, shown())
    assert failed.value.lines == (
        "the source cannot be read: SOURCE_NOT_FHIR; what was fetched is kept",
        f"the bridge tries again by itself; `lipei his test {H}` says what a person can do",
    )
    assert SHORT_PATIENCE_S <= worker.now_s < PATIENCE_S


def test_one_failure_among_successes_is_told_and_ends_nothing(
    bridge: Bridge, server: OddServer, capsys: pytest.CaptureFixture[str]
) -> None:
    worker, out = Worker(bridge), shown()
    server.script[:] = [(401, {}, b"{}")]
    watched(worker.watching(), worker.ask, out)
    assert "last attempt: SOURCE_REFUSES" in lines_of(out)[0]
    assert capsys.readouterr().out.startswith("caught up with the source")


def test_a_pull_of_a_hospital_that_pushes_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last success is its last message, which no pull makes newer."""
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    messages_hl7.write_profile(profiles)
    with running_bridge(tmp_path / "state", profiles) as bridge:
        deadline = time.monotonic() + CALL_S
        while not pushes(bridge.state, H):  # it serves before it listens
            assert time.monotonic() < deadline, "the listener has not started"
            time.sleep(0.02)
        assert not pushes(bridge.state, "another")
        bridge.pull()
        worker = Worker(bridge)

        def pause(seconds: float) -> None:
            worker.pause(seconds)
            assert worker.pauses < 10, "the showing does not end"

        asked = pushes(bridge.state, H)
        watching = Watching(
            bridge.stub, H, "bills", pushes=asked, clock=lambda: worker.now_s, pause=pause
        )
        watched(watching, worker.ask, shown())
    assert worker.asked == 1
    assert capsys.readouterr().out.startswith("what was pushed so far is read; 0 bills")


def test_a_channel_that_the_profile_does_not_have_is_said(
    tmp_path: Path, server: OddServer
) -> None:
    text = PROFILE.replace(BASE_URL, server.base_url)
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / f"{H}.yaml").write_text(text)
    with (
        running_bridge(tmp_path / "state", profiles) as bridge,
        pytest.raises(Failed) as failed,
    ):
        Worker(bridge).watching("weights").look()
    assert failed.value.lines == ("this hospital's profile says nothing of weights",)


def test_a_file_that_is_too_young_is_said_so_with_the_time_when_it_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profiles, place = tmp_path / "profiles", tmp_path.resolve() / "drop" / "Bill"
    profiles.mkdir()
    place.mkdir(parents=True, mode=0o750)
    text = CSV_PROFILE.replace("FOLDER", str(place.parent))
    text = text.replace("settle_s: 0", "settle_s: 86400")
    text = text.replace("csv-hospital", H)
    (profiles / f"{H}.yaml").write_text(text)
    (place / "day.csv").write_text(HEADER)
    counts_s = (place / "day.csv").stat().st_ctime + 86_400
    with running_bridge(tmp_path / "state", profiles) as bridge:
        worker = Worker(bridge)
        watched(worker.watching(), worker.ask, shown())
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("caught up with the source: 0 records, of which 0 new; ")
    until = datetime.fromtimestamp(counts_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    assert said[1:] == [
        f"1 file not read yet: too young to be whole until {until} UTC; pull again then"
    ]


def test_files_taken_and_refused_are_said_and_records_add_up_in_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profiles, place = tmp_path / "profiles", tmp_path.resolve() / "drop" / "Bill"
    profiles.mkdir()
    place.mkdir(parents=True, mode=0o750)
    text = CSV_PROFILE.replace("FOLDER", str(place.parent)).replace("csv-hospital", H)
    (profiles / f"{H}.yaml").write_text(text)
    (place / "day.csv").write_text("A,B\n1,2\n")
    (place / "good.csv").write_text(HEADER + ROW.format(bill=1, number=NUMBER, amount=5, rev=1))
    with running_bridge(tmp_path / "state", profiles) as bridge:
        worker = Worker(bridge)
        watched(worker.watching(), worker.ask, shown())
        found = worker.watching().look().channel.catch_up
        state = equip(bridge.state, sandbox=True)
        for kind in ("pem", "key"):  # the tests' one desk of a hospital, as the sandbox names it
            desk = state / FOLDER / f"desk-hospital.{kind}"
            shutil.copy2(desk, desk.with_stem(f"desk-hospital-{H}"))
        status = lipei("his", "status", H, "--state", state)
        as_json = json.loads(lipei("his", "status", H, "--state", state, "--json").out)
    said = capsys.readouterr().out.splitlines()
    assert found.refused_file_count == 1
    assert said[-1] == refused_files(found)
    assert said[-1].startswith("1 file refused as a whole, with nothing taken of it: ")
    given = "the last catching up was given 1 record, 1 of them new; 0 were known or are kept out"
    assert status.out.splitlines()[-3:] == [
        f"bills: {given}",
        "bills: 1 file taken, in the folder done/",
        f"bills: {said[-1]}",
    ]
    (source,) = as_json["source"]
    assert source["catch_up"]["taken_file_count"] == 1
    assert source["records"].pop("arrived_count") == sum(source["records"].values()) == 1
    # Each count has its line.
    assert {"arrived_count", *source["records"]} == {of for _, of in BECAME}
    assert all(f"\n {name} " in status.out for name, _ in BECAME)
