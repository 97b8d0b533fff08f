"""`python -m stack.renewal_control STATE KEY WORD`: what steering a renewal asks of Temporal.

`start` reads the work, as JSON, from standard input. `progress` prints a line of JSON, how the
renewal stands, and `watch` one a second until it is over. `stands` prints that word alone and asks
no worker. `pause`, `resume` and `cancel` print
nothing. Exit 1 with the name of the error when Temporal did not answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from google.protobuf.json_format import MessageToDict, Parse

from lipei.pricing.v1.renewal_work_pb2 import RenewBookWork
from services.common.temporal.renewals import (
    RUNNING,
    renewal_progress,
    renewal_stands,
    signal_renewal,
    start_renewal,
)

_EVERY_S = 1.0


async def _told(state: Path, key: str) -> str:
    stands, progress = await renewal_progress(state, key)
    said = MessageToDict(
        progress, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    print(json.dumps({"stands": stands, "progress": said}), flush=True)
    return stands


async def _do(state: Path, key: str, word: str) -> None:
    if word == "start":
        await start_renewal(state, key, Parse(sys.stdin.read(), RenewBookWork()))
    elif word == "stands":
        print(await renewal_stands(state, key), flush=True)
    elif word == "progress":
        await _told(state, key)
    elif word == "watch":
        while True:
            if await _told(state, key) != RUNNING:
                return
            await asyncio.sleep(_EVERY_S)
    else:
        await signal_renewal(state, key, word)


def main() -> int:
    """Exit code."""
    state, key, word = sys.argv[1:]
    try:
        asyncio.run(_do(Path(state), key, word))
    except Exception as error:  # noqa: BLE001 -- the SDK's errors are unknown outside common.temporal
        print(json.dumps({"error": type(error).__name__}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main())  # as stack.pull_trigger: the SDK's threads outlive the client
