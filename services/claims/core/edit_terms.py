"""A plan's edits ready to be asked: rows by code once a plan, terms by code once a stretch.

A table of any length costs a line one look-up. Knows no claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import count

from services.claims.core.codes import CodeKey, code_key, comparable
from services.claims.core.facts import Coding, Liability, Licence
from services.claims.core.plan import Plan
from services.claims.core.plan_edits import (
    ClinicalEdit,
    Edits,
    FrequencyLimit,
    Indication,
    MedicalNecessity,
    OtherLiability,
    Package,
    PackagePart,
    PairRow,
    Prescription,
    QualifiedCare,
    RefillWindow,
    RequiredPapers,
    UnitRow,
)
from services.claims.core.reasons import Reason
from services.claims.core.terms import CodeMatcher, InForce, matchers, on_day, stretch

# Codes remembered for one plan and stretch; more than any bill's vocabulary, and a bound.
_MOST_CODES = 65_536


@dataclass(frozen=True, slots=True)
class UnitTerm:
    """A row of medical units and its table's clause."""

    row: UnitRow
    clause: str


@dataclass(frozen=True, slots=True)
class PairTerm:
    """A row of a pair table, its clause and the modifiers that lift it, as they are compared.

    `place` is where it stands among all rows of the plan.
    """

    row: PairRow
    clause: str
    modifiers: frozenset[str]
    place: int


@dataclass(frozen=True, slots=True)
class ClinicalTerm:
    """What a service must agree with on the day, and the diagnoses that contradict it."""

    clause: str
    value: Indication
    not_with: CodeMatcher | None


Pairs = Mapping[CodeKey, tuple[PairTerm, ...]]
_NO_PAIRS: Pairs = {}


@dataclass(frozen=True, slots=True)
class CodeEdits:
    """Everything that the plan's edits say of one code; `pairs` by the code that it goes into.

    `refuses_for` are the reasons for which a single service can fail to agree with some of it.
    """

    units: tuple[UnitTerm, ...]
    pairs: Pairs
    package: InForce[Package, tuple[PackagePart, ...]] | None
    frequency: tuple[InForce[FrequencyLimit, int], ...]
    refills: tuple[InForce[RefillWindow, int], ...]
    clinical: tuple[ClinicalTerm, ...]
    necessity: tuple[InForce[MedicalNecessity, bool], ...]
    prescriptions: tuple[InForce[Prescription, bool], ...]
    qualified: tuple[InForce[QualifiedCare, tuple[Licence, ...]], ...]
    refuses_for: frozenset[Reason]


@dataclass(frozen=True, slots=True)
class EditTerms:
    """The edits in force on one day. What is None or empty refuses nothing."""

    edits: Edits
    has_tables: bool
    packages: Mapping[CodeKey, InForce[Package, tuple[PackagePart, ...]]]
    frequency: tuple[InForce[FrequencyLimit, int], ...]
    refills: tuple[InForce[RefillWindow, int], ...]
    clinical: tuple[tuple[CodeMatcher | None, ClinicalTerm], ...]
    necessity: tuple[InForce[MedicalNecessity, bool], ...]
    prescriptions: tuple[InForce[Prescription, bool], ...]
    qualified: tuple[InForce[QualifiedCare, tuple[Licence, ...]], ...]
    required_papers: tuple[InForce[RequiredPapers, tuple[str, ...]], ...]
    other_liability: tuple[InForce[OtherLiability, tuple[Liability, ...]], ...]
    filing_days: int | None
    late_reasons: frozenset[str]
    appeal_days: int | None
    suspected_duplicates: str
    units_by_code: Mapping[CodeKey, tuple[UnitTerm, ...]]
    pairs_by_code: Mapping[CodeKey, Pairs]
    _known: dict[CodeKey, CodeEdits] = field(default_factory=dict)

    def of(self, code: Coding) -> CodeEdits:
        """What the edits say of the code."""
        key = code_key(code)
        found = self._known.get(key)
        if found is None:
            found = self._look_up(key, code)
            if len(self._known) < _MOST_CODES:
                self._known[key] = found
        return found

    def _look_up(self, key: CodeKey, code: Coding) -> CodeEdits:
        clinical = tuple(one for codes, one in self.clinical if _names(codes, code))
        necessity = tuple(one for one in self.necessity if _names(one.codes, code))
        prescriptions = tuple(one for one in self.prescriptions if _names(one.codes, code))
        qualified = tuple(one for one in self.qualified if _names(one.codes, code))
        return CodeEdits(
            units=self.units_by_code.get(key, ()),
            pairs=self.pairs_by_code.get(key, _NO_PAIRS),
            package=self.packages.get(key),
            frequency=tuple(one for one in self.frequency if _names(one.codes, code)),
            refills=tuple(one for one in self.refills if _names(one.codes, code)),
            clinical=clinical,
            necessity=necessity,
            prescriptions=prescriptions,
            qualified=qualified,
            refuses_for=frozenset(
                reason
                for reason, asks in (
                    (Reason.AGE_MISMATCH, any(one.value.ages for one in clinical)),
                    (Reason.SEX_MISMATCH, any(one.value.sex for one in clinical)),
                    (Reason.CLINICAL_MISMATCH, any(one.not_with for one in clinical)),
                    (Reason.PLACE_MISMATCH, any(one.value.care_types for one in clinical)),
                    (Reason.PROVIDER_TYPE_MISMATCH, any(one.value.licences for one in clinical)),
                    (Reason.UNSUPPORTED_BY_DIAGNOSIS, bool(necessity)),
                    (Reason.DISPENSED_BEFORE_PRESCRIBED, bool(prescriptions)),
                    (Reason.PROVIDER_NOT_QUALIFIED, bool(qualified)),
                )
                if asks
            ),
        )


def edits_on(plan: Plan, day: date) -> EditTerms | None:
    """The plan's edits on a day; None when the plan has none at all.

    Raises: NoTermsInForce when the plan has no terms yet on that day.
    """
    return None if plan.edits is None else _edits_from(plan, plan.edits, stretch(plan, day))


@lru_cache(maxsize=256)
def _edits_from(plan: Plan, edits: Edits, day: date) -> EditTerms:
    matcher = matchers(plan, day)
    units, pairs = _tables(edits)
    suspected, filing, appeals = edits.suspected_duplicates, edits.filing, edits.appeals
    late = filing.exceptions.on(day) if filing is not None and filing.exceptions else None
    return EditTerms(
        edits=edits,
        has_tables=bool(units or pairs),
        packages={
            code_key(one.term.code): one
            for one in on_day(edits.packages, lambda t: t.parts, day, matcher)
        },
        frequency=on_day(edits.frequency_limits, lambda t: t.values, day, matcher),
        refills=on_day(edits.refill_windows, lambda t: t.values, day, matcher),
        clinical=_clinical(edits.clinical_edits, day, matcher),
        necessity=on_day(edits.medical_necessity, lambda t: t.in_force, day, matcher),
        prescriptions=on_day(edits.prescriptions, lambda t: t.in_force, day, matcher),
        qualified=on_day(edits.qualified_care, lambda t: t.values, day, matcher),
        required_papers=on_day(edits.required_papers, lambda t: t.values, day, matcher),
        other_liability=on_day(edits.other_liability, lambda t: t.values, day, matcher),
        filing_days=None if filing is None else filing.values.on(day),
        late_reasons=frozenset(late or ()),
        appeal_days=None if appeals is None else appeals.values.on(day),
        suspected_duplicates=suspected.clause
        if suspected is not None and suspected.in_force.on(day)
        else "",
        units_by_code=units,
        pairs_by_code=pairs,
    )


@lru_cache(maxsize=64)
def _tables(
    edits: Edits,
) -> tuple[Mapping[CodeKey, tuple[UnitTerm, ...]], Mapping[CodeKey, Pairs]]:
    """Every row by its code, whatever its days: rows look at the day of service."""
    units: dict[CodeKey, tuple[UnitTerm, ...]] = {}
    for table in edits.unit_edits:
        for row in table.rows:
            key = (table.system, comparable(row.code))
            units[key] = (*units.get(key, ()), UnitTerm(row, table.clause))
    pairs: dict[CodeKey, dict[CodeKey, tuple[PairTerm, ...]]] = {}
    places = count()
    for one in edits.pair_edits:
        modifiers = frozenset(comparable(word) for word in one.modifiers)
        for pair in one.rows:
            if pair.indicator == _NOT_IN_FORCE:
                continue
            second = pairs.setdefault((one.system, comparable(pair.second)), {})
            first = (one.system, comparable(pair.first))
            term = PairTerm(pair, one.clause, modifiers, next(places))
            second[first] = (*second.get(first, ()), term)
    return units, pairs


_NOT_IN_FORCE = 9


def _clinical(
    terms: tuple[ClinicalEdit, ...],
    day: date,
    matcher: Callable[[tuple[str, ...]], CodeMatcher | None],
) -> tuple[tuple[CodeMatcher | None, ClinicalTerm], ...]:
    return tuple(
        (
            one.codes,
            ClinicalTerm(one.term.clause, one.value, matcher(one.value.not_with)),
        )
        for one in on_day(terms, lambda t: t.values, day, matcher)
    )


def _names(codes: CodeMatcher | None, code: Coding) -> bool:
    return codes is None or codes.has(code)
