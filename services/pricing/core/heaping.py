"""What a member's home readings of a whole window look like together; it notes, and never holds.

A hold that rests on other months' readings would reward whoever leaves those months out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import date, tzinfo
from itertools import pairwise
from math import comb, gcd

import msgspec

from services.pricing.core.flags import Flag, FlagCode, flag_of
from services.pricing.core.months import Candidate, month_text
from services.pricing.core.programme import Bunching, Digits, Measure, Target, Then
from services.pricing.core.readings import Provenance, Reading, value_text
from services.pricing.core.tariff import MILLION

_LAST_DIGITS = 10


class Seen(msgspec.Struct, frozen=True):
    """One month as the checks see it."""

    month: date
    readings: Sequence[Reading]
    targets: Mapping[Measure, Target]
    candidates: Sequence[Candidate]
    slots: Mapping[int, Candidate]

    @property
    def name(self) -> str:
        """The month as "YYYY-MM"."""
        return month_text(self.month)


def bunching(terms: Bunching, seen: Sequence[Seen], cleared: Container[str]) -> Iterator[Flag]:
    """Measures whose home readings heap just inside their upper bound over the window."""
    for measure, width in sorted(terms.widths.items()):
        inside: list[tuple[str, str]] = []
        outside = 0
        for one in seen:
            last = _last_inside(one.targets.get(measure))
            if last is None:
                continue
            month = one.name
            for reading in _home(one, measure):
                above = reading.measured.value - last
                if -width < above <= 0:
                    inside.append((month, reading.name))
                outside += 0 < above <= width
        of = len(inside) + outside
        if of >= terms.least_readings and is_heaped(
            len(inside), of, terms.honest_millionths, terms.false_alarm_millionths
        ):
            said = f"{value_text(measure.quantity, width)} {measure.unit}"
            yield flag_of(
                FlagCode.BUNCHED_AT_TARGET,
                [month for month, _ in inside],
                measure,
                [name for _, name in inside],
                Then.NOTE,
                zh=f"目标值内侧 {said} 有 {len(inside)} 个读数，外侧同宽 {outside} 个："
                "核对设备原始记录",
                en=f"{len(inside)} readings stand within {said} inside the target and {outside} as "
                "near outside it: compare with the device's own record",
                cleared=cleared,
            )


def digits(terms: Digits, seen: Sequence[Seen], cleared: Container[str]) -> Iterator[Flag]:
    """Measures whose home readings end in 0 too often."""
    by_measure: dict[Measure, list[tuple[str, Reading]]] = defaultdict(list)
    for one in seen:
        month = one.name
        for measure in one.targets:
            by_measure[measure] += [(month, reading) for reading in _home(one, measure)]
    for measure, some in sorted(by_measure.items()):
        zero = [found for found in some if found[1].measured.value % _LAST_DIGITS == 0]
        of = len(some)
        if of >= terms.least_readings and is_heaped(
            len(zero), of, terms.honest_millionths, terms.false_alarm_millionths
        ):
            yield flag_of(
                FlagCode.DIGIT_PREFERENCE,
                [month for month, _ in zero],
                measure,
                [reading.name for _, reading in zero],
                Then.NOTE,
                zh=f"{len(some)} 个读数中 {len(zero)} 个末位为 0：请成员照录设备显示，不要取整",
                en=f"{len(zero)} of {len(some)} readings end in 0: ask the member to copy what the "
                "device shows",
                cleared=cleared,
            )


def gaps(days: int, seen: Sequence[Seen], cleared: Container[str], zone: tzinfo) -> Iterator[Flag]:
    """Days without a word between two readings of one device, both inside the window.

    A device has spoken whatever it measured: a meter that is used after a meal is not silent while
    nobody fasts. What measures nothing of the programme is not looked at.
    """
    for some in _streams(seen):
        some.sort(key=lambda one: (one.effective, one.name))
        for before, after in pairwise(some):
            silent = (after.effective - before.effective).days
            if silent > days:
                ends = [one.effective.astimezone(zone).date() for one in (before, after)]
                yield flag_of(
                    FlagCode.DEVICE_GAP,
                    [month_text(day) for day in ends],
                    None,
                    [before.name, after.name],
                    Then.NOTE,
                    zh=f"{ends[0]} 至 {ends[1]} 之间无及时的设备读数，共 {silent} 天"
                    f"（上限 {days}）：了解期间是否另有测量",
                    en=f"no reading of the device came in time between {ends[0]} and {ends[1]}, "
                    f"{silent} days (more than {days}): ask what was measured meanwhile",
                    cleared=cleared,
                )


def _streams(seen: Sequence[Seen]) -> Iterator[list[Reading]]:
    """All that each device sent in time, of those that measure something of the programme."""
    streams: dict[str, list[Reading]] = defaultdict(list)
    asked = set()
    for one in seen:
        for reading in one.readings:
            if reading.provenance is Provenance.DEVICE:
                streams[reading.recorder].append(reading)
        for measure in one.targets:
            asked |= {reading.recorder for reading in _home(one, measure)}
    for recorder, some in sorted(streams.items()):
        if recorder in asked:
            yield some


def _home(seen: Seen, measure: Measure) -> list[Reading]:
    """The month's readings of a measure that did not come through a hospital."""
    return [
        reading
        for candidate in seen.candidates
        for of, reading in candidate.readings
        if of is measure and not reading.provenance.through_his
    ]


def _last_inside(target: Target | None) -> int | None:
    """The greatest value, in steps, that a reading may have and be inside the upper bound."""
    if target is None:
        return None
    return target.at_most if target.below is None else target.below - 1


def is_heaped(count: int, of: int, honest_millionths: int, alarm_millionths: int) -> bool:
    """Whether so many or more, if each were there by the honest share, are as rare as the alarm.

    The exact one-sided binomial test: an honest member is flagged with at most that probability.

    >>> is_heaped(20, 20, 800_000, 10_000), is_heaped(21, 21, 800_000, 10_000)
    (False, True)
    """
    if count * MILLION <= honest_millionths * of:
        return False
    shared = gcd(honest_millionths, MILLION)
    honest, whole = honest_millionths // shared, MILLION // shared
    other = whole - honest
    tail: int = sum(comb(of, k) * honest**k * other ** (of - k) for k in range(count, of + 1))
    bound: int = alarm_millionths * whole**of
    return tail * MILLION <= bound
