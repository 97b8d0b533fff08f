"""How much memory the bridge has after many HL7 v2 messages, beside what it had after the first.

The bridge is a process of its own, `python -m bench.hl7v2_memory URL MESSAGES`: this one holds what
all benchmarks import, which is more than a bridge.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from bench.hl7v2_bridge import bridge_database, listening, on_one_core, sent
from bench.mllp_sender import CONNECTIONS
from bench.postgres import fresh_database, postgres_server
from bench.processes import Meter, memory_mib
from bench.rows import Report, Sizes
from demo.scenario import ROOT
from services.his_bridge.receiving.memory import give_back_large_blocks

# In tenths of all messages.
_STEPS = (1, 5, 10)
_FLOOR = "the same process after the first tenth of them, when every cache is full"


def measure(report: Report, sizes: Sizes) -> None:
    """Resident memory after a tenth, half and all of the messages."""
    messages = sizes.hl7_messages
    with on_one_core(), postgres_server(durable=True) as server, fresh_database(server) as url:
        found, spent = [], []
        for done, mib, spent_ms in _of_a_bridge(url, messages):
            found.append(mib)
            spent.append(spent_ms)
            report.counts[f"HL7 v2: MiB after {done} messages"] = mib
            report.say(f"  {mib:.1f} MiB after {done} messages")
    report.add(
        f"memory after {messages} HL7 v2 messages over {CONNECTIONS} connections",
        "MiB",
        found[-1],
        found[1],
        cpu_ms=spent[-1] / messages,
        what_floor_is=_FLOOR,
        n=messages,
    )


def _of_a_bridge(url: str, messages: int) -> Iterator[tuple[int, float, float]]:
    """Messages so far, MiB, and CPU in milliseconds."""
    with subprocess.Popen(  # noqa: S603 - our own module, by this very interpreter
        [sys.executable, "-m", "bench.hl7v2_memory", url, str(messages)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            for line in process.stdout or ():
                done, mib, spent_ms = json.loads(line)
                yield done, mib, spent_ms
            if process.wait():
                raise RuntimeError("the bridge that takes the messages ended with a fault")
        finally:
            process.kill()


async def main(url: str, messages: int) -> None:
    """Take them in as the bridge does, and say after each step what that took."""
    give_back_large_blocks()
    spent = Meter({"": os.getpid()})
    with bridge_database(url) as (database, keys):
        async with listening(database, keys) as port:
            _say(0, spent)
            done = 0
            for step in _STEPS:
                upto = messages * step // 10
                with spent:
                    await sent(database, port, done, upto - done)
                done = upto
                _say(done, spent)


def _say(done: int, spent: Meter) -> None:
    print(json.dumps([done, memory_mib(os.getpid())[0], spent.total_ms]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
