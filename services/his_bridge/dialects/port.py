"""What every dialect does for the pull: glance at a record, then judge it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import msgspec

from services.his_bridge.core.outcomes import Outcome

# Kind and id of a record that others point at.
Key = tuple[str, str]
# Kind and number of an identity document in, member token out; ValueError for an empty number.
Tokens = Callable[[str, str], str]


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """A record at first sight. `decoded` belongs to the dialect alone."""

    decoded: Any
    keep_out: bool
    needs: frozenset[Key]


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was looked up for others and says something by itself."""

    kind: str
    record_id: str
    version: str
    updated: datetime | None
    raw: bytes
    meaning: bytes
    outcome: Outcome


class RecordReader(Protocol):
    """Reads one kind of record of one source. Never raises for what a record holds."""

    @property
    def kind(self) -> str:
        """What the source calls these records."""
        ...

    def glance(self, raw: bytes) -> Glance:
        """Whether the record is to be kept out, and what must be looked up to judge it."""
        ...

    def read_supporting(self, kind: str, raw: bytes) -> Any:
        """A record that others point at, in the dialect's own form."""
        ...

    def judge(self, record_id: str, glance: Glance, support: Mapping[Key, Any]) -> Outcome:
        """What the record says, or every fault that holds it back."""
        ...


@runtime_checkable
class Learns(Protocol):
    """A reader to whom also what records point at says something."""

    def learnt(self, found: Mapping[Key, bytes], support: Mapping[Key, Any]) -> Sequence[Learnt]:
        """What the looked-up records say; `support` is all that is known by now."""
        ...
