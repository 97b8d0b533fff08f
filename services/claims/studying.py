"""What a study is told of some people: everything sealed is opened here, and cut to that.

Writes nothing. How exactly who is told of decides `core.study`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from lipei.claims.v1 import study_pb2 as pb
from services.claims.core.facts import MemberFacts, Sex
from services.claims.core.life_cycle import TAKEN_BACK, ClaimState
from services.claims.core.study import (
    Born,
    Census,
    Cover,
    PolicyYear,
    Precision,
    after_infancy,
    cause_of,
    condition_of,
    covering,
    digest_of,
    is_young,
    policy_years,
    told_birth,
)
from services.claims.plan_shelf import PlanShelf
from services.claims.storage import sealed, studies
from services.claims.storage.claims import PENDED, UNDECIDED, day_of
from services.claims.storage.policies import Terms
from services.common.sealing import Sealer

_OPEN = {*UNDECIDED, *PENDED}
_SEX = {Sex.FEMALE: "F", Sex.MALE: "M"}
# No zone is further behind UTC.
_ZONES = timedelta(hours=12)

# The name of something in this study: its kind, and what it is.
Names = Callable[[str, str], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """One person, opened: not told to anybody as they stand."""

    id: str
    token: str
    member: MemberFacts
    years: list[PolicyYear]
    cut: int
    was_infant: bool

    @property
    def born(self) -> Born:
        """What others may know. Only of who has a sex."""
        assert self.member.sex is not None  # noqa: S101 - `opened` leaves out who has none
        birth = self.member.birth_date
        return Born(birth, self.member.sex, is_young(self.years[0].first_day, birth))


class Selection:
    """Who is in a study and what others may know of each, as one transaction saw them all."""

    def __init__(
        self,
        last_policy: int,
        born: dict[str, Born],
        names: dict[str, bytes],
        order: list[str],
        left_out: pb.StudyLeftOut,
    ) -> None:
        """`last_policy` is the newest that counts; `names` are the people's in the study.

        `order` is that in which the study tells of them: of the database's own two would share it.
        """
        self.last_policy = last_policy
        self.born = born
        self.order = order
        self.left_out = left_out
        self.census = Census(born.values())
        self.digest = digest_of(born)
        self._names = names

    def told(self) -> bytes:
        """The names of all who are told of, in their order, 16 bytes each."""
        return b"".join(
            self._names[one]
            for one in self.order
            if self.census.precision(self.born[one]) is not None
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Studied:
    """Some people as the study is told of them; who each is, by their name there."""

    people: list[pb.StudyPerson]
    tokens: dict[str, str]
    left_out: pb.StudyLeftOut


class Reader:
    """Reads an insurer's people in one transaction."""

    def __init__(
        self,
        connection: Connection,
        sealer: Sealer,
        plans: PlanShelf,
        *,
        insurer: str,
        before: date,
    ) -> None:
        self._connection = connection
        self._sealer = sealer
        self._plans = plans
        self._insurer = insurer
        self._before = before
        self._zones: dict[str, ZoneInfo] = {}

    def opened(self, rows: Sequence[Any], left_out: pb.StudyLeftOut) -> list[Person]:
        """Those of the people who may be in a study; the others are counted in `left_out`."""
        withdrew = studies.withdrew(self._connection, self._insurer, [row.id for row in rows])
        may = [row for row in rows if row.left_out is None and row.id not in withdrew]
        left_out.consent_count += len(rows) - len(may)
        ids = [row.id for row in may]
        self._sealer.load(map(sealed.person_subject, ids))
        members = studies.insured_as(self._connection, self._insurer, ids)
        terms = Terms(
            self._connection, self._sealer, [one for some in members.values() for one in some]
        )
        found = []
        for row in may:
            covers, facts = self._covers(terms, members[row.id])
            covered, cut = policy_years(covers, self._before)
            years = after_infancy(covered, facts.birth_date)
            if facts.sex is None:
                left_out.sex_unknown_count += 1
            elif not years:
                left_out.never_covered_count += 1
            else:
                token = sealed.open_token(self._sealer, row.id, row.token)
                found.append(
                    Person(
                        id=row.id,
                        token=token,
                        member=facts,
                        years=years,
                        cut=cut,
                        was_infant=years != covered,
                    )
                )
        return found

    def _covers(
        self, terms: Terms, insured: Sequence[tuple[str, str]]
    ) -> tuple[list[Cover], MemberFacts]:
        """All stretches of cover, and what the policy that was imported last says of the person."""
        last = [terms.at_last(policy_id, member_id) for policy_id, member_id in insured]
        covers = [
            Cover(
                policy_id=newest.policy_id,
                policy_start=newest.start,
                start=one.start,
                end=min(one.end, newest.end),
                currency=self._plans.plan(self._connection, newest.plan_version).currency,
            )
            for newest, facts in last
            for one in facts.cover
        ]
        return covers, last[-1][1]

    def told(
        self, people: Sequence[Person], census: Census, name: Names, left_out: pb.StudyLeftOut
    ) -> Studied:
        """The people as the census lets them be told, with their claims, by the study's names."""
        exactly = {one.id: census.precision(one.born) for one in people}
        told = [one for one in people if exactly[one.id] is not None]
        left_out.standing_out_count += len(people) - len(told)
        claims: dict[str, list[Any]] = {one.id: [] for one in told}
        midnight = datetime.combine(self._before, time.min, UTC) + _ZONES
        before_us = int(midnight.timestamp()) * 1_000_000
        for row in studies.claims_of(self._connection, self._insurer, list(claims), before_us):
            claims[row.person_id].append(row)
        made, tokens = [], {}
        for person in told:
            precision = exactly[person.id]
            assert precision is not None  # noqa: S101 - `told` has those who have one
            left_out.by_year_count += precision is Precision.YEAR
            left_out.by_five_years_count += precision is Precision.FIVE_YEARS
            left_out.overlap_count += person.cut
            left_out.infancy_cut_count += person.was_infant
            message = _person(person, precision, name)
            for row in claims[person.id]:
                self._add_claim(message, person.years, row, name, left_out)
            made.append(message)
            tokens[message.person] = person.token
        return Studied(people=made, tokens=tokens, left_out=left_out)

    def _add_claim(
        self,
        message: pb.StudyPerson,
        years: Sequence[PolicyYear],
        row: Any,
        name: Names,
        left_out: pb.StudyLeftOut,
    ) -> None:
        zone = self._zones.setdefault(row.time_zone, ZoneInfo(row.time_zone))
        reported = day_of(row.created_us, zone)
        state = ClaimState(row.state)
        if reported >= self._before or state in TAKEN_BACK or row.released_us is not None:
            return
        if row.id is None or state in _OPEN:
            left_out.claims_open_count += 1
            return
        bill = sealed.open_inputs(self._sealer, row).bill
        year = covering(years, bill.start_date)
        if year is None:
            left_out.claims_outside_cover_count += 1
        elif reported < bill.start_date:
            left_out.claims_impossible_count += 1
        else:
            message.claims.add(
                claim=name("claim", row.claim_id),
                policy=_policy_name(year, message.person, name),
                cause=cause_of(bill),
                event_day=bill.start_date.isoformat(),
                report_day=reported.isoformat(),
                amount_minor=row.benefit,
                ground_up_minor=row.allowed,
            )


def _person(person: Person, precision: Precision, name: Names) -> pb.StudyPerson:
    born = person.born
    message = pb.StudyPerson(
        person=name("person", person.token),
        birth_date=told_birth(born.birth_date, precision).isoformat(),
        sex=_SEX[born.sex],
        conditions=condition_of(person.member.disclosed_conditions),
    )
    for year in person.years:
        message.policies.add(
            policy=_policy_name(year, message.person, name),
            first_day=year.first_day.isoformat(),
            after_day=year.after_day.isoformat(),
            currency_code=year.currency,
        )
    return message


def _policy_name(year: PolicyYear, person: str, name: Names) -> str:
    return name("policy", f"{year.policy_id}/{person}/{year.first_day.isoformat()}")
