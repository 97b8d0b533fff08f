"""How much memory the bridge has after many HL7 v2 messages, beside what it had after the first."""

from __future__ import annotations

import asyncio
import os

from bench.hl7v2_bridge import bridge_database, listening, on_one_core, sent
from bench.mllp_sender import CONNECTIONS
from bench.postgres import fresh_database, postgres_server
from bench.processes import Meter, memory_mib
from bench.rows import Report, Sizes

# In tenths of all messages.
_STEPS = (1, 5, 10)
_FLOOR = "the same process after the first tenth of them, when every cache is full"


def measure(report: Report, sizes: Sizes) -> None:
    """Resident memory after a tenth, half and all of the messages."""
    with on_one_core(), postgres_server(durable=True) as server, fresh_database(server) as url:
        asyncio.run(_measured(report, sizes.hl7_messages, url))


async def _measured(report: Report, messages: int, url: str) -> None:
    found: list[float] = []
    spent = Meter({"": os.getpid()})
    with bridge_database(url) as (database, keys):
        async with listening(database, keys) as port:
            done = 0
            for step in _STEPS:
                upto = messages * step // 10
                with spent:
                    await sent(database, port, done, upto - done)
                done = upto
                found.append(memory_mib(os.getpid())[0])
                report.counts[f"HL7 v2: MiB after {done} messages"] = found[-1]
                report.say(f"  {found[-1]:.1f} MiB after {done} messages")
    report.add(
        f"memory after {messages} HL7 v2 messages over {CONNECTIONS} connections",
        "MiB",
        found[-1],
        found[0],
        cpu_ms=spent.total_ms / messages,
        what_floor_is=_FLOOR,
        n=messages,
    )
