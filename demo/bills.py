"""Bills of the demo hospital: how a visit is booked, what lines it has, what may be planted in it.

Knows no FHIR, no wire, and nothing of how a claim is decided.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from demo.care import Treatment, Use
from demo.codes import SERVICES, Service
from demo.insured import FIRST, LAST, Roster
from demo.people import MEDICAL_PLAN, Person

HOSPITAL, CLINIC = "H99000100001", "H99000100002"
ZONE = timezone(timedelta(hours=8))
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
    UNKNOWN_MEMBER = "a patient whom no policy insures"
    FACT_MISSING = "nobody says whether social insurance was used"
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
# What social insurance's fund pays of a line: by care, then class 甲 and 乙.
_FUND_SHARES = {
    "AMB": {"甲": Decimal("0.50"), "乙": Decimal("0.40")},
    "EMER": {"甲": Decimal("0.55"), "乙": Decimal("0.45")},
    "REFILL": {"甲": Decimal("0.70"), "乙": Decimal("0.60")},
    "IMP": {"甲": Decimal("0.75"), "乙": Decimal("0.60")},
}


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
    """One bill; care is AMB, EMER, IMP or REFILL; the first disease is the principal one."""

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
        return sum((line.net for line in self.lines), Decimal(0))

    @property
    def fund_paid(self) -> Decimal:
        """What social insurance's fund paid."""
        return sum((line.fund_paid or _NOTHING for line in self.lines), Decimal(0))


class Year:
    """Books visits so that no person is billed twice for one day, and draws their lines."""

    def __init__(self, chance: random.Random, roster: Roster) -> None:
        self.chance = chance
        self.roster = roster
        self._booked: dict[str, set[date]] = {}
        settled = [one for one in roster.people if roster.cover_of(one).start == FIRST]
        self.medical = [one for one in settled if roster.cover_of(one).plan == MEDICAL_PLAN]
        self.diabetic = [one for one in settled if roster.cover_of(one).plan != MEDICAL_PLAN]
        self.new = [one for one in roster.people if one not in settled]
        self.disclosed = {
            one.person.key: one.disclosed[0]
            for cover in roster.covers
            if cover.last == LAST
            for one in cover.insured
            if one.disclosed
        }

    def visit(
        self,
        person: Person,
        treatment: Treatment,
        planted: Planted = Planted.CLEAN,
        within: tuple[date, date] = (FIRST, LAST),
    ) -> Bill:
        """One bill of a person on free days."""
        start, end = self._book(person, treatment, within)
        provider = HOSPITAL
        if treatment.care == "REFILL" or (treatment.care == "AMB" and treatment.weight == 5):
            provider = CLINIC if self.chance.random() < 0.5 else HOSPITAL
        social = person.social and self.chance.random() < 0.95
        lines = tuple(self._lines(treatment, start.date(), end.date(), social))
        cash = sum((line.net - (line.fund_paid or _NOTHING) for line in lines), Decimal(0))
        from_account = social and treatment.care in ("AMB", "REFILL") and self.chance.random() < 0.5
        return Bill(
            number="",
            person=person,
            provider=provider,
            care=treatment.care,
            start=start,
            end=end,
            diseases=treatment.diseases,
            lines=lines,
            social=social,
            account_paid=Decimal(int(cash / 2)) if from_account else _NOTHING,
            planted=planted,
        )

    def _book(
        self, person: Person, treatment: Treatment, within: tuple[date, date]
    ) -> tuple[datetime, datetime]:
        booked = self._booked.setdefault(person.key, set())
        for _ in range(1000):
            nights = self.chance.randint(*treatment.nights)
            first = within[0] + timedelta(days=self.chance.randint(0, (within[1] - within[0]).days))
            days = {first + timedelta(days=index) for index in range(nights + 1)}
            if not days & booked and max(days) <= LAST:
                booked |= days
                break
        else:
            raise ValueError(f"no free day for {person.key} within {within[0]} and {within[1]}")
        begin = time(self.chance.randint(8, 15), self.chance.randint(0, 59))
        start = datetime.combine(first, begin, ZONE)
        stay = timedelta(days=nights) if nights else timedelta(minutes=self.chance.randint(20, 90))
        return start, start + stay

    def _lines(self, treatment: Treatment, first: date, last: date, social: bool) -> list[Line]:
        days = (last - first).days + 1
        # A daily charge stands on the bill in at most six parts, as on a daily list (一日清单).
        step = -(-days // 6)
        lines = []
        for use in treatment.uses:
            if use.chance < 1.0 and self.chance.random() >= use.chance:
                continue
            if not use.daily:
                lines.append(self._line(use, 1, last, treatment.care, social))
                continue
            for begin in range(0, days, step):
                length = min(step, days - begin)
                day = first + timedelta(days=begin + length - 1)
                lines.append(self._line(use, length, day, treatment.care, social))
        return lines

    def _line(self, use: Use, times: int, day: date, kind: str, social: bool) -> Line:
        service = SERVICES[use.code]
        quantity = Decimal(times * self.chance.randint(use.least, use.most))
        net = (quantity * service.price).quantize(_FEN, ROUND_HALF_UP)
        share = _FUND_SHARES[kind].get(service.list_class, _NOTHING)
        fund = (net * share).quantize(_FEN, ROUND_HALF_UP) if social else None
        return Line(service=service, quantity=quantity, net=net, day=day, fund_paid=fund)
