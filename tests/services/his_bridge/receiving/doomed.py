"""A listener that is killed between commit and acknowledgement: `doomed URL PROFILE_FOLDER N HOW`.

It prints its port, and after its Nth transaction it kills itself. HOW is `honest`, or `careless`:
then, as a control, it acknowledges from there on without a commit, and dies once one of SENDERS
senders has heard so.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from services.common.database import Database
from services.his_bridge.intake import Intake, Taken
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings
from services.his_bridge.sources.port import RawRecord
from tests.services.his_bridge.receiving.listening import listening

# Each sends one message at a time, over a connection of its own.
SENDERS = 4


class Doomed(Intake):
    """Dies after a transaction."""

    left = 0

    async def take(self, records: Sequence[RawRecord]) -> tuple[Taken, ...]:
        taken = await super().take(records)
        Doomed.left -= 1
        if Doomed.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return taken


class Careless(Intake):
    """Says that it has stored what it is only about to store, and dies in between.

    One message more than there are senders: so one of them has had its answer, and went on.
    """

    left = 0
    promised = 0

    async def take(self, records: Sequence[RawRecord]) -> tuple[Taken, ...]:
        Careless.left -= 1
        if Careless.left > 0:
            return await super().take(records)
        Careless.promised += len(records)
        if Careless.promised > SENDERS:
            os.kill(os.getpid(), signal.SIGKILL)
        return tuple(Taken.STORED for _ in records)


async def main(url: str, transactions: int, how: str) -> None:
    """Listen until the end."""
    kind = Careless if how == "careless" else Doomed
    kind.left = transactions
    async with listening(Database(url), settings=MllpSettings(), kind=kind) as running:
        print(running.port, flush=True)  # noqa: T201 the test reads it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
