"""`python -m stack.pull_trigger STATE HOSPITAL bills|readings|withdrawals`: pull them now.

Temporal runs the pull. Exit 0 when it was asked; else 1, and the error's name is printed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import get_args

from services.common.temporal.names import Channel
from services.common.temporal.schedules import trigger_pull

_CHANNELS: dict[str, Channel] = {name: name for name in get_args(Channel)}


def main() -> int:
    """Exit code."""
    state, hospital, what = sys.argv[1:]
    try:
        asyncio.run(trigger_pull(Path(state), hospital, _CHANNELS[what]))
    except Exception as error:  # noqa: BLE001 -- the SDK's errors are unknown outside common.temporal
        print(type(error).__name__, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    # The SDK's native threads outlive the client, and one that asks for the interpreter's lock
    # while the interpreter is finalised aborts the process. So it is never finalised.
    os._exit(main())
