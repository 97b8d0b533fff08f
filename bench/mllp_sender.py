"""Whoever sends: `python -m bench.mllp_sender PORT FIRST COUNT`, from another core if there is one.

It says when it is connected, begins when it is told to, and fails when any message is not accepted.
"""

from __future__ import annotations

import asyncio
import os
import sys

LINES, CONNECTIONS = 10, 32
PEOPLE = 1_000
_MSH = "MSH|^~\\&|HIS|H110101|LIPEI|BRIDGE|20260301103000||DFT^P03|{id}|P|2.5.1||||||GB18030"
_PID = "PID|1||M{id}^^^HIS^MR~{number}^^^GA^NI||欧阳^建国||19900307|M|||幸福路7号||13912345678"
_PV1 = "PV1|1|O" + "|" * 17 + "V{id}" + "|" * 25 + "20260301090000"
_FT1 = (
    "FT1|{at}|T{id}.{at}||20260301101500||CG|11020000{at}^普通门诊诊察费^YB"
    "|||{at}||12.34|||||||E11.9^^I10"
)
_DG1 = "DG1|1||E11.9^2型糖尿病^I10|||F|||||||||1"


def identity_of(number: int) -> str:
    """Whose message it is."""
    return f"11010119900307{number % PEOPLE:03d}X"


def message(number: int) -> bytes:
    """A bill of ten lines in GB18030, unlike any other."""
    lines = [_MSH, _PID, _PV1, *(_FT1.replace("{at}", str(at)) for at in range(LINES)), _DG1]
    text = "\r".join(lines).replace("|0||12.34|", "|7||12.34|")
    return text.format(id=f"B{number}", number=identity_of(number)).encode("gb18030")


async def _send(port: int, numbers: range, go: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await go.wait()
    for number in numbers:
        writer.write(b"\x0b" + message(number) + b"\x1c\r")
        answer = await reader.readuntil(b"\x1c\r")
        if b"\rMSA|AA|" not in answer:
            raise SystemExit("a message was not accepted")
    writer.close()


async def _main(port: int, first: int, count: int) -> None:
    go = asyncio.Event()
    ends = [
        asyncio.ensure_future(_send(port, range(first + at, first + count, CONNECTIONS), go))
        for at in range(CONNECTIONS)
    ]
    await asyncio.sleep(0.5)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    go.set()
    await asyncio.gather(*ends)


if __name__ == "__main__":
    cores = set(range(os.cpu_count() or 1))
    os.sched_setaffinity(0, {max(cores)})
    asyncio.run(_main(*map(int, sys.argv[1:4])))
