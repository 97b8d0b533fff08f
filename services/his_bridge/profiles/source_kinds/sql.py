"""A view or middle table (中间库) that a hospital shows: which tables, keys and marks of change.

Address, user and password come from a setting, never from the profile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from services.his_bridge.profiles.reader import Section
from services.his_bridge.profiles.source_kinds.port import Context

if TYPE_CHECKING:
    from sqlalchemy import URL

SQL_URL_VARIABLE = "LIPEI_HIS_BRIDGE_SQL_URL_"
# Names as the database shows them; SQLAlchemy quotes what needs it. Chinese names are usual.
NAME = r"[^\W\d][\w$#]{0,127}"
_TABLE = rf"(?:{NAME}\.){{0,2}}{NAME}"
ROW_XMIN = "row_xmin"


STRAY_AT = "an @ in user or password stands for itself there only as %40, a / as %2F, a : as %3A"


def has_stray_at(url: URL) -> bool:
    """Whether what follows an @ of the password was read as the host: it would be told or asked."""
    parts = (url.host, url.database if url.get_backend_name() != "sqlite" else None)
    return any(part is not None and "@" in part for part in parts)


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """A table of which the newest rows can be found.

    `updated` is a time or a rising number; `horizon` a column that tells the transaction of the
    last change (xid8 on PostgreSQL, rowversion on SQL Server), or `row_xmin`, PostgreSQL's own.
    With both, the horizon finds what is new and `updated` only tells when.
    """

    table: str
    key: str
    updated: str | None = None
    horizon: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that finding needs."""
        found = (self.key, self.updated, None if self.horizon == ROW_XMIN else self.horizon)
        return tuple(column for column in found if column is not None)


class HeadTable(Marks, frozen=True, kw_only=True):
    """A table of records; `version` is a column that changes with every change of a record."""

    version: str | None = None


class PartTable(Marks, frozen=True, kw_only=True):
    """A table of a bill's parts; `key` is the bill's. Without marks the head tells of changes."""

    order: str | None = None


class MessageTable(HeadTable, frozen=True, kw_only=True):
    """A table of interface messages: whole in one column, or request and answer in two."""

    message: str | None = None
    request: str | None = None
    response: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns with the messages' texts."""
        return tuple(c for c in (self.message, self.request, self.response) if c is not None)


class SqlSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a hospital shows. Without `lines`, each row of `bills` is one charge of its bill."""

    variable: str
    url: str
    bills: HeadTable | None = None
    lines: PartTable | None = None
    diagnoses: PartTable | None = None
    readings: HeadTable | None = None
    messages: MessageTable | None = None
    persons: Marks | None = None
    overlap_steps: int = 0

    @property
    def scope(self) -> tuple[str, ...]:
        """Another database or table is another source; another password is not."""
        return (_place_of(self.url), *_described(self))


def read(section: Section, context: Context) -> SqlSettings:
    """The settings; the URL is LIPEI_HIS_BRIDGE_SQL_URL_{HOSPITAL}, and may be missing."""
    variable = SQL_URL_VARIABLE + context.hospital.upper().replace("-", "_")
    bills, messages = _head(section, "bills"), _messages(section)
    settings = SqlSettings(
        variable=variable,
        url=context.environ.get(variable, ""),
        bills=bills,
        lines=_part(section, "lines"),
        diagnoses=_part(section, "diagnoses"),
        readings=_head(section, "readings"),
        messages=messages,
        persons=_persons(section),
        overlap_steps=section.whole("overlap_steps", 0, low=0, high=10_000_000),
    )
    if (bills is None) == (messages is None):
        section.fault("bills", "TABLES", "give either bills or messages")
    for part in ("lines", "diagnoses"):
        if bills is None and section.has(part):
            section.fault(part, "TABLES", "belongs to bills")
    return settings


def _marks(entry: Section, key: str = "key") -> dict[str, str | None]:
    return {
        "table": entry.text("table", _TABLE) or "",
        "key": entry.text(key, NAME) or "",
        "updated": entry.text("updated", NAME, required=False),
        "horizon": entry.text("horizon", NAME, required=False),
    }


def _head(section: Section, name: str) -> HeadTable | None:
    if not section.has(name):
        return None
    entry = section.section(name)
    found = HeadTable(
        **_marks(entry),  # type: ignore[arg-type]  # empty texts stand for what has a fault
        version=entry.text("version", NAME, required=False),
    )
    _needs_a_mark(entry, found)
    entry.close()
    return found


def _messages(section: Section) -> MessageTable | None:
    if not section.has("messages"):
        return None
    entry = section.section("messages")
    found = MessageTable(
        **_marks(entry),  # type: ignore[arg-type]  # empty texts stand for what has a fault
        version=entry.text("version", NAME, required=False),
        message=entry.text("message", NAME, required=False),
        request=entry.text("request", NAME, required=False),
        response=entry.text("response", NAME, required=False),
    )
    if (found.message is None) == (found.request is None):
        entry.fault("message", "COLUMNS", "give either message, or request and response")
    _needs_a_mark(entry, found)
    entry.close()
    return found


def _part(section: Section, name: str) -> PartTable | None:
    if not section.has(name):
        return None
    entry = section.section(name)
    found = PartTable(
        **_marks(entry, "bill_key"),  # type: ignore[arg-type]  # as above
        order=entry.text("order", NAME, required=False),
    )
    entry.close()
    return found


def _persons(section: Section) -> Marks | None:
    if not section.has("persons"):
        return None
    entry = section.section("persons")
    found = Marks(table=entry.text("table", _TABLE) or "", key=entry.text("key", NAME) or "")
    entry.close()
    return found


def _needs_a_mark(entry: Section, table: Marks) -> None:
    if table.updated is None and table.horizon is None:
        entry.fault("updated", "MISSING", "give updated, horizon or both")


def _place_of(url: str) -> str:
    from sqlalchemy import make_url  # noqa: PLC0415 - heavy, and most hospitals show no tables
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - as above

    try:
        parsed = make_url(url)
    except ArgumentError:
        return ""
    query = "&".join(f"{name}={parsed.query[name]}" for name in ("host",) if name in parsed.query)
    return f"{parsed.get_backend_name()}://{parsed.host}:{parsed.port}/{parsed.database}?{query}"


def _described(settings: SqlSettings) -> Iterator[str]:
    for name in ("bills", "lines", "diagnoses", "readings", "messages"):
        table: Marks | None = getattr(settings, name)
        if table is not None:
            yield " ".join((name, table.table, *table.columns, table.horizon or ""))
