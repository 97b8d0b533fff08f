"""Insurers' own tariffs on SQLite or PostgreSQL: where each stands, who did what, experiments.

A tariff's content and evidence stand under their digests and never change; where it stands changes
in one transaction with the event that says who changed it and why. Judges no gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    false,
    insert,
    select,
    true,
    update,
)

from services.common.access.tenant import Kind, Tenant
from services.common.database import Database
from services.common.paging import Page, any_after
from services.pricing.core.life_cycle import (
    Event,
    State,
    after,
    check_approver,
    check_proposer,
)
from services.pricing.storage.tables import (
    OtherContent,
    available,
    insert_unless_there,
    quote,
    registered_tariff,
    routing,
    shadow_quote,
    tariff,
    tariff_event,
    tariff_evidence,
)

_SERVES = (State.APPROVED, State.ACTIVE)
_WAITING = (State.PROPOSED, State.ENDORSED, State.APPROVED)


class NoSuchTariff(LookupError):
    """The insurer has proposed no tariff of this name."""


class VersionsOverlap(ValueError):
    """Another version of the id begins on that day or later; `version` is which."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.version = version


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """Who does something and why; `fingerprint` is of the whole request."""

    actor: str
    reason: str
    request_id: str
    fingerprint: str
    at_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposed:
    """A tariff as it comes in; canonical bytes."""

    version: str
    tariff_id: str
    content: bytes
    evidence_sha256: str
    evidence: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One event of a tariff's history."""

    event: Event
    actor: str
    reason: str
    day: date | None
    at_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """An insurer's tariff and where it stands."""

    id: int
    insurer: str
    version: str
    tariff_id: str
    evidence_sha256: str
    state: State
    first: date | None
    last: date | None
    content: bytes
    history: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """The experiment under an id; without a challenger there is none."""

    tariff_id: str
    challenger: str | None
    share_millionths: int
    salt: str
    shadow: bool
    actor: str
    reason: str
    at_us: int


@dataclass(frozen=True, slots=True)
class InUse:
    """A version that an insurer's quotes may use, and from when to when."""

    version: str
    tariff_id: str
    state: State
    first: date | None
    last: date | None


@dataclass(frozen=True, slots=True)
class ShadowRow:
    """A kept shadow quote beside what was charged."""

    id: int
    quote: str
    champion: str
    champion_minor: int
    challenger: str
    challenger_minor: int
    currency: str
    at_us: int


class RegistryStore:
    """Keeps tariffs and their life. Every method blocks: call it inside `Database.run`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def propose(self, insurer: str, proposed: Proposed, act: Act) -> Registered:
        """Keep a tariff as proposed; one that is here already is answered as it stands.

        While it waits for approval everybody who proposes it is noted: none of them approves it.

        Raises: SamePerson, OtherContent.
        """
        with available(), self._database.writing() as connection:
            known = _answered(connection, insurer, act)
            if known is not None:
                return known
            for table, key, name, content in (
                (tariff, "version", proposed.version, proposed.content),
                (tariff_evidence, "sha256", proposed.evidence_sha256, proposed.evidence),
            ):
                connection.execute(
                    insert_unless_there(self._database, table, key),
                    {key: name, "content": content, "at_us": act.at_us},
                )
            connection.execute(
                insert_unless_there(self._database, registered_tariff, "insurer", "version"),
                {
                    "insurer": insurer,
                    "version": proposed.version,
                    "tariff_id": proposed.tariff_id,
                    "evidence": proposed.evidence_sha256,
                    "state": after(None, Event.PROPOSE),
                },
            )
            row = _locked(connection, insurer, proposed.version)
            if row is None:
                raise NoSuchTariff(proposed.version)
            said = [(one.event, one.actor) for one in _history(connection, [row.id])[row.id]]
            if row.state in _WAITING and (Event.PROPOSE, act.actor) not in said:
                check_proposer(act.actor, said)
                _note(connection, row.id, Event.PROPOSE, act)
            return _read(connection, row)

    def done(self, insurer: str, act: Act) -> Registered | None:
        """The tariff that a repeated request was about, as it stands; None for a new request.

        Raises: OtherContent.
        """
        with available(), self._database.reading() as connection:
            return _answered(connection, insurer, act)

    def move(
        self,
        insurer: str,
        version: str,
        event: Event,
        act: Act,
        days: tuple[date, date | None] | None = None,
    ) -> Registered:
        """One event of one tariff; an activation, for `days`, also ends the version before it.

        Raises: NoSuchTariff, NotAllowed, SamePerson, VersionsOverlap, OtherContent.
        """
        with available(), self._database.writing() as connection:
            row = _locked(connection, insurer, version)
            if row is None:
                raise NoSuchTariff(version)
            known = _answered(connection, insurer, act)  # by a twin that came before, or just now
            if known is not None:
                return known
            state = after(State(row.state), event)
            if event is Event.APPROVE:
                said = _history(connection, [row.id])[row.id]
                check_approver(act.actor, [(one.event, one.actor) for one in said])
            changed: dict[str, Any] = {"state": state}
            if days is not None:
                _end_earlier(connection, row, days[0], act)
                changed |= {"first_day": days[0], "last_day": days[1]}
            _set(connection, row.id, changed)
            _note(connection, row.id, event, act, None if days is None else days[0])
            return _read(connection, _by_id(connection, row.id))

    def named(self, tenant: Tenant, version: str) -> tuple[Registered, bytes] | None:
        """A tariff with its evidence; None when the tenant has none of this name."""
        with available(), self._database.reading() as connection:
            row = connection.execute(
                _rows().where(registered_tariff.c.version == version, _mine(tenant)).limit(1)
            ).first()
            if row is None:
                return None
            evidence = connection.execute(
                select(tariff_evidence.c.content).where(tariff_evidence.c.sha256 == row.evidence)
            ).scalar_one()
            return _read(connection, row), evidence

    def page(self, tenant: Tenant, tariff_id: str, number: int, most: int) -> Page[Registered]:
        """The tenant's tariffs, oldest first, after a number."""
        query, order = _rows().where(_mine(tenant)), registered_tariff.c.id
        if tariff_id:
            query = query.where(registered_tariff.c.tariff_id == tariff_id)
        with available(), self._database.reading() as connection:
            rows = connection.execute(query.where(order > number).order_by(order).limit(most)).all()
            more = len(rows) == most and any_after(connection, query, order, rows[-1].id)
            said = _history(connection, [row.id for row in rows])
            return Page((_registered(row, said[row.id]) for row in rows), more=more)

    def in_use(self, insurer: str | None = None) -> list[InUse]:
        """What quotes may use: active and approved versions, of one insurer or of all."""
        mine = true() if insurer is None else registered_tariff.c.insurer == insurer
        query = select(registered_tariff).where(registered_tariff.c.state.in_(_SERVES), mine)
        with available(), self._database.reading() as connection:
            return [
                InUse(row.version, row.tariff_id, State(row.state), row.first_day, row.last_day)
                for row in connection.execute(query.order_by(registered_tariff.c.id))
            ]

    def content(self, version: str) -> bytes:
        """The canonical bytes of a tariff that is in use."""
        with available(), self._database.reading() as connection:
            query = select(tariff.c.content).where(tariff.c.version == version)
            found: bytes = connection.execute(query).scalar_one()
            return found

    def route(self, insurer: str, wanted: Routing, act: Act) -> Routing:
        """Set or end the experiment under an id; an empty salt keeps the one before.

        Raises: OtherContent.
        """
        with available(), self._database.writing() as connection:
            known = connection.execute(
                select(routing).where(routing.c.request_id == act.request_id)
            ).first()
            if known is not None:
                if known.fingerprint != act.fingerprint:
                    raise OtherContent("request_id used before")
                return _routing(known)
            before = connection.execute(_routings(insurer, wanted.tariff_id).limit(1)).first()
            salt = wanted.salt or (before.salt if before else act.request_id)
            connection.execute(
                insert_unless_there(self._database, routing, "request_id"),
                {
                    "insurer": insurer,
                    "tariff_id": wanted.tariff_id,
                    "challenger": wanted.challenger,
                    "share_millionths": wanted.share_millionths,
                    "salt": salt,
                    "shadow": wanted.shadow,
                    "actor": act.actor,
                    "reason": act.reason,
                    "request_id": act.request_id,
                    "fingerprint": act.fingerprint,
                    "at_us": act.at_us,
                },
            )
            made = connection.execute(_routings(insurer, wanted.tariff_id).limit(1)).one()
            return _routing(made)

    def routings(self, tenant: Tenant, tariff_id: str, most: int = 100) -> list[Routing]:
        """Every routing under an id, newest first: the first one holds."""
        query = select(routing).where(routing.c.tariff_id == tariff_id)
        if tenant.kind is not Kind.INSTALLATION:
            query = query.where(routing.c.insurer == tenant.insurer)
        with available(), self._database.reading() as connection:
            newest = query.order_by(routing.c.id.desc()).limit(most)
            return [_routing(row) for row in connection.execute(newest)]

    def shadows(self, insurer: str, tariff_id: str, number: int, most: int) -> Page[ShadowRow]:
        """Shadow quotes beside what was charged, oldest first, after a number."""
        order = shadow_quote.c.id
        query = (
            select(
                shadow_quote,
                quote.c.policy_id,
                quote.c.tariff_version,
                quote.c.currency,
                quote.c.premium_minor.label("charged_minor"),
            )
            .join(quote, quote.c.id == shadow_quote.c.quote)
            .where(shadow_quote.c.insurer == insurer)
        )
        if tariff_id:
            query = query.where(shadow_quote.c.tariff_id == tariff_id)
        with available(), self._database.reading() as connection:
            rows = connection.execute(query.where(order > number).order_by(order).limit(most)).all()
            more = len(rows) == most and any_after(connection, query, order, rows[-1].id)
            return Page((_shadow(row) for row in rows), more=more)


def _mine(tenant: Tenant) -> ColumnElement[bool]:
    if tenant.kind is Kind.INSTALLATION:
        return true()
    return false() if tenant.insurer is None else registered_tariff.c.insurer == tenant.insurer


def _rows() -> Select[Any]:
    return select(registered_tariff, tariff.c.content).join(
        tariff, tariff.c.version == registered_tariff.c.version
    )


def _locked(connection: Connection, insurer: str, version: str) -> Row[Any] | None:
    # Everything of one insurer waits for its turn: two activations must not miss each other.
    if connection.dialect.name == "postgresql":
        mine = select(registered_tariff.c.id).where(registered_tariff.c.insurer == insurer)
        connection.execute(mine.order_by(registered_tariff.c.id).with_for_update())
    return connection.execute(
        _rows().where(
            registered_tariff.c.insurer == insurer, registered_tariff.c.version == version
        )
    ).one_or_none()


def _by_id(connection: Connection, number: int) -> Row[Any]:
    return connection.execute(_rows().where(registered_tariff.c.id == number)).one()


def _answered(connection: Connection, insurer: str, act: Act) -> Registered | None:
    found = connection.execute(
        select(tariff_event.c.tariff, tariff_event.c.fingerprint).where(
            tariff_event.c.request_id == act.request_id
        )
    ).first()
    if found is None:
        return None
    row = _by_id(connection, found.tariff)
    if found.fingerprint != act.fingerprint or row.insurer != insurer:
        raise OtherContent("request_id used before")
    return _read(connection, row)


def _end_earlier(connection: Connection, row: Row[Any], first: date, act: Act) -> None:
    """The version of the same id that is active until then ends the day before `first`."""
    others = connection.execute(
        select(registered_tariff).where(
            registered_tariff.c.insurer == row.insurer,
            registered_tariff.c.tariff_id == row.tariff_id,
            registered_tariff.c.state == State.ACTIVE,
        )
    ).all()
    for other in others:
        if other.first_day >= first:
            raise VersionsOverlap(other.version)
        if other.last_day is None or other.last_day >= first:
            end = first - timedelta(days=1)
            state = after(State(other.state), Event.SUPERSEDE)
            _set(connection, other.id, {"state": state, "last_day": end})
            _note(connection, other.id, Event.SUPERSEDE, act, end, by_itself=False)


def _set(connection: Connection, number: int, changed: dict[str, Any]) -> None:
    connection.execute(
        update(registered_tariff).where(registered_tariff.c.id == number).values(**changed)
    )


def _note(
    connection: Connection,
    number: int,
    event: Event,
    act: Act,
    day: date | None = None,
    *,
    by_itself: bool = True,
) -> None:
    connection.execute(
        insert(tariff_event),
        {
            "tariff": number,
            "event": event,
            "actor": act.actor,
            "reason": act.reason,
            "day": day,
            "request_id": act.request_id if by_itself else None,
            "fingerprint": act.fingerprint,
            "at_us": act.at_us,
        },
    )


def _history(connection: Connection, numbers: Sequence[int]) -> dict[int, tuple[Change, ...]]:
    found: dict[int, list[Change]] = {number: [] for number in numbers}
    rows = connection.execute(
        select(tariff_event)
        .where(tariff_event.c.tariff.in_(list(numbers)))
        .order_by(tariff_event.c.id)
    )
    for row in rows:
        found[row.tariff].append(
            Change(
                event=Event(row.event),
                actor=row.actor,
                reason=row.reason,
                day=row.day,
                at_us=row.at_us,
            )
        )
    return {number: tuple(said) for number, said in found.items()}


def _read(connection: Connection, row: Row[Any]) -> Registered:
    return _registered(row, _history(connection, [row.id])[row.id])


def _registered(row: Row[Any], history: tuple[Change, ...]) -> Registered:
    return Registered(
        id=row.id,
        insurer=row.insurer,
        version=row.version,
        tariff_id=row.tariff_id,
        evidence_sha256=row.evidence,
        state=State(row.state),
        first=row.first_day,
        last=row.last_day,
        content=row.content,
        history=history,
    )


def _routings(insurer: str, tariff_id: str) -> Select[Any]:
    mine = (routing.c.insurer == insurer, routing.c.tariff_id == tariff_id)
    return select(routing).where(*mine).order_by(routing.c.id.desc())


def _routing(row: Row[Any]) -> Routing:
    return Routing(
        tariff_id=row.tariff_id,
        challenger=row.challenger,
        share_millionths=row.share_millionths,
        salt=row.salt,
        shadow=row.shadow,
        actor=row.actor,
        reason=row.reason,
        at_us=row.at_us,
    )


def _shadow(row: Row[Any]) -> ShadowRow:
    return ShadowRow(
        id=row.id,
        quote=f"policies/{row.policy_id}/quotes/{row.quote}",
        champion=row.tariff_version,
        champion_minor=row.charged_minor,
        challenger=row.version,
        challenger_minor=row.premium_minor,
        currency=row.currency,
        at_us=row.at_us,
    )
