"""A listener that is killed between commit and acknowledgement: `doomed URL PROFILE_FOLDER N HOW`.

It prints its port, and after its Nth transaction it kills itself. HOW is `honest`, or `careless`:
then it acknowledges first, as a control, and dies before it commits.
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

# Long enough for an answer to leave, short for a test.
_UNTIL_IT_LEFT_S = 0.2


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
    """Says that it has stored what it is only about to store, and dies in between."""

    left = 0

    async def take(self, records: Sequence[RawRecord]) -> tuple[Taken, ...]:
        Careless.left -= 1
        if Careless.left > 0:
            return await super().take(records)
        loop = asyncio.get_running_loop()
        loop.call_later(_UNTIL_IT_LEFT_S, os.kill, os.getpid(), signal.SIGKILL)
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
