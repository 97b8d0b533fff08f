"""`python -m tests.canary.without GUARD MODULE ...`: run one of our modules without a guard."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterable

from temporalio.api.common.v1 import Payload

from services.common.sealing.subject_keys import Sealer
from services.common.temporal.codec import EncryptingCodec


def _without_codec() -> None:
    async def as_they_are(_codec: EncryptingCodec, payloads: Iterable[Payload]) -> list[Payload]:
        return list(payloads)

    EncryptingCodec.encode = as_they_are  # type: ignore[method-assign, assignment] # the guard goes
    EncryptingCodec.decode = as_they_are  # type: ignore[method-assign, assignment] # the guard goes


# As a sealed value looks, so that what reads its key's generation finds one.
_BEFORE, _AFTER = bytes([2, 0, 1]) + bytes(12), bytes(16)


def _without_sealing() -> None:
    def seal(_sealer: Sealer, plaintext: bytes, **_place: str) -> bytes:
        return _BEFORE + plaintext + _AFTER

    def opened(_sealer: Sealer, sealed: bytes, **_place: str) -> bytes:
        return sealed[len(_BEFORE) : -len(_AFTER)]

    Sealer.seal = seal  # type: ignore[method-assign, assignment] # the guard goes
    Sealer.open = opened  # type: ignore[method-assign, assignment] # the guard goes


GUARDS: dict[str, Callable[[], None]] = {"codec": _without_codec, "sealing": _without_sealing}


def main() -> None:
    """Run the module under its own name and with its own arguments."""
    _, guard, module, *words = sys.argv
    GUARDS[guard]()
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
