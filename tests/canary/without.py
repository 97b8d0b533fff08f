"""`python -m tests.canary.without GUARD MODULE ...`: run one of our modules without a guard."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterable

from temporalio.api.common.v1 import Payload

from services.common.temporal.codec import EncryptingCodec


def _without_codec() -> None:
    async def as_they_are(_codec: EncryptingCodec, payloads: Iterable[Payload]) -> list[Payload]:
        return list(payloads)

    EncryptingCodec.encode = as_they_are  # type: ignore[method-assign, assignment] # the guard goes
    EncryptingCodec.decode = as_they_are  # type: ignore[method-assign, assignment] # the guard goes


GUARDS: dict[str, Callable[[], None]] = {"codec": _without_codec}


def main() -> None:
    """Run the module under its own name and with its own arguments."""
    _, guard, module, *words = sys.argv
    GUARDS[guard]()
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
