"""Why a fit is not made: every fault at once, each with what, why and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FitFault:
    """One fault: where (cause, model, factor), a stable code and a sentence. Names no person."""

    where: str
    code: str
    text: str


class FitRefused(ValueError):
    """No fit came of the experience and the settings; `faults` tell why."""

    def __init__(self, faults: Sequence[FitFault]) -> None:
        super().__init__("\n".join(f"{fault.where}: {fault.text}" for fault in faults))
        self.faults = tuple(faults)
