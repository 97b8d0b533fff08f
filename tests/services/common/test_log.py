"""Logs tell codes, ids and places; what a person said or owes never gets there."""

from __future__ import annotations

import json

from tests.services.common.programs import run

SECRET = "张三 4401 0119"
PROGRAM = f"""
import asyncio, logging, sys, threading
from services.common import log
if sys.argv[1] == "configured":
    log.configure("claims", "info")
log.logger().info("pulled", count=3)
log.logger().debug("too_fine")
try:
    raise ValueError({SECRET!r})
except ValueError:
    logging.getLogger("grpc").exception("failed on {SECRET}")
logging.getLogger("grpc").warning("what about %s", {SECRET!r})

def in_a_thread():
    raise LookupError({SECRET!r})

thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()

async def main():
    async def forgotten():
        raise OSError({SECRET!r})
    task = asyncio.create_task(forgotten())
    await asyncio.sleep(0)
    del task
    try:
        raise KeyError({SECRET!r})
    except KeyError as fault:
        raise RuntimeError({SECRET!r}) from fault

asyncio.run(main())
"""


def test_a_crashing_process_tells_where_and_not_what() -> None:
    done = run(PROGRAM, "configured")
    assert done.returncode == 1
    assert SECRET not in done.stderr + done.stdout
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == [
        "pulled",
        "third_party",
        "third_party",
        "crashed",
        "third_party",
        "crashed",
    ]
    assert lines[0] == {
        "event": "pulled",
        "count": 3,
        "level": "info",
        "service": "claims",
        "timestamp": lines[0]["timestamp"],
    }
    assert [line.get("fault") for line in lines[1:]] == [
        "ValueError",
        None,
        "LookupError",
        "OSError",
        "RuntimeError",
    ]
    assert [line.get("logger") for line in lines[1:]] == ["grpc", "grpc", None, "asyncio", None]
    assert lines[-1]["at"][-1].startswith("<string>:")


def test_without_our_configuration_the_same_process_tells_all() -> None:
    # The control: it shows that the program really tries.
    assert run(PROGRAM, "default").stderr.count(SECRET) >= 6
