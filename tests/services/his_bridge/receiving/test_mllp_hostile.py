"""Whatever is sent, the answer is typed, nothing is half a bill, and memory is bounded."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.database import Database
from services.his_bridge.dialects.hl7v2.framing import framed
from tests.services.his_bridge.messages_hl7 import FT1, dft, judge, message, with_field
from tests.services.his_bridge.receiving.listening import LONGEST_S, client, listening
from tests.services.his_bridge.receiving.test_mllp_kill import DOOMED
from tests.services.his_bridge.running import ROOT

MIB = 1 << 20
TEN = 10 * MIB


@pytest.fixture
def database(sqlite_database: str) -> Iterator[Database]:
    found = Database(sqlite_database)
    yield found
    found.close()


def filled(head: str, piece: bytes, size: int) -> bytes:
    """A message that is filled up to a size with a piece, over and over."""
    raw = head.encode("gb18030")
    return raw + piece * ((size - len(raw)) // len(piece))


# What no good sender sends; the code of the answer.
HOSTILE: dict[str, tuple[bytes, str]] = {
    "mixed delimiters": (dft().replace("PID|", "PID#").encode("gb18030"), "AR"),
    "a document type": (dft().encode("gb18030") + b"<!DOCTYPE x [<!ENTITY y 'z'>]>\r", "AA"),
    "another charset's text": (dft().encode("utf-8").replace("欧".encode(), b"\xff"), "AE"),
    "nulls": (dft().encode("gb18030").replace(b"HIS^MR", b"\x00\x00"), "AA"),
    "segments without end": (filled(dft(), b"\r", MIB), "AR"),
    "segments of one letter": (filled(dft(), b"Z\r", MIB), "AR"),
    "fields without end": (filled(dft() + "ZZZ", b"|", MIB), "AA"),
    "repetitions without end": (filled(dft() + "PID|", b"~", MIB // 2), "AA"),
    "an endless charge": (filled(dft() + "FT1|", b"^", 2 * MIB), "AR"),
}
# The same at their largest: 10 MiB of what takes most memory when it is taken apart.
LARGEST: dict[str, tuple[str, bytes, int]] = {
    "delimiters": (dft() + "ZZZ", b"|^~&", TEN),
    "segments": (dft(), b"\r", TEN),
    "charges": (dft(), FT1[0].encode("gb18030") + b"\r", TEN),
    "wide characters": (dft() + "OBX|", "\U00020000".encode("gb18030"), TEN),
    "oversized": (dft() + "ZZZ|", b"x", 3 * TEN),
    "undecodable": (dft() + "ZZZ|", b"\xff", TEN),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_good_sender_sends_is_answered(database: Database, name: str) -> None:
    raw, code = HOSTILE[name]

    async def whole() -> None:
        async with listening(database) as running, client(running.port) as sender:
            assert (await sender.ask(raw))[1][1] == code
            assert (await sender.ask(dft(control_id="END")))[1][1:] == ["AA", "END"]

    asyncio.run(whole())
    # And it can be judged, or was never stored.
    judge(raw)


def test_merges_in_a_circle_are_each_taken(database: Database) -> None:
    pid = dft().split("\r")[2]
    there = message("ADT^A41", pid, "MRG|M||ACC2", control_id="A")
    back = message("ADT^A41", with_field(pid, "PID", 18, "ACC2"), "MRG|M||ACC001", control_id="B")

    async def whole() -> None:
        async with listening(database) as running, client(running.port) as sender:
            assert [(await sender.ask(text))[1][1] for text in (there, back)] == ["AA", "AA"]

    asyncio.run(whole())


def high_water_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


async def attack(port: int, raw: bytes, connections: int) -> list[str]:
    async def one() -> str:
        async with client(port) as sender:
            await sender.send_bytes(framed(raw))
            return (await sender.answer())[1][1]

    async with asyncio.timeout(3 * LONGEST_S):
        return await asyncio.gather(*(one() for _ in range(connections)))


@pytest.mark.fault
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_messages_on_eight_connections_take_64_mib_at_most(
    sqlite_database: str, name: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", DOOMED, sqlite_database, "0", "honest"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        asyncio.run(attack(port, dft().encode("gb18030"), 8))
        idle = high_water_mib(process.pid)
        answers = asyncio.run(attack(port, filled(*LARGEST[name]), 8))
        assert set(answers) <= {"AA", "AE", "AR"}
        assert high_water_mib(process.pid) - idle <= 64
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
