"""What members have said under names, revision by revision: readings and medication alike.

A row is sealed under the key of whoever holds it about the member (`tenancy.py`) and looked up by a
blind index of its holding and name. Knows neither what a revision says nor which follows which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from sqlalchemy import Connection, Row, Table, select

from services.common.access.tenant import Tenant
from services.common.sealing import Sealer
from services.pricing.storage.tenancy import find, holder_of, holders, subject_of

encode = msgspec.json.Encoder(order="deterministic").encode


class Said(Protocol):
    """What a revision says, as far as it is known here."""

    @property
    def name(self) -> str:
        """The full name, of which all revisions have the same."""

    @property
    def stated_us(self) -> int | None:
        """When it was received, where its recorder says so; else when it was recorded."""


S = TypeVar("S", bound=Said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Generic[S]):
    """All revisions under one name, oldest first: when the first was received, whose they are."""

    revisions: tuple[S, ...]
    received_us: int
    recorder: str  # `holder_of`

    @property
    def newest(self) -> S:
        """The revision that counts."""
        return self.revisions[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known(Generic[S]):
    """The newest revision under a name, and its number."""

    revision: int
    said: S


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisions(Generic[S]):
    """One table of revisions."""

    table: Table
    decode: Callable[[bytes], S]

    def of_member(
        self,
        connection: Connection,
        sealer: Sealer,
        tenant: Tenant,
        member_token: str,
        first: date,
        after: date,
    ) -> list[Line[S]]:
        """The member's lines that have a revision in the years from `first` to `after`, by name.

        None of a member who does not exist for the tenant.
        """
        member = find(connection, sealer, tenant, member_token)
        if member is None:
            return []
        held_by = holders(connection, [member])[member]
        sealer.load(map(subject_of, held_by))
        inside = select(self.table.c.name_index).where(
            self.table.c.holding.in_(list(held_by)),
            self.table.c.year >= first.year,
            self.table.c.year <= after.year,
        )
        rows = connection.execute(
            select(self.table)
            .where(self.table.c.name_index.in_(inside))
            .order_by(self.table.c.name_index, self.table.c.revision)
        ).all()
        by_name: dict[str, list[Row[Any]]] = {}
        for row in rows:
            by_name.setdefault(row.name_index, []).append(row)
        return sorted(
            (self._line(sealer, lines, held_by) for lines in by_name.values()),
            key=lambda line: line.newest.name,
        )

    def all_of(self, connection: Connection, sealer: Sealer, indices: Sequence[str]) -> list[S]:
        """Every revision at these places, oldest first."""
        rows = connection.execute(
            select(self.table)
            .where(self.table.c.name_index.in_(indices))
            .order_by(self.table.c.revision)
        ).all()
        return [self.opened(sealer, row) for row in rows]

    def newest(
        self, connection: Connection, sealer: Sealer, index_of: Mapping[str, str]
    ) -> dict[str, Known[S]]:
        """The newest revision of each name that is known; `index_of` are names with places."""
        names = {at: name for name, at in index_of.items()}
        rows = connection.execute(
            select(self.table)
            .where(self.table.c.name_index.in_(list(names)))
            .order_by(self.table.c.revision)
        )
        newest = {row.name_index: row for row in rows}
        return {
            names[at]: Known(revision=row.revision, said=self.opened(sealer, row))
            for at, row in newest.items()
        }

    def index(self, sealer: Sealer, held_in: str, name: str) -> str:
        """Where a name of a holding stands."""
        # The holding is in it: after an erasure the same name is another thing.
        return sealer.index(f"{held_in}/{name}", table=self.table.name, column="name_index")

    def taken(
        self,
        connection: Connection,
        sealer: Sealer,
        tenant: Tenant,
        member_of: Mapping[str, str],
        named: Sequence[tuple[str, str]],
    ) -> set[str]:
        """Names, each with its member's token, under which somebody else has recorded."""
        held_by = holders(connection, member_of.values())
        others = {
            self.index(sealer, held_in, name): name
            for name, token in named
            for held_in, by in held_by[member_of[token]].items()
            if by != holder_of(tenant)
        }
        found = select(self.table.c.name_index).where(self.table.c.name_index.in_(list(others)))
        return {others[at] for at in connection.execute(found).scalars()}

    def row(
        self, sealer: Sealer, said: S, *, held_in: str, at: str, known: Known[S] | None, year: int
    ) -> dict[str, Any]:
        """The row of what follows the revision that is known; its request is to be added."""
        revision = 1 if known is None else known.revision + 1
        place = place_of(self.table.name, f"{at}/{revision}", held_in)
        return {
            "name_index": at,
            "revision": revision,
            "holding": held_in,
            "year": year,
            "sealed": sealer.seal(encode(said), **place),
        }

    def _line(
        self, sealer: Sealer, rows: Sequence[Row[Any]], held_by: Mapping[str, str]
    ) -> Line[S]:
        revisions = tuple(self.opened(sealer, row) for row in rows)
        return Line(
            revisions=revisions,
            received_us=received_us(rows[0], revisions[0]),
            recorder=held_by[rows[-1].holding],
        )

    def opened(self, sealer: Sealer, row: Row[Any]) -> S:
        """What a row says.

        Raises: Erased, CannotOpen.
        """
        place = place_of(self.table.name, f"{row.name_index}/{row.revision}", row.holding)
        return self.decode(sealer.open(row.sealed, **place))


def received_us(row: Row[Any], said: Said) -> int:
    """When a revision was received: as its recorder stated it, else when it was recorded."""
    return int(row.at_us if said.stated_us is None else said.stated_us)


def place_of(table: str, row: str, held_in: str) -> dict[str, str]:
    """What a sealed value is bound to: its table, its row, and whose key it is sealed under."""
    return {"table": table, "column": "sealed", "row": row, "subject": subject_of(held_in)}
