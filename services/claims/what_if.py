"""What another plan would have paid for a period: reads what is stored, writes nothing of it.

The stored claims are read and unsealed here, in one transaction that sees one state; what decides
them is pure and gets facts only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import grpc
from sqlalchemy import Connection

from services.claims.core.canonical import plan_bytes
from services.claims.core.decision import is_earlier_engine
from services.claims.core.difference import Difference
from services.claims.core.plan import Plan, reads_family_size
from services.claims.core.repeats import longest_look_back
from services.claims.core.what_if import (
    Household,
    Outcome,
    Part,
    StoredClaim,
    Task,
    first_service_day,
)
from services.claims.households import Group, Period, Sorted, chunks, sort_claims
from services.claims.messages import claim_name
from services.claims.plan_shelf import PlanShelf
from services.claims.storage import claims as store
from services.claims.storage import periods, sealed
from services.claims.what_if_processes import Here, cores, processes
from services.claims.what_if_worker import answer_from, task_bytes
from services.common.refusals import Refused, not_found
from services.common.sealing import Sealer, SubjectKeys

_CHUNK = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What was asked for."""

    plan: Plan
    instead_of: str
    period: Period
    insurer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """So many claims are done; these outcomes are new, each with its claim."""

    done: int
    total: int
    new: list[tuple[periods.PeriodClaim, Outcome]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """All there is to tell at the end; `rows` are the compared claims' by their place."""

    difference: Difference
    sorted: Sorted
    rows: dict[int, periods.PeriodClaim]

    def claims_of(self, people: Iterable[str]) -> dict[str, list[periods.PeriodClaim]]:
        """By person, the claims that were compared."""
        found: dict[str, list[periods.PeriodClaim]] = {person: [] for person in people}
        for row in self.rows.values():
            if row.person_id in found:
                found[row.person_id].append(row)
        return found

    def told_of(self) -> list[periods.PeriodClaim]:
        """The claims that the end tells of by name."""
        told = [self.rows[one.seq] for one in self.difference.claims_that_move()]
        people = self.claims_of(person for person, _ in self.difference.members_that_move())
        return [*told, *chain.from_iterable(people.values())]


def compare(
    connection: Connection,
    keys: SubjectKeys,
    shelf: PlanShelf,
    wanted: Wanted,
    tell: Callable[[Step], None],
    few: int,
    watch: Callable[[], None],
) -> Finished:
    """Decide the period's claims again; `tell` hears of every chunk.

    Both it and `watch`, which is asked several times a second, may raise to stop.

    More than `few` claims are decided in processes of their own.

    Raises: Refused when the insurer has no such plan, or the plans pay in two currencies;
    DATA_LOSS when balances do not hold what decisions have used.
    """
    versions = periods.versions_of_plan(connection, wanted.instead_of, insurer=wanted.insurer)
    if not versions:
        raise not_found("plan", wanted.instead_of)
    currency = wanted.plan.currency
    for version in versions:
        of_old = shelf.plan(connection, version).currency
        if of_old != currency:
            raise _other_currency(of_old, currency)
    policies = periods.policies_of_plan(connection, versions, insurer=wanted.insurer)
    rows = periods.claims_since(connection, wanted.period.since_us, insurer=wanted.insurer)
    found = sort_claims(rows, wanted.period, wanted.instead_of, policies)
    selected = {
        row.seq: row for group in found.groups for row, part in group.rows if part is Part.AGAIN
    }
    difference = Difference()
    reader = _Reader(connection, keys, shelf, wanted)
    tell(Step(done=0, total=found.selected, new=[]))
    here = found.selected <= few
    with (
        nullcontext(Here(wanted.plan))
        if here
        else processes(wanted.plan, cores(), watch) as decides
    ):
        for sent in decides.answers(map(task_bytes, reader.tasks(found.groups))):
            answer = answer_from(sent)
            if answer.altered:
                raise _altered()
            new = [(selected[outcome.seq], outcome) for outcome in answer.outcomes]
            for row, outcome in new:
                difference.add(outcome, row.person_id)
                if outcome.cannot:
                    del selected[outcome.seq]
            tell(Step(done=difference.done, total=found.selected, new=new))
    return Finished(difference=difference, sorted=found, rows=selected)


class _Reader:
    """Households as what decides them needs them: everything sealed is opened here."""

    def __init__(
        self, connection: Connection, keys: SubjectKeys, shelf: PlanShelf, wanted: Wanted
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._shelf = shelf
        self._wanted = wanted
        self._looks_back = longest_look_back(wanted.plan)
        self._zones: dict[str, ZoneInfo] = {}

    def tasks(self, groups: Sequence[Group]) -> Iterator[Task]:
        """Every household, many at once, read when they are asked for."""
        for some in chunks(groups, _CHUNK):
            households = tuple(self._households(some))
            versions = {one.earlier_under for every in households for one in every.claims}
            plans = {
                version: plan_bytes(self._shelf.plan(self._connection, version))
                for version in versions - {""}
            }
            yield Task(households=households, plans=plans)

    def _households(self, groups: Sequence[Group]) -> Iterable[Household]:
        connection = self._connection
        rows = [row for group in groups for row, _ in group.rows]
        policies = {row.policy_id for row in rows}
        people = {row.person_id for row in rows}
        sealer = self._keys.sealer(connection)
        sealer.load(map(sealed.person_subject, people))
        decided = periods.decided(connection, [str(row.decision_id) for row in rows])
        held = periods.held(connection, policies)
        sizes: dict[str, dict[int, int]] = {}
        if reads_family_size(self._wanted.plan):
            sizes = periods.family_sizes(connection, policies)
        opened = [
            [self._claim(sealer, row, part, decided, sizes) for row, part in group.rows]
            for group in groups
        ]
        earlier = self._earlier(sealer, [claim for claims in opened for claim in claims])
        for group, claims in zip(groups, opened, strict=True):
            mine = {row.policy_id for row, _ in group.rows}
            for person in {row.person_id for row, _ in group.rows}:
                claims.extend(earlier.get(person, ()))
            yield Household(
                claims=tuple(claims), held=tuple(one for one in held if one.policy_id in mine)
            )

    def _earlier(
        self, sealer: Sealer, claims: Sequence[StoredClaim]
    ) -> dict[str, list[StoredClaim]]:
        """What was allowed to people before the period, as far as the plan looks back."""
        again = [claim for claim in claims if claim.part is Part.AGAIN]
        looks_at = min(first_service_day(claim) for claim in again).toordinal() - self._looks_back
        first = date.fromordinal(max(1, looks_at))
        found: dict[str, list[StoredClaim]] = {}
        rows = periods.decided_before(
            self._connection,
            {claim.person for claim in again},
            self._wanted.period.since_us,
            first,
            insurer=self._wanted.insurer,
        )
        for row in rows:
            found.setdefault(row.person_id, []).append(
                StoredClaim(
                    seq=row.seq,
                    name=claim_name(row.policy_id, row.claim_id),
                    policy_id=row.policy_id,
                    member_id=row.member_id,
                    person=row.person_id,
                    received=first,
                    part=Part.EARLIER,
                    services=sealed.open_services_bytes(sealer, row),
                )
            )
        return found

    def _claim(
        self,
        sealer: Sealer,
        row: periods.PeriodClaim,
        part: Part,
        decided: dict[str, Any],
        sizes: dict[str, dict[int, int]],
    ) -> StoredClaim:
        stored = decided[str(row.decision_id)]
        again, allows = part is Part.AGAIN, part in (Part.EARLIER, Part.STANDS)
        earlier = again and is_earlier_engine(stored.engine_version)
        zone = self._zones.setdefault(row.time_zone, ZoneInfo(row.time_zone))
        return StoredClaim(
            seq=row.seq,
            name=claim_name(row.policy_id, row.id),
            policy_id=row.policy_id,
            member_id=row.member_id,
            person=row.person_id,
            received=store.day_of(row.created_us, zone),
            part=part,
            output=b"" if part is Part.EARLIER else sealed.open_output_bytes(sealer, stored),
            inputs=sealed.open_inputs_bytes(sealer, stored) if again else b"",
            services=sealed.open_services_bytes(sealer, stored) if allows else b"",
            family_sizes=sizes.get(row.policy_id, {}) if again else {},
            earlier_under=(row.plan_version or "") if earlier else "",
        )


def _other_currency(of_old: str, of_new: str) -> Refused:
    text = f"the plan file pays in {of_new}, the plan instead of which it would stand in {of_old}"
    return Refused(
        grpc.StatusCode.FAILED_PRECONDITION, "OTHER_CURRENCY", f"{text}; compare another plan"
    )


def _altered() -> Refused:
    return Refused(
        grpc.StatusCode.DATA_LOSS,
        "BALANCES_ALTERED",
        "a balance holds less than the decisions in force have used; stop and investigate",
    )
