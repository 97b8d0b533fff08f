"""What a health programme says, as immutable dated data. Knows no file, no reading and no clock.

A programme's name is its content, as a tariff's is: "{id}@sha256:{hash}" over the canonical JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

import msgspec

from services.common.dated import Dated, NoTermsInForce
from services.pricing.core.readings import Measured, Quantity, unit_of, value_text
from services.pricing.core.tariff import MILLION, content_hash

T = TypeVar("T")


class Measure(StrEnum):
    """Something that has a target of its own."""

    HBA1C = "hba1c"
    FASTING_GLUCOSE = "fasting_glucose"
    NON_FASTING_GLUCOSE = "non_fasting_glucose"
    HOME_SYSTOLIC = "home_systolic"
    HOME_DIASTOLIC = "home_diastolic"
    CLINIC_SYSTOLIC = "clinic_systolic"
    CLINIC_DIASTOLIC = "clinic_diastolic"

    @property
    def quantity(self) -> Quantity:
        """What is measured for it."""
        return _QUANTITIES[self]

    @property
    def unit(self) -> str:
        """UCUM unit of its means and targets."""
        return unit_of(self.quantity)


_QUANTITIES = {
    Measure.HBA1C: Quantity.HBA1C,
    Measure.FASTING_GLUCOSE: Quantity.GLUCOSE,
    Measure.NON_FASTING_GLUCOSE: Quantity.GLUCOSE,
    Measure.HOME_SYSTOLIC: Quantity.SYSTOLIC,
    Measure.HOME_DIASTOLIC: Quantity.DIASTOLIC,
    Measure.CLINIC_SYSTOLIC: Quantity.SYSTOLIC,
    Measure.CLINIC_DIASTOLIC: Quantity.DIASTOLIC,
}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a mean, in steps of the measure's quantity; at most one upper bound stands.

    `at_least` and `at_most` are inside, `below` is not.
    """

    at_least: int | None = None
    at_most: int | None = None
    below: int | None = None

    def met_by(self, mean: Fraction) -> bool:
        """Whether a mean, in steps and exact, meets it."""
        return (
            (self.at_least is None or mean >= self.at_least)
            and (self.at_most is None or mean <= self.at_most)
            and (self.below is None or mean < self.below)
        )

    def text(self, measure: Measure) -> str:
        """The target as people write it: "4.4-7.0" (both inside), "<7.0", ">=4.4 <7.0"."""
        quantity = measure.quantity
        if self.at_least is not None and self.at_most is not None:
            return f"{value_text(quantity, self.at_least)}-{value_text(quantity, self.at_most)}"
        bounds = ((">=", self.at_least), ("<=", self.at_most), ("<", self.below))
        return " ".join(
            f"{sign}{value_text(quantity, bound)}" for sign, bound in bounds if bound is not None
        )


class Sourced(msgspec.Struct, frozen=True):
    """A target and who says so."""

    target: Target
    source: str


class Steps(msgspec.Struct, frozen=True):
    """What runs of 1, 2 ... months earn, in millionths of the premium; a longer run the last."""

    shares_millionths: tuple[int, ...]
    source: str

    def share_of(self, run: int) -> int:
        """The share of a run of so many months; 0 without one."""
        return self.shares_millionths[min(run, len(self.shares_millionths)) - 1] if run else 0


class LowGlucose(msgspec.Struct, frozen=True):
    """Below this glucose, in steps, a reading counts for nothing and a coach is told."""

    below: int
    source: str


class Then(StrEnum):
    """What a flag does until a person has looked at what is flagged."""

    NOTE = "note"  # it is shown, and changes nothing
    HOLD = "hold"  # a month that rests on a flagged reading counts as not enough


class Contradiction(msgspec.Struct, frozen=True):
    """Home glucose below what a laboratory HbA1c says by more than a share, so near in time."""

    tolerance_millionths: int
    within_months: int
    then: Then


class Uploads(msgspec.Struct, frozen=True):
    """More readings of one measure in one slot than anybody is asked to take."""

    most: int
    then: Then


class Backdating(msgspec.Struct, frozen=True):
    """A typed reading that fills a slot by an earlier time, but came in after another of it."""

    then: Then


class Disagreement(msgspec.Struct, frozen=True):
    """Two sources that measured within so many hours and are further apart than this, in steps."""

    within_hours: int
    apart: Mapping[Quantity, int]
    then: Then


class Bunching(msgspec.Struct, frozen=True):
    """Readings heaped just inside an upper bound: the width looked at, in steps, and the test."""

    widths: Mapping[Measure, int]
    least_readings: int
    honest_millionths: int
    false_alarm_millionths: int


class Digits(msgspec.Struct, frozen=True):
    """Readings heaped on the last digit 0, and the test."""

    least_readings: int
    honest_millionths: int
    false_alarm_millionths: int


class Plausibility(msgspec.Struct, frozen=True, kw_only=True):
    """What is conspicuous in readings; what is None is not looked at.

    What looks at the whole window (bunching, digits, gaps) only notes: a hold that rests on other
    months would reward whoever leaves those months out.
    """

    contradiction: Contradiction | None = None
    uploads: Uploads | None = None
    backdating: Backdating | None = None
    disagreement: Disagreement | None = None
    bunching: Bunching | None = None
    digits: Digits | None = None
    gap_days: int | None = None
    source: str


class AdherenceTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Which drugs count as taken when, from how many days covered, and what that earns.

    `drugs` and `excluded` are beginnings of ATC codes; `recorders` the kinds of recorder whose word
    counts; `shares_millionths` what runs of 1, 2 ... adherent months earn.
    """

    drugs: tuple[str, ...]
    excluded: tuple[str, ...]
    threshold_millionths: int
    least_fills: int
    recorders: tuple[str, ...]
    steps: Steps
    source: str


class CreditAs(msgspec.Struct, frozen=True, kw_only=True):
    """How a credit is taken: off the premium, or, with a feature, as more sum insured.

    `multiple_of` is in whole units of the feature; the sum grows by at most a share of what it
    was.
    """

    feature: str = ""
    multiple_of: int = 1
    at_most_millionths: int = 0
    source: str

    @property
    def is_sum_insured(self) -> bool:
        """Whether it raises the sum insured."""
        return bool(self.feature)


class NoTargetInForce(LookupError):
    """The programme has no value on a day that must be judged."""


class Programme(msgspec.Struct, frozen=True, kw_only=True):
    """A programme of one disease: whose, by which dated targets, for which shares."""

    id: str
    title_zh: str
    title_en: str
    conditions: tuple[str, ...]
    targets: Mapping[Measure, Dated[Sourced]]
    low_glucose: Dated[LowGlucose] | None
    incentive: Dated[Steps]
    plausibility: Dated[Plausibility] | None = None
    adherence: Dated[AdherenceTerms] | None = None
    credit_as: Dated[CreditAs] | None = None

    def targets_on(self, day: date) -> dict[Measure, Target]:
        """Each measure's target in force on `day`; a measure whose target has ended is not in it.

        Raises: NoTargetInForce before a measure's first day.
        """
        found = {}
        try:
            for measure, dated in self.targets.items():
                sourced = dated.on(day)
                if sourced is not None:
                    found[measure] = sourced.target
        except NoTermsInForce as missing:
            raise NoTargetInForce(str(missing)) from None
        return found

    def low_glucose_on(self, day: date) -> int | None:
        """The bound below which glucose counts for nothing, in steps; None without one."""
        if self.low_glucose is None:
            return None
        try:
            found = self.low_glucose.on(day)
        except NoTermsInForce as missing:
            raise NoTargetInForce(str(missing)) from None
        return None if found is None else found.below

    def plausibility_on(self, day: date) -> Plausibility | None:
        """What is looked at for a renewal on `day`; None: nothing, as before its first day."""
        return _if_in_force(self.plausibility, day)

    def adherence_on(self, day: date) -> AdherenceTerms | None:
        """What adherence earns at a renewal on `day`; None: nothing, as before its first day."""
        return _if_in_force(self.adherence, day)

    def credit_as_on(self, day: date) -> CreditAs | None:
        """How a renewal's credit on `day` is taken; None: off the premium."""
        return _if_in_force(self.credit_as, day)

    def steps_on(self, day: date) -> Steps:
        """What runs earn at a renewal on `day`; nothing once it has ended.

        Raises: NoTargetInForce before its first day.
        """
        try:
            return self.incentive.on(day) or Steps((0,), "")
        except NoTermsInForce as missing:
            raise NoTargetInForce(str(missing)) from None


def _if_in_force(dated: Dated[T] | None, day: date) -> T | None:
    if dated is None or day < dated.values[0][0]:
        return None
    return dated.on(day)


def programme_version(programme: Programme) -> str:
    """The immutable name: "{id}@sha256:{hash}"."""
    return f"{programme.id}@sha256:{content_hash(programme)}"


class UnknownProgramme(LookupError):
    """No loaded programme has this id, or this very version."""


class Programmes:
    """The programmes of a service, by id and by version; of one id there is one."""

    def __init__(self, programmes: Iterable[Programme]) -> None:
        self._by_id = {programme.id: programme for programme in programmes}
        self._versions = {programme_version(p): p for p in self._by_id.values()}

    def named(self, name: str) -> Programme:
        """The programme of an id, or of a version.

        Raises: UnknownProgramme.
        """
        found = self._by_id.get(name) or self._versions.get(name)
        if found is None:
            raise UnknownProgramme(name)
        return found

    def versions(self) -> Mapping[str, Programme]:
        """Every loaded programme by its version."""
        return self._versions

    def is_low_glucose(self, measured: Measured, day: date) -> bool:
        """Whether any programme would send a coach for this reading, taken on `day`."""
        if measured.quantity is not Quantity.GLUCOSE:
            return False
        for programme in self._by_id.values():
            try:
                low = programme.low_glucose_on(day)
            except NoTargetInForce:
                continue
            if low is not None and measured.value < low:
                return True
        return False


def share_text(millionths: int) -> str:
    """A share as people write it.

    >>> share_text(100_000), share_text(62_500), share_text(0)
    ('10 %', '6.25 %', '0 %')
    """
    whole, rest = divmod(millionths, MILLION // 100)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + " %"
