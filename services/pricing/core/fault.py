"""What is wrong with a tariff, as every check of it says so. Knows no check."""

from __future__ import annotations

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a tariff: where, a stable reason, and what to do."""

    path: str
    reason: str
    text: str
