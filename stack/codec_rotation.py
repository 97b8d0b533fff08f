"""`python -m stack.codec_rotation STATE renew|runs MOMENT`: what rotating keys asks of Temporal.

Prints the ids of the keys that schedules had before, one a line; or the number of runs that
Temporal holds from before the moment. Exit 1 with the name of the error when it did not answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import datetime
from pathlib import Path

from services.common.temporal.rotation import renew_schedules, runs_since_before


def main() -> int:
    """Exit code."""
    state, what, *moment = sys.argv[1:]
    try:
        if what == "renew":
            said = "\n".join(sorted(asyncio.run(renew_schedules(Path(state)))))
        else:
            earlier = datetime.fromisoformat(moment[0])
            said = str(asyncio.run(runs_since_before(Path(state), earlier)))
    except Exception as error:  # noqa: BLE001 -- the SDK's errors are unknown outside common.temporal
        print(type(error).__name__, flush=True)
        return 1
    print(said, flush=True)
    return 0


if __name__ == "__main__":
    os._exit(main())  # as stack.pull_trigger: the SDK's threads outlive the client
