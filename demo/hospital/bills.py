"""Bills of the demo hospital: how a visit is booked, what lines it has, what may be planted in it.

Knows no FHIR, no wire, and nothing of how a claim is decided.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from demo.hospital.care import Treatment, Use
from demo.hospital.codes import SERVICES, Service
from demo.hospital.insured import FIRST, LAST, LATE_START, Roster
from demo.hospital.people import MEDICAL_PLAN, Cover, Person
from demo.hospital.split import CLINIC, HOSPITAL, fund_paid

ZONE = timezone(timedelta(hours=8))
# Illness of new customers is the business of a planted kind until then.
WAITING_DAYS = 30
_FEN = Decimal("0.01")
_NOTHING = Decimal(0)


class Planted(StrEnum):
    """What is wrong with a bill, or odd about it, on purpose."""

    CLEAN = "clean"
    # The insurer decides these.
    DUPLICATE = "the same bill under another number"
    EXCLUDED = "a treatment that the plan excludes"
    PRE_EXISTING = "a condition excluded at underwriting"
    WAITING = "illness within the waiting period"
    NOT_COVERED = "before cover began or after it lapsed"
    TOO_OLD = "a child who has turned 26"
    WRONG_HOUSE = "a stay in a clinic that the plan does not accept"
    SAME_EXAMINATION = "an examination repeated in the other house within 14 days"
    TOO_MANY = "more rehabilitation than the year's 30"
    UNKNOWN_MEMBER = "a patient whom no policy insures"
    FACT_MISSING = "nobody says whether social insurance was used"
    LARGE = "a benefit so large that a person must look"
    # People decide these by what they consent to.
    NO_CONSENT = "a patient who never consented"
    WITHDRAWN = "a patient who withdraws the consent while the claim waits"
    # The bridge sets these aside.
    UNBALANCED = "lines do not add up to the total"
    WRONG_LINE = "quantity times price is not the line's amount"
    UNKNOWN_CODE = "a code of a system that nobody knows"
    IMPOSSIBLE_DATE = "30 February"
    END_BEFORE_START = "discharged before admitted"
    NEGATIVE = "a negative amount"
    NO_IDENTITY = "a patient without identity document"


QUARANTINED = frozenset(
    {
        Planted.UNBALANCED,
        Planted.WRONG_LINE,
        Planted.UNKNOWN_CODE,
        Planted.IMPOSSIBLE_DATE,
        Planted.END_BEFORE_START,
        Planted.NEGATIVE,
        Planted.NO_IDENTITY,
    }
)
# Odd, but nothing is wrong with them: a person must look, or the patient does not consent.
NOT_FAULTY = frozenset({Planted.CLEAN, Planted.LARGE, Planted.NO_CONSENT, Planted.WITHDRAWN})
# Nobody says of these whether social insurance was used, so that their claims wait.
FACT_UNSAID = frozenset({Planted.FACT_MISSING, Planted.WITHDRAWN})
# One in so many people never consents to anything; at least one does not.
_ONE_SILENT_IN = 100


@dataclass(frozen=True, kw_only=True)
class Line:
    """One charge; amounts in yuan."""

    service: Service
    quantity: Decimal
    net: Decimal
    day: date
    # None when the bill was not settled through social insurance.
    fund_paid: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Bill:
    """One bill; care is AMB, EMER, IMP, REFILL or ONLINE; the first disease is the principal one.

    What social insurance's fund did not pay is the patient's: `account_paid` came out of the own
    medical account (个人账户), the rest is `cash`.
    """

    number: str
    person: Person
    provider: str
    care: str
    start: datetime
    end: datetime
    diseases: tuple[str, ...]
    lines: tuple[Line, ...]
    social: bool
    account_paid: Decimal
    planted: Planted

    @property
    def total(self) -> Decimal:
        """Sum of the lines."""
        return sum((line.net for line in self.lines), _NOTHING)

    @property
    def fund_paid(self) -> Decimal:
        """What social insurance's fund paid."""
        return sum((line.fund_paid or _NOTHING for line in self.lines), _NOTHING)

    @property
    def cash(self) -> Decimal:
        """What the patient paid at the counter."""
        return self.total - self.fund_paid - self.account_paid


class Year:
    """Books visits so that no person is billed twice for one day, and draws their lines."""

    def __init__(self, chance: random.Random, roster: Roster) -> None:
        self.chance = chance
        self.roster = roster
        self._booked: dict[str, set[date]] = {}
        self._windows = {one.key: _window(roster, one) for one in roster.people}
        covers = {one.key: roster.cover_of(one) for one in roster.people}
        self.new = [one for one in roster.people if covers[one.key].start == LATE_START]
        self.lapsed = [one for one in roster.people if covers[one.key].last < LAST]
        self.grown = [one for one in roster.people if _twenty_six(roster, one)]
        # Those who never consented have no bill but the planted ones: nobody else's would be held.
        self.silent = self._silent(covers)
        self.people = [one for one in roster.people if one not in self.silent]
        settled = [one for one in self.people if self._windows[one.key] == (FIRST, LAST)]
        self.medical = [one for one in settled if covers[one.key].plan == MEDICAL_PLAN]
        self.diabetic = [one for one in settled if covers[one.key].plan != MEDICAL_PLAN]
        self.adults = [
            one
            for one in self.medical
            if one.born.year < FIRST.year - 27 and not roster.insured(one).disclosed
        ]

    def _silent(self, covers: Mapping[str, Cover]) -> list[Person]:
        """In good health and insured all year, so that nothing else can be planted with them."""
        able = [
            one
            for one in self.roster.people
            if self._windows[one.key] == (FIRST, LAST)
            and covers[one.key].plan == MEDICAL_PLAN
            and not (one.diabetic or one.hypertensive or self.roster.insured(one).disclosed)
        ]
        # The youngest: of the others the insurer asks most.
        by_age = sorted(able, key=lambda one: (one.born, one.key))
        return by_age[-max(1, len(self.roster.people) // _ONE_SILENT_IN) :]

    def window(self, person: Person) -> tuple[date, date]:
        """First and last day on which nothing but the illness decides what is paid."""
        return self._windows[person.key]

    def visit(
        self,
        person: Person,
        treatment: Treatment,
        planted: Planted = Planted.CLEAN,
        within: tuple[date, date] | None = None,
        *,
        provider: str | None = None,
        settled: bool | None = None,
    ) -> Bill:
        """One bill of a person on free days, in the person's window unless `within` says else.

        `settled` through social insurance or not, and `provider`, are drawn when not given.
        """
        start, end = self._book(person, treatment, within or self.window(person))
        if provider is None:
            provider = CLINIC if treatment.clinic and self.chance.random() < 0.5 else HOSPITAL
        social = person.social and self.chance.random() < 0.95 if settled is None else settled
        lines = self._lines(treatment, start.date(), end.date())
        if social:
            charges = [(line.service, line.net) for line in lines]
            funds = fund_paid(charges, provider=provider, care=treatment.care)
            lines = [
                Line(
                    service=line.service,
                    quantity=line.quantity,
                    net=line.net,
                    day=line.day,
                    fund_paid=fund,
                )
                for line, fund in zip(lines, funds, strict=True)
            ]
        own = sum((line.net - (line.fund_paid or _NOTHING) for line in lines), _NOTHING)
        stays = treatment.care in ("IMP", "EMER")
        from_account = social and not stays and self.chance.random() < 0.5
        return Bill(
            number="",
            person=person,
            provider=provider,
            care=treatment.care,
            start=start,
            end=end,
            diseases=treatment.diseases,
            lines=tuple(lines),
            social=social,
            account_paid=Decimal(int(own * 3 / 4)) if from_account else _NOTHING,
            planted=planted,
        )

    def block(self, person: Person, first: date, last: date) -> None:
        """Keep the days from first to last free of further visits."""
        days = (last - first).days + 1
        self._booked.setdefault(person.key, set()).update(
            first + timedelta(days=index) for index in range(days)
        )

    def free_days(self, person: Person, window: tuple[date, date]) -> int:
        """How many days of a window nothing was booked for."""
        booked = self._booked.get(person.key, set())
        days = (window[1] - window[0]).days + 1
        return days - sum(window[0] <= day <= window[1] for day in booked)

    def _book(
        self, person: Person, treatment: Treatment, within: tuple[date, date]
    ) -> tuple[datetime, datetime]:
        booked = self._booked.setdefault(person.key, set())
        for _ in range(1000):
            nights = self.chance.randint(*treatment.nights)
            first = within[0] + timedelta(days=self.chance.randint(0, (within[1] - within[0]).days))
            days = {first + timedelta(days=index) for index in range(nights + 1)}
            if not days & booked and max(days) <= within[1]:
                booked |= days
                break
        else:
            raise ValueError(f"no free day for {person.key} within {within[0]} and {within[1]}")
        hours = (0, 21) if treatment.care == "EMER" else (8, 15)
        begin = time(self.chance.randint(*hours), self.chance.randint(0, 59))
        start = datetime.combine(first, begin, ZONE)
        stay = timedelta(days=nights) if nights else timedelta(minutes=self.chance.randint(20, 90))
        return start, start + stay

    def _lines(self, treatment: Treatment, first: date, last: date) -> list[Line]:
        days = (last - first).days + 1
        # A daily charge stands on the bill in at most six parts, as on a daily list (一日清单).
        step = -(-days // 6)
        lines = []
        for use in treatment.uses:
            if use.chance < 1.0 and self.chance.random() >= use.chance:
                continue
            if not use.daily:
                lines.append(self._line(use, 1, last))
                continue
            for begin in range(0, days, step):
                length = min(step, days - begin)
                day = first + timedelta(days=begin + length - 1)
                lines.append(self._line(use, length, day))
        return lines

    def _line(self, use: Use, times: int, day: date) -> Line:
        service = SERVICES[use.code]
        quantity = Decimal(times * self.chance.randint(use.least, use.most))
        net = (quantity * service.price).quantize(_FEN, ROUND_HALF_UP)
        return Line(service=service, quantity=quantity, net=net, day=day, fund_paid=None)


def _window(roster: Roster, person: Person) -> tuple[date, date]:
    cover = roster.cover_of(person)
    first = cover.start if cover.previous else cover.start + timedelta(days=WAITING_DAYS)
    if _twenty_six(roster, person):
        return first, _birthday(person) - timedelta(days=1)
    return first, cover.last


def _twenty_six(roster: Roster, person: Person) -> bool:
    """Whether the person is insured as a child and turns 26 within the year."""
    child = roster.insured(person).relationship == "CHILD"
    return child and person.born.year == FIRST.year - 26


def _birthday(person: Person) -> date:
    return date(FIRST.year, person.born.month, person.born.day)


def after_birthday(person: Person) -> tuple[date, date]:
    """From the person's birthday to the end of the year."""
    return _birthday(person), LAST
