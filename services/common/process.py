"""How every process of ours begins: settings, logging, and a sentence when it cannot run.

Knows no database: workers have none, and start in half the time without its libraries.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from services.common import log
from services.common.process_settings import LipeiSettings, faults_of
from services.common.refusals import Refused
from services.common.settings import UnknownSetting, refuse_unknown
from services.common.transport.certificates import TlsRefused

S = TypeVar("S", bound=LipeiSettings)


def start(
    name: str,
    settings_type: type[S],
    run: Callable[[S], Coroutine[Any, Any, None]],
    *,
    refusals: tuple[type[Exception], ...] = (),
    database_faults: tuple[type[Exception], ...] = (),
) -> None:
    """Run until the process is told to stop; exit with 1 and our own sentences when it cannot.

    `refusals` are the errors whose text is such a sentence. `database_faults` are none: their text
    may hold the URL, and so a password.
    """
    ours: tuple[type[Exception], ...] = (UnknownSetting, TlsRefused, *refusals)
    try:
        refuse_unknown()
        settings = settings_type()
        log.configure(name, settings.log_level)
        asyncio.run(run(settings))
        leave_at_once()
    except ValidationError as error:
        sys.exit("\n".join(faults_of(error)))
    except ours as refused:
        sys.exit(str(refused))
    except database_faults as fault:  # some are refusals as well
        setting = f"LIPEI_{name.upper()}_DATABASE_URL"
        sys.exit(f"the database of {setting} is of no use now: {type(fault).__name__}")
    except Refused as refused:  # a master key that the database needs is not there
        about = "".join(f" {name} {value}" for name, value in sorted(refused.metadata.items()))
        sys.exit(f"{refused.text} [{refused.reason}{about}]")


def now_us() -> int:
    """Microseconds since 1970 in UTC: the clock that a process hands to what needs one."""
    return time.time_ns() // 1_000


def leave_at_once() -> NoReturn:
    """End the process with 0 without tearing the interpreter down.

    Everything of ours is closed by now. With a call still open, the Temporal SDK's own threads hold
    the interpreter's end up for as long as the server lets that call hang (measured: over 15 s
    with decisions waited for), or abort it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
