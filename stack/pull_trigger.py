"""`python -m stack.pull_trigger STATE HOSPITAL bills|readings`: have Temporal run a pull now.

Exit 0 when it was asked; else 1, with the name of the error on standard output.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from services.common.temporal.names import Channel
from services.common.temporal.schedules import trigger_pull


def main() -> int:
    """Exit code."""
    state, hospital, what = sys.argv[1:]
    channel: Channel = "readings" if what == "readings" else "bills"
    try:
        asyncio.run(trigger_pull(Path(state), hospital, channel))
    except Exception as error:  # noqa: BLE001 -- the SDK's errors are unknown outside common.temporal
        print(type(error).__name__, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    # The SDK's native threads outlive the client, and one that asks for the interpreter's lock
    # while the interpreter is finalised aborts the process. So it is never finalised.
    os._exit(main())
