"""Plans and policies in the claims database: published and imported once, read as of a day."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import date
from typing import Any, NamedTuple

import msgspec
from msgspec import structs
from sqlalchemy import Connection, and_, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.claims.core.canonical import plan_bytes, plan_from
from services.claims.core.canonical import plan_version as plan_version_of
from services.claims.core.facts import CoverInterval, MemberFacts
from services.claims.core.plan import Plan, StayDay
from services.claims.storage.sealed import (
    open_member,
    person_subject,
    seal_member,
    seal_token,
    token_index,
)
from services.claims.storage.tables import (
    insured,
    insured_terms,
    payee_account,
    person,
    plan_publication,
    plan_version,
    policy,
    policy_revision,
)
from services.claims.terms import PolicyTerms
from services.common.access.tenant import Kind, Tenant
from services.common.sealing import Sealer

_encoder = msgspec.json.Encoder(order="deterministic")
_terms = msgspec.json.Decoder(PolicyTerms)


def store_plan(connection: Connection, plan: Plan, yaml: bytes, at_us: int, *, insurer: str) -> str:
    """Publish an insurer's plan; its version. One that it published before is left as it is."""
    version = plan_version_of(plan)
    if plan_of(connection, version) is None:
        row = {
            "version": version,
            "plan_id": plan.id,
            "yaml": yaml,
            "canonical": plan_bytes(plan),
            "at_us": at_us,
        }
        connection.execute(insert(plan_version), row)
    _insert_new(
        connection, plan_publication, {"insurer": insurer, "version": version, "at_us": at_us}
    )
    return version


def plan_of(connection: Connection, version: str) -> Plan | None:
    """The plan of a published version."""
    found = select(plan_version.c.canonical).where(plan_version.c.version == version)
    stored = connection.execute(found).scalar_one_or_none()
    return None if stored is None else plan_from(stored)


def newest_plan(connection: Connection, plan: str, *, insurer: str) -> str | None:
    """The version that an insurer's policy means: itself when it names a hash, else the last one.

    Only what this insurer has published counts.
    """
    wanted = (
        select(plan_version.c.version)
        .join(plan_publication, plan_publication.c.version == plan_version.c.version)
        .where(plan_publication.c.insurer == insurer)
    )
    if "@" in plan:
        wanted = wanted.where(plan_version.c.version == plan)
    else:
        wanted = wanted.where(plan_version.c.plan_id == plan)
    return connection.execute(wanted.order_by(plan_publication.c.seq.desc()).limit(1)).scalar()


def content_hash(sealer: Sealer, terms: PolicyTerms, tokens: dict[str, str], payees: object) -> str:
    """What makes two imports of a revision the same.

    Keyed: birth dates and account numbers could be guessed back out of a plain hash.
    """
    content = _encoder.encode((terms, tokens, payees))
    return sealer.fingerprint(content, table="policy_revision", column="content_hash")


def taken_by_another(connection: Connection, policy_id: str, *, insurer: str) -> bool:
    """Whether another insurer's policy has this id. Nobody is told whose."""
    found = select(policy.c.id).where(policy.c.id == policy_id, policy.c.insurer != insurer)
    return connection.execute(found).first() is not None


def known_revision(
    connection: Connection, policy_id: str, revision: int, *, insurer: str
) -> str | None:
    """Content hash of a stored revision of the insurer's; None when it is not stored."""
    found = (
        select(policy_revision.c.content_hash)
        .join(policy, policy.c.id == policy_revision.c.policy_id)
        .where(
            policy.c.insurer == insurer,
            policy_revision.c.policy_id == policy_id,
            policy_revision.c.revision == revision,
        )
    )
    return connection.execute(found).scalar_one_or_none()


def newest_revision(connection: Connection, policy_id: str, *, insurer: str) -> int | None:
    """Number of the newest revision; None for a policy that the insurer does not have."""
    found = select(policy.c.revision).where(policy.c.id == policy_id, policy.c.insurer == insurer)
    return connection.execute(found).scalar_one_or_none()


def exists(connection: Connection, policy_id: str, tenant: Tenant) -> bool:
    """Whether the insurer has the policy; of the installation, whether anybody has."""
    found = select(policy.c.id).where(policy.c.id == policy_id)
    if tenant.kind is Kind.INSURER:
        found = found.where(policy.c.insurer == tenant.id)
    return connection.execute(found).first() is not None


def store_revision(
    connection: Connection,
    sealer: Sealer,
    terms: PolicyTerms,
    tokens: dict[str, str],
    digest: str,
    at_us: int,
    *,
    insurer: str,
) -> None:
    """Append a revision, and the people and the insurer's policy if they are new."""
    if newest_revision(connection, terms.policy_id, insurer=insurer) is None:
        seq = connection.execute(select(func.count()).select_from(policy)).scalar_one()
        row = {
            "id": terms.policy_id,
            "insurer": insurer,
            "seq": seq,
            "revision": terms.revision,
        }
        connection.execute(insert(policy), row)
    else:
        connection.execute(
            update(policy).where(policy.c.id == terms.policy_id).values(revision=terms.revision)
        )
    connection.execute(
        insert(policy_revision),
        {
            "policy_id": terms.policy_id,
            "revision": terms.revision,
            "effective_date": terms.effective.isoformat(),
            "plan_version": terms.plan_version,
            "content_hash": digest,
            "terms": _encoder.encode(structs.replace(terms, members=())),
            "at_us": at_us,
        },
    )
    people = _person_ids(connection, sealer, tokens)
    for member_id, person_id in people.items():
        row = {"policy_id": terms.policy_id, "member_id": member_id, "person_id": person_id}
        _insert_new(connection, insured, row)
    rows = [
        {
            "policy_id": terms.policy_id,
            "revision": terms.revision,
            "member_id": member.member_id,
            "person_id": people[member.member_id],
            "sealed": seal_member(
                sealer, terms.policy_id, terms.revision, people[member.member_id], member
            ),
        }
        for member in terms.members
    ]
    connection.execute(insert(insured_terms), rows)


def _person_ids(connection: Connection, sealer: Sealer, tokens: dict[str, str]) -> dict[str, str]:
    """Member id → our opaque id of the person, whose key is loaded; new people are added."""
    known = {token: find_person(connection, sealer, token) for token in tokens.values()}
    ids = {token: found or uuid.uuid4().hex for token, found in known.items()}
    sealer.load(map(person_subject, ids.values()))
    new = [
        {
            "id": ids[token],
            "token_index": token_index(sealer, token),
            "token": seal_token(sealer, ids[token], token),
        }
        for token, found in known.items()
        if found is None
    ]
    if new:
        connection.execute(insert(person), new)
    return {member_id: ids[token] for member_id, token in tokens.items()}


def _insert_new(connection: Connection, table: object, row: dict[str, object]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(table).values(row).on_conflict_do_nothing())


def find_person(connection: Connection, sealer: Sealer, token: str) -> str | None:
    """Our opaque id of the person behind a member token; None for one who was erased."""
    found = select(person.c.id).where(person.c.token_index == token_index(sealer, token))
    return connection.execute(found).scalar_one_or_none()


def store_payee(
    connection: Connection,
    *,
    account_id: str,
    policy_id: str,
    revision: int,
    valid_from: date,
    sealed: bytes,
) -> None:
    """Append a sealed payee account."""
    row = {
        "id": account_id,
        "policy_id": policy_id,
        "revision": revision,
        "valid_from": valid_from.isoformat(),
        "sealed": sealed,
    }
    connection.execute(insert(payee_account), row)


def payee_on(connection: Connection, policy_id: str, day: date) -> tuple[str, bytes] | None:
    """Id and sealed bytes of the account that is used on a day, by the newest revision."""
    newest = (
        select(payee_account.c.id, payee_account.c.sealed)
        .where(
            payee_account.c.policy_id == policy_id,
            payee_account.c.valid_from <= day.isoformat(),
        )
        .order_by(payee_account.c.revision.desc(), payee_account.c.valid_from.desc())
        .limit(1)
    )
    row = connection.execute(newest).first()
    return None if row is None else (row.id, row.sealed)


class Terms:
    """What the revisions of some policies say of some of their members; opened when asked for."""

    def __init__(
        self, connection: Connection, sealer: Sealer, members: Collection[tuple[str, str]]
    ) -> None:
        """Read all revisions about these members, by policy and member id."""
        told = {
            "policies": sorted({policy_id for policy_id, _ in members}),
            "members": sorted({member_id for _, member_id in members}),
        }
        self._sealer = sealer
        self._revisions: dict[str, dict[int, bytes]] = {}
        self._members: dict[tuple[str, int, str], Any] = {}
        for row in connection.execute(_REVISIONS, told):
            self._revisions.setdefault(row.policy_id, {})[row.revision] = row.terms
            if row.sealed is not None:
                self._members[row.policy_id, row.revision, row.member_id] = row

    def of_stay(
        self,
        policy_id: str,
        member_id: str,
        admission: date,
        discharge: date,
        plan_by: Callable[[str], Plan],
    ) -> tuple[PolicyTerms, MemberFacts, date]:
        """What one stay is decided under: the terms, the person, and the day as of which they are.

        Plan, limits and policy year look at the end of the stay; cover, waiting periods and
        disclosed conditions at its start, or at its end where that plan says so.

        Raises: Erased, CannotOpen.
        """
        revisions = self.revisions(policy_id, member_id)
        terms = _in_force(revisions, discharge)
        looks_at = plan_by(terms.plan_version).general.cover_day
        day = admission if looks_at is StayDay.START else discharge
        return terms, _member_on(revisions, member_id, day), day

    def at_last(self, policy_id: str, member_id: str) -> tuple[PolicyTerms, MemberFacts]:
        """The newest terms, and the person with the cover that all revisions have left them.

        Raises: Erased, CannotOpen.
        """
        revisions = self.revisions(policy_id, member_id)
        return revisions[-1], _member_on(revisions, member_id, date.max)

    def revisions(self, policy_id: str, member_id: str) -> list[PolicyTerms]:
        """Every revision, the first one first, each with this member alone.

        Raises: Erased, CannotOpen.
        """
        found = []
        for revision, stored in self._revisions.get(policy_id, {}).items():
            terms = _terms.decode(stored)
            row = self._members.get((policy_id, revision, member_id))
            if row is not None:
                member = open_member(self._sealer, policy_id, revision, member_id, row)
                terms = structs.replace(terms, members=(member,))
            found.append(terms)
        return found


def of_stay(
    connection: Connection,
    sealer: Sealer,
    policy_id: str,
    member_id: str,
    admission: date,
    discharge: date,
    plan_by: Callable[[str], Plan],
) -> tuple[PolicyTerms, MemberFacts, date]:
    """As `Terms.of_stay`, of one member."""
    terms = Terms(connection, sealer, [(policy_id, member_id)])
    return terms.of_stay(policy_id, member_id, admission, discharge, plan_by)


def _member_on(revisions: Sequence[PolicyTerms], member_id: str, day: date) -> MemberFacts:
    """The person's facts under the revision in force on a day.

    A person whom that revision does not insure comes from the last one that did, with the cover
    that it left them.
    """
    member = _in_force(revisions, day).member(member_id)
    if member is not None:
        return member
    last = max(i for i, revision in enumerate(revisions) if revision.member(member_id))
    member = revisions[last].member(member_id)
    assert member is not None  # noqa: S101 - `last` was chosen for having them
    if last + 1 < len(revisions):
        dropped = revisions[last + 1].effective
        kept = (structs.replace(c, end=min(c.end, dropped)) for c in member.cover)
        member = structs.replace(member, cover=tuple(c for c in kept if c.start < c.end))
    return member


_REVISIONS = (
    select(
        policy_revision.c.policy_id,
        policy_revision.c.revision,
        policy_revision.c.terms,
        insured_terms.c.member_id,
        insured_terms.c.person_id,
        insured_terms.c.sealed,
    )
    .select_from(
        policy_revision.outerjoin(
            insured_terms,
            and_(
                insured_terms.c.policy_id == policy_revision.c.policy_id,
                insured_terms.c.revision == policy_revision.c.revision,
                insured_terms.c.member_id.in_(bindparam("members", expanding=True)),
            ),
        )
    )
    .where(policy_revision.c.policy_id.in_(bindparam("policies", expanding=True)))
    .order_by(policy_revision.c.policy_id, policy_revision.c.revision)
)


def first_terms(connection: Connection, policy_id: str) -> PolicyTerms:
    """A policy's first revision, which says where its cover starts; without its people."""
    found = select(policy_revision.c.terms).where(policy_revision.c.policy_id == policy_id)
    first = found.order_by(policy_revision.c.revision).limit(1)
    return _terms.decode(connection.execute(first).scalar_one())


def newest_terms(connection: Connection, policy_id: str) -> PolicyTerms:
    """A policy's newest revision, without its people."""
    found = select(policy_revision.c.terms).where(policy_revision.c.policy_id == policy_id)
    newest = found.order_by(policy_revision.c.revision.desc()).limit(1)
    return _terms.decode(connection.execute(newest).scalar_one())


def _in_force(revisions: Sequence[PolicyTerms], day: date) -> PolicyTerms:
    return next((one for one in reversed(revisions) if one.effective <= day), revisions[0])


class Insured(NamedTuple):
    """A person under one policy."""

    policy_id: str
    member_id: str
    insurer: str


def policies_of(
    connection: Connection, sealer: Sealer, person_id: str, tenant: Tenant
) -> list[Insured]:
    """Where a person is insured, the oldest policy first: the order of coordination.

    An insurer finds its own policies only, and a member is asked about no other person.
    """
    wanted = (
        select(insured.c.policy_id, insured.c.member_id, policy.c.insurer)
        .join(policy, policy.c.id == insured.c.policy_id)
        .where(insured.c.person_id == person_id)
        .order_by(policy.c.seq)
    )
    if tenant.insurer is not None:
        wanted = wanted.where(policy.c.insurer == tenant.insurer)
    if tenant.member is not None:
        mine = find_person(connection, sealer, tenant.member) or ""
        wanted = wanted.where(insured.c.person_id == mine)
    found = [Insured(*row) for row in connection.execute(wanted)]
    return sorted(found, key=lambda entry: first_terms(connection, entry.policy_id).start)


def cover_of(
    connection: Connection, sealer: Sealer, policy_id: str, token: str, *, insurer: str
) -> CoverInterval | None:
    """The last stretch of cover that an insurer's policy gave the person behind a token."""
    row = connection.execute(
        select(insured.c.member_id)
        .join(person, person.c.id == insured.c.person_id)
        .join(policy, policy.c.id == insured.c.policy_id)
        .where(
            insured.c.policy_id == policy_id,
            person.c.token_index == token_index(sealer, token),
            policy.c.insurer == insurer,
        )
    ).first()
    if row is None:
        return None
    members = [(policy_id, row.member_id)]
    revisions = Terms(connection, sealer, members).revisions(*members[0])
    member = _member_on(revisions, row.member_id, date.max)
    return member.cover[-1] if member.cover else None


def person_of(connection: Connection, policy_id: str, member_id: str) -> str | None:
    """Our opaque id of the person behind a policy's member id; None when it is new."""
    found = select(insured.c.person_id).where(
        insured.c.policy_id == policy_id, insured.c.member_id == member_id
    )
    return connection.execute(found).scalar_one_or_none()
