"""A plan's edits as data: what about the coding, the coder and the time refuses a line or holds it.

Rows of tables look at the day of service; every other term at the day that limits look at. Knows
neither YAML nor how edits are applied.
"""

from __future__ import annotations

import enum
from datetime import date

from services.claims.core.facts import CareType, Coding, Liability, Licence, Sex
from services.claims.core.plan_parts import Ages, Part, Text
from services.common.dated import Dated


class Per(enum.StrEnum):
    """What the units of a medical unit edit are counted over."""

    LINE = "line"
    DAY = "day"


class CountsFrom(enum.StrEnum):
    """From which day the time to file runs."""

    STAY_END = "stay_end"
    SERVICE = "service"


class UnitRow(Part, frozen=True):
    """The most units of a code that are medically plausible, for services on these days.

    `units` are ten-thousandths, `end` the first day on which the row no longer holds.
    """

    code: str
    units: int
    per: Per
    effective: date
    end: date | None = None


class UnitEdits(Part, frozen=True):
    """One table of medical unit edits; its codes are of one system."""

    id: str
    clause: str
    system: str
    rows: tuple[UnitRow, ...]


class PairRow(Part, frozen=True):
    """Two codes that do not go together; `second` is the one that is denied.

    `indicator` 0 is never together, 1 together with a listed modifier, 9 not in force. `end` is
    the first day on which the row no longer holds.
    """

    first: str
    second: str
    effective: date
    indicator: int
    end: date | None = None


class PairEdits(Part, frozen=True):
    """One table of pair edits; its codes are of one system, `modifiers` lift indicator 1."""

    id: str
    clause: str
    system: str
    rows: tuple[PairRow, ...]
    modifiers: tuple[str, ...] = ()


class PackagePart(Part, frozen=True):
    """A service that a package holds, and how many ten-thousandths of a unit of it."""

    code: Coding
    units: int


class Package(Part, frozen=True):
    """A code that stands for services which must all be there, and no others."""

    id: str
    clause: str
    code: Coding
    parts: Dated[tuple[PackagePart, ...]]


class FrequencyLimit(Part, frozen=True):
    """Once every N days, for all the codes together."""

    id: str
    clause: str
    codes: tuple[str, ...]
    values: Dated[int]


class RefillWindow(Part, frozen=True):
    """How many days before an earlier supply of the same code is used up it may be refilled."""

    id: str
    clause: str
    codes: tuple[str, ...]
    values: Dated[int]


class Indication(Part, frozen=True):
    """For whom and where a service may be done; what is not given is not asked for.

    `not_with` names sets of diagnoses that contradict the service.
    """

    ages: Ages | None = None
    sex: Sex | None = None
    not_with: tuple[str, ...] = ()
    care_types: tuple[CareType, ...] = ()
    licences: tuple[Licence, ...] = ()


class ClinicalEdit(Part, frozen=True):
    """What a service must agree with: age, sex, diagnosis, place, type of provider."""

    id: str
    clause: str
    codes: tuple[str, ...]
    values: Dated[Indication]


class MedicalNecessity(Part, frozen=True):
    """Diagnoses that support a service; without one of them it is not necessary."""

    id: str
    clause: str
    codes: tuple[str, ...]
    diagnoses: tuple[str, ...]
    in_force: Dated[bool]


class Prescription(Part, frozen=True):
    """What must have been prescribed by the time it is dispensed."""

    id: str
    clause: str
    in_force: Dated[bool]
    codes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()


class QualifiedCare(Part, frozen=True):
    """Care that only providers with one of these licences may give."""

    id: str
    clause: str
    values: Dated[tuple[Licence, ...]]
    care_types: tuple[CareType, ...] = ()
    codes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()


class Filing(Part, frozen=True):
    """Days within which a bill must arrive, and the reasons that excuse a later one."""

    clause: str
    values: Dated[int]
    counts_from: CountsFrom = CountsFrom.STAY_END
    exceptions: Dated[tuple[str, ...]] | None = None


class Appeals(Part, frozen=True):
    """Days within which a decision may be appealed."""

    clause: str
    values: Dated[int]


class Paper(Part, frozen=True):
    """A kind of paper that claims may need."""

    id: str
    name: Text


class RequiredPapers(Part, frozen=True):
    """Papers without which a claim of this kind waits; all that is given must be met."""

    id: str
    clause: str
    values: Dated[tuple[str, ...]]
    care_types: tuple[CareType, ...] = ()
    categories: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()


class OtherLiability(Part, frozen=True):
    """Causes for which somebody else is liable: the plan does not pay what they brought about."""

    id: str
    clause: str
    values: Dated[tuple[Liability, ...]]
    diagnoses: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()


class SuspectedDuplicates(Part, frozen=True):
    """That a person looks at what resembles an earlier service without being equal to it."""

    clause: str
    in_force: Dated[bool]


class Edits(Part, frozen=True):
    """Every edit of a plan; a plan without any has none of this in its bytes."""

    unit_edits: tuple[UnitEdits, ...] = ()
    pair_edits: tuple[PairEdits, ...] = ()
    packages: tuple[Package, ...] = ()
    frequency_limits: tuple[FrequencyLimit, ...] = ()
    refill_windows: tuple[RefillWindow, ...] = ()
    clinical_edits: tuple[ClinicalEdit, ...] = ()
    medical_necessity: tuple[MedicalNecessity, ...] = ()
    prescriptions: tuple[Prescription, ...] = ()
    qualified_care: tuple[QualifiedCare, ...] = ()
    papers: tuple[Paper, ...] = ()
    required_papers: tuple[RequiredPapers, ...] = ()
    other_liability: tuple[OtherLiability, ...] = ()
    filing: Filing | None = None
    appeals: Appeals | None = None
    suspected_duplicates: SuspectedDuplicates | None = None
