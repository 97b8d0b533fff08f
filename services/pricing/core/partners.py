"""What a health-management partner achieves: months on target, and unplanned readmissions.

Control rate = months on target / all months of its members; "not enough" counts as off target, so
that nobody looks better for what was not measured. Readmissions are observed over expected: the
next admission within 30 days of a discharge, if it is unplanned. Fewer members or stays than the
minimum give no rate. Knows no file and no clock.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction

import msgspec

from services.pricing.core.months import Result

READMITTED_WITHIN_DAYS = 30
# Two-sided 95 % of a normal, and of a Poisson count of which nothing was seen: −ln 0.025.
_NORMAL_95 = 1.959964
_NONE_SEEN_95 = 3.688879


class PartnerMonth(msgspec.Struct, frozen=True):
    """One month of one member in a partner's care; `month` is its first day."""

    partner: str
    member: str
    month: date
    result: Result


class Interval(msgspec.Struct, frozen=True):
    """An interval of 95 %, clustered by member."""

    low: float
    high: float


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """A partner's months; `rate` and `interval` are None with fewer members than the minimum."""

    partner: str
    members: int
    on_target: int
    off_target: int
    not_enough: int
    rate: Fraction | None
    interval: Interval | None

    @property
    def months(self) -> int:
        """All months, whatever they came to."""
        return self.on_target + self.off_target + self.not_enough


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """One stay in hospital; `partner` had the member in its care then, "" if none had.

    `discharged` is None while the member lies there. `expected`, if it is given, is the probability
    of an unplanned readmission within 30 days; else `stratum` says whose rate is expected.
    """

    name: str
    member: str
    admitted: date
    discharged: date | None
    planned: bool
    partner: str = ""
    died: bool = False
    stratum: tuple[str, ...] = ()
    expected: Fraction | None = None


class Discharge(msgspec.Struct, frozen=True, kw_only=True):
    """A discharge of which 30 days are known: whether an unplanned readmission followed."""

    stay: Stay
    readmitted: bool


class Discharges(msgspec.Struct, frozen=True, kw_only=True):
    """Those that count, by member and day, and how many do not, by the reason."""

    counted: tuple[Discharge, ...]
    transferred: int
    died: int
    not_known: int


class Stratum(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole book tells of like discharges; `pooled` strata were too small by themselves.

    `greatest_share` is that of the partner with most of them: near 1 it is measured on itself.
    """

    names: tuple[tuple[str, ...], ...]
    discharges: int
    readmitted: int
    pooled: bool
    greatest_share: Fraction

    @property
    def rate(self) -> Fraction:
        """Share of its discharges that were readmitted."""
        return Fraction(self.readmitted, self.discharges)


class Readmission(msgspec.Struct, frozen=True, kw_only=True):
    """A partner's discharges; `ratio` is None below the minimum, or where none is expected."""

    partner: str
    discharges: int
    members: int
    observed: int
    expected: Fraction
    ratio: Fraction | None
    interval: Interval | None


def control_of(months: Iterable[PartnerMonth], *, least_members: int) -> tuple[Control, ...]:
    """Each partner's control rate, by its name. Order and repetition by others change nothing."""
    by_partner: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for one in months:
        by_partner[one.partner][one.member].append(one.result)
    return tuple(
        _control(partner, members, least_members) for partner, members in sorted(by_partner.items())
    )


def unassessed(months: Iterable[PartnerMonth]) -> tuple[PartnerMonth, ...]:
    """The months that are missing between a member's first and last with a partner: not enough.

    Without them a partner would look better for a month that it does not hand in. A month in which
    the member was with another partner is not missing.
    """
    months = tuple(months)
    elsewhere = {(one.member, one.month) for one in months}
    spans: dict[tuple[str, str], list[date]] = {}
    for one in months:
        span = spans.setdefault((one.partner, one.member), [one.month, one.month])
        span[:] = [min(span[0], one.month), max(span[1], one.month)]
    return tuple(
        PartnerMonth(partner, member, month, Result.NOT_ENOUGH)
        for (partner, member), (first, last) in sorted(spans.items())
        for month in _months(first, last)
        if (member, month) not in elsewhere
    )


def discharges_of(stays: Iterable[Stay], *, known_before: date) -> Discharges:
    """Each discharge with what followed; `known_before` is the first day that is not known.

    The next admission decides, so that each readmission counts once, against the discharge before
    it; a planned one is none. A planned admission on the day of discharge is a transfer: the stay
    goes on, and ends with the other's discharge. Not at risk are those who died; a discharge of
    which not all 30 days are known is left out, readmitted or not.
    """
    by_member: dict[str, list[Stay]] = defaultdict(list)
    for stay in stays:
        by_member[stay.member].append(stay)
    counted: list[Discharge] = []
    transferred = died = not_known = 0
    for _, mine in sorted(by_member.items()):
        mine.sort(key=lambda stay: (stay.admitted, stay.discharged or date.max, stay.name))
        for place, stay in enumerate(mine):
            after = mine[place + 1] if place + 1 < len(mine) else None
            if stay.died:
                died += 1
            elif stay.discharged is None or _last_day(stay.discharged) >= known_before:
                not_known += 1
            elif after is not None and after.planned and after.admitted == stay.discharged:
                transferred += 1
            else:
                again = (
                    after is not None
                    and not after.planned
                    and after.admitted <= _last_day(stay.discharged)
                )
                counted.append(Discharge(stay=stay, readmitted=again))
    return Discharges(
        counted=tuple(counted), transferred=transferred, died=died, not_known=not_known
    )


def strata_of(discharges: Sequence[Discharge], *, least_stays: int) -> tuple[Stratum, ...]:
    """The whole book's rates; strata with fewer discharges than the minimum are pooled into one.

    So all that is expected adds up to all that was observed, also of the small ones.
    """
    by_name: dict[tuple[str, ...], list[Discharge]] = defaultdict(list)
    for one in discharges:
        by_name[one.stay.stratum].append(one)
    large = {name: found for name, found in by_name.items() if len(found) >= least_stays}
    small = sorted(name for name in by_name if name not in large)
    strata = [_stratum((name,), found, pooled=False) for name, found in sorted(large.items())]
    if small:
        pooled = [one for name in small for one in by_name[name]]
        strata.append(_stratum(tuple(small), pooled, pooled=True))
    return tuple(strata)


def readmissions_of(
    discharges: Sequence[Discharge], strata: Sequence[Stratum], *, least_stays: int
) -> tuple[Readmission, ...]:
    """Each partner's readmissions, observed over expected, by its name.

    Expected is what the discharge itself says, else the rate of its stratum.
    """
    rates = {name: stratum.rate for stratum in strata for name in stratum.names}
    by_partner: dict[str, list[tuple[Discharge, Fraction]]] = defaultdict(list)
    for one in discharges:
        if one.stay.partner:
            given = one.stay.expected
            expected = rates[one.stay.stratum] if given is None else given
            by_partner[one.stay.partner].append((one, expected))
    return tuple(
        _readmission(partner, mine, least_stays) for partner, mine in sorted(by_partner.items())
    )


def _control(partner: str, members: Mapping[str, Sequence[Result]], least: int) -> Control:
    results = [result for mine in members.values() for result in mine]
    on_target = results.count(Result.ON_TARGET)
    rate = interval = None
    if len(members) >= least:
        rate = Fraction(on_target, len(results))
        # A ratio of two sums over members, whose months are alike: the error is of members.
        apart = sum(
            (mine.count(Result.ON_TARGET) - rate * len(mine)) ** 2 for mine in members.values()
        )
        error = _clustered(apart, len(members)) / len(results)
        low, high = float(rate) - _NORMAL_95 * error, float(rate) + _NORMAL_95 * error
        interval = Interval(max(0.0, low), min(1.0, high))
    return Control(
        partner=partner,
        members=len(members),
        on_target=on_target,
        off_target=results.count(Result.OFF_TARGET),
        not_enough=results.count(Result.NOT_ENOUGH),
        rate=rate,
        interval=interval,
    )


def _stratum(
    names: tuple[tuple[str, ...], ...], found: Sequence[Discharge], *, pooled: bool
) -> Stratum:
    partners = Counter(one.stay.partner for one in found if one.stay.partner)
    most = max(partners.values(), default=0)
    return Stratum(
        names=names,
        discharges=len(found),
        readmitted=sum(one.readmitted for one in found),
        pooled=pooled,
        greatest_share=Fraction(most, len(found)),
    )


def _readmission(
    partner: str, mine: Sequence[tuple[Discharge, Fraction]], least: int
) -> Readmission:
    observed = sum(one.readmitted for one, _ in mine)
    expected = sum((probability for _, probability in mine), Fraction(0))
    apart: dict[str, Fraction] = defaultdict(Fraction)
    ratio = interval = None
    if len(mine) >= least and expected > 0:
        ratio = observed / expected
        for one, probability in mine:
            apart[one.stay.member] += one.readmitted - ratio * probability
        squares = sum((value**2 for value in apart.values()), Fraction(0))
        interval = _around(ratio, observed, expected, _clustered(squares, len(apart)))
    return Readmission(
        partner=partner,
        discharges=len(mine),
        members=len({one.stay.member for one, _ in mine}),
        observed=observed,
        expected=expected,
        ratio=ratio,
        interval=interval,
    )


def _around(ratio: Fraction, observed: int, expected: Fraction, error: float) -> Interval:
    """On the logarithm, for a ratio is not below 0; with nothing observed Poisson's bound."""
    if not observed:
        return Interval(0.0, _NONE_SEEN_95 / float(expected))
    wide = math.exp(_NORMAL_95 * error / observed)
    return Interval(float(ratio) / wide, float(ratio) * wide)


def _clustered(squares: Fraction | int, clusters: int) -> float:
    """The error of a sum over members, from the squares of what each is apart."""
    corrected = Fraction(squares) * Fraction(clusters, max(clusters - 1, 1))
    return math.sqrt(corrected)


def _last_day(discharged: date) -> date:
    return discharged + timedelta(days=READMITTED_WITHIN_DAYS)


def _months(first: date, last: date) -> Iterable[date]:
    for number in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        yield date(number // 12, number % 12 + 1, 1)
