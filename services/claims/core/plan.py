"""A benefit plan as data: every term with its clause, every value with the days it holds.

The loader builds it from a plan file; its canonical bytes are hashed and name the version. It
knows neither YAML nor how terms are applied.
"""

from __future__ import annotations

import enum
from datetime import date
from decimal import Decimal

from services.claims.core.decision import Bearer, Payee
from services.claims.core.facts import (
    CareType,
    ContractPrice,
    HospitalTier,
    PreExistingTerms,
    Relationship,
    Scope,
    Sex,
)
from services.claims.core.plan_edits import Edits
from services.claims.core.plan_parts import Ages, Part, Text
from services.common.dated import Dated


class Period(enum.StrEnum):
    """How long an accumulator adds up before it begins anew."""

    POLICY_YEAR = "policy_year"
    CALENDAR_YEAR = "calendar_year"
    CALENDAR_MONTH = "calendar_month"
    LIFETIME = "lifetime"


class StayDay(enum.StrEnum):
    """Which day of a stay a family of terms looks at."""

    START = "stay_start"
    END = "stay_end"


class WithoutList(enum.StrEnum):
    """What becomes of a line whose provider has no price list."""

    BILLED = "billed"
    DENIED = "denied"


class Repeated(enum.StrEnum):
    """Which of two examinations is the repetition that is denied."""

    LATER_SERVICE = "later_service"
    LATER_CLAIM = "later_claim"


class TierDay(enum.StrEnum):
    """The day by which an outcome tier must have been certified."""

    POLICY_YEAR = "policy_year"
    STAY_START = "stay_start"
    STAY_END = "stay_end"


class Place(enum.StrEnum):
    """Where a plan stands when several policies answer for one bill."""

    FIRST = "first"
    CHOICE = "choice"
    LAST = "last"


class Others(enum.StrEnum):
    """What a re-decision does to the claims that were decided after the claim's first decision."""

    STAND = "stand"
    AGAIN = "again"


class WaitingUnit(enum.StrEnum):
    """Unit of a waiting period."""

    DAYS = "days"
    MONTHS = "months"


class PatientCost(enum.StrEnum):
    """What of the patient's money may count toward an out-of-pocket maximum."""

    DEDUCTIBLE = "deductible"
    COPAY = "copay"
    COINSURANCE = "coinsurance"


class Clause(Part, frozen=True):
    """A clause of the contract: its number and a short text."""

    id: str
    text: Text


# --- codes ---


class SystemCodes(Part, frozen=True):
    """Codes of one system: exact ones, and prefixes that stand for all codes below them."""

    system: str
    exact: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


class SystemName(Part, frozen=True):
    """A code system that the plan's file names by a word of its own."""

    id: str
    uri: str


class GivenName(Part, frozen=True):
    """What the plan calls a code set or an outcome tier where it speaks to people."""

    id: str
    name: Text


class CodeSet(Part, frozen=True):
    """A named, dated set of codes; services and diagnoses alike."""

    id: str
    codes: Dated[tuple[SystemCodes, ...]]


# --- what a term is about ---


class Covers(Part, frozen=True):
    """Which lines an accumulator is about; nothing given is every line."""

    sections: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    ages: Ages | None = None


class When(Part, frozen=True):
    """Conditions that must all hold; an empty one is no condition.

    A condition whose fact is unknown makes the line wait for the fact.
    """

    social_insurance_used: bool | None = None
    insured_with_social_insurance: bool | None = None
    tiers: tuple[HospitalTier, ...] = ()
    networks: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    care_types: tuple[CareType, ...] = ()
    diagnoses: tuple[str, ...] = ()
    outcome_tiers: tuple[str, ...] = ()
    referral: bool | None = None
    family_doctor_contract: bool | None = None
    contracted_provider: bool | None = None
    ages: Ages | None = None
    sexes: tuple[Sex, ...] = ()


class FamilyStep(Part, frozen=True):
    """How a family's limit grows: by `add` for each insured person above `members`, up to `most`.

    Amounts are in minor units; `most` None, or null on a day, is no cap.
    """

    add: Dated[int]
    members: int
    most: Dated[int] | None = None


# --- terms ---


class Section(Part, frozen=True):
    """A section of benefits and the codes that it takes; without `codes`, all that are left."""

    id: str
    clause: str
    name: Text
    in_force: Dated[bool]
    care_types: tuple[CareType, ...] = ()
    codes: tuple[str, ...] = ()


class Category(Part, frozen=True):
    """A kind of claim; the first in the plan's order that any line meets is the claim's."""

    id: str
    name: Text
    sections: tuple[str, ...] = ()
    care_types: tuple[CareType, ...] = ()
    overnight: bool = False


class Eligibility(Part, frozen=True):
    """A relationship that may be insured, at which ages."""

    id: str
    clause: str
    relationship: Relationship
    values: Dated[Ages]


class Exclusion(Part, frozen=True):
    """What the plan does not cover: lines that meet all that is given."""

    id: str
    clause: str
    in_force: Dated[bool]
    codes: tuple[str, ...] = ()
    diagnoses: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()


class PreExistingValue(Part, frozen=True):
    """What holds for a pre-existing condition; `share` with AT_SHARE only."""

    terms: PreExistingTerms
    share: Decimal | None = None


class PreExistingRule(Part, frozen=True):
    """What holds for pre-existing conditions of these diagnoses, in these sections.

    Both empty are every diagnosis and every section; one of them is given.
    """

    id: str
    clause: str
    diagnoses: tuple[str, ...]
    values: Dated[PreExistingValue]
    sections: tuple[str, ...] = ()


class PreExisting(Part, frozen=True):
    """What holds for disclosed conditions that the policy itself leaves to the plan."""

    clause: str
    otherwise: Dated[PreExistingValue]
    rules: tuple[PreExistingRule, ...] = ()


class WaitingPeriod(Part, frozen=True):
    """A time from the first day of cover in which nothing is paid, save for what is exempt."""

    id: str
    clause: str
    unit: WaitingUnit
    values: Dated[int]
    ages: Ages
    sections: tuple[str, ...] = ()
    diagnoses: tuple[str, ...] = ()
    exempt_diagnoses: tuple[str, ...] = ()
    exempt_care_types: tuple[CareType, ...] = ()


class Qualification(Part, frozen=True):
    """What a provider must be: of these tiers, in these networks, on the plan's list."""

    tiers: tuple[HospitalTier, ...] = ()
    networks: tuple[str, ...] = ()
    listed: bool = False


class ProviderRule(Part, frozen=True):
    """Which providers qualify for which care."""

    id: str
    clause: str
    values: Dated[Qualification]
    sections: tuple[str, ...] = ()
    care_types: tuple[CareType, ...] = ()


class EmergencyException(Part, frozen=True):
    """That emergency care is covered at any provider, on these days.

    `hours` None, or null on a day, is without end; else it ends so many hours after admission.
    """

    clause: str
    in_force: Dated[bool]
    hours: Dated[int] | None = None


class PlanProvider(Part, frozen=True):
    """A provider on the plan's list; what is said here goes before what the bill says.

    `prices` None is a provider without a price list: its billed prices stand.
    """

    id: str
    listed: Dated[bool]
    name: Text | None = None
    tier: Dated[HospitalTier] | None = None
    network: Dated[str] | None = None
    prices: tuple[ContractPrice, ...] | None = None


class Providers(Part, frozen=True):
    """Who may treat the plan's members."""

    rules: tuple[ProviderRule, ...] = ()
    emergency_exception: EmergencyException | None = None
    listing: tuple[PlanProvider, ...] = ()


class AuthorisationTerm(Part, frozen=True):
    """Care that needs the insurer's authorisation beforehand: lines that meet all that is given.

    `requires` names terms whose own authorisation such a line needs as well.
    """

    id: str
    clause: str
    in_force: Dated[bool]
    codes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    care_types: tuple[CareType, ...] = ()
    requires: tuple[str, ...] = ()


class MutualRecognition(Part, frozen=True):
    """Examinations whose result another provider's stands in for, and for how many days.

    0 is the same day only. `overrides` are the reasons, stated on the bill's line, for which the
    examination was done again and is paid all the same. `denies` None, or null on a day, is the
    one that was done later.
    """

    id: str
    clause: str
    values: Dated[int]
    codes: tuple[str, ...]
    overrides: Dated[tuple[str, ...]] | None = None
    denies: Dated[Repeated] | None = None


class FixedLimit(Part, frozen=True):
    """The most that is allowed for one unit, in minor units."""

    id: str
    clause: str
    values: Dated[int]
    codes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    ages: Ages | None = None


class UnitLimit(Part, frozen=True):
    """The most units that are allowed in a period; what is above is cut."""

    id: str
    clause: str
    values: Dated[int]
    scope: Scope
    period: Period | None = None
    codes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    ages: Ages | None = None


class Deductible(Part, frozen=True):
    """What the patient bears first, in minor units a period.

    What one that is `embedded_in` a family's takes counts toward the family's as well, and it is
    over when either is used up; the family's then takes nothing by itself.
    """

    id: str
    clause: str
    values: Dated[int]
    scope: Scope
    covers: Covers
    period: Period | None = None
    social_insurance_counts: bool = False
    embedded_in: str = ""
    family_step: FamilyStep | None = None


class Copay(Part, frozen=True):
    """What the patient bears per visit, in minor units; the first one whose conditions hold."""

    id: str
    clause: str
    values: Dated[int]
    when: When


class Share(Part, frozen=True):
    """The insurer's share in [0, 1]; the first one whose conditions hold."""

    id: str
    clause: str
    values: Dated[Decimal]
    when: When


class OutOfPocketMaximum(Part, frozen=True):
    """What the patient bears at most, in minor units a period; above it the share is 1."""

    id: str
    clause: str
    values: Dated[int]
    scope: Scope
    counts: tuple[PatientCost, ...]
    covers: Covers
    period: Period | None = None
    family_step: FamilyStep | None = None


class Ceiling(Part, frozen=True):
    """What the insurer pays at most, in minor units a period."""

    id: str
    clause: str
    values: Dated[int]
    scope: Scope
    covers: Covers
    period: Period | None = None
    family_step: FamilyStep | None = None

    @property
    def of_section(self) -> bool:
        """Whether it bounds a part of the plan and not all of it."""
        return bool(self.covers.sections or self.covers.categories)


class CountLimit(Part, frozen=True):
    """How many claims a period are paid at most."""

    id: str
    clause: str
    values: Dated[int]
    scope: Scope
    period: Period
    covers: Covers


class AutoPayCeiling(Part, frozen=True):
    """Above this benefit, in minor units, a person must look at the claim."""

    clause: str
    values: Dated[int]


class Sampling(Part, frozen=True):
    """The share of claims, in [0, 1], that a person looks at although nothing is wrong."""

    clause: str
    values: Dated[Decimal]


class FourEyes(Part, frozen=True):
    """Above this benefit, in minor units, two people must review."""

    clause: str
    values: Dated[int]


class UndisputedFirst(Part, frozen=True):
    """What waits for nothing is paid before the lines that do."""

    clause: str
    in_force: Dated[bool]


class PayeeTerm(Part, frozen=True):
    """Who gets a line's benefit; the first one whose conditions hold."""

    id: str
    clause: str
    values: Dated[Payee]
    when: When


class General(Part, frozen=True):
    """Clauses of what holds for every claim, and which day of a stay terms look at."""

    not_covered: str
    outside_sections: str
    duplicates: str
    impossible_dates: str
    missing_facts: str
    cover_day: StayDay = StayDay.START
    terms_day: StayDay = StayDay.END


class Prices(Part, frozen=True):
    """The clause of contract prices, and who bears what is charged above them.

    `without_list` None, or null on a day: of a provider without a list the billed price stands.
    """

    clause: str
    above_contract_direct: Bearer = Bearer.PROVIDER
    above_contract_otherwise: Bearer = Bearer.PATIENT
    without_list: Dated[WithoutList] | None = None


class SocialInsuranceTerms(Part, frozen=True):
    """The clause of social insurance, and whose money the patient's own account is."""

    clause: str
    account_paid_is: Bearer = Bearer.PATIENT


class Coordination(Part, frozen=True):
    """The clause under which earlier insurers' money replaces this plan's.

    `place` says where the plan stands among the member's policies; None, or null on a day, leaves
    it to the member's choice and to which policy is the oldest.
    """

    clause: str
    place: Dated[Place] | None = None


class OutcomeTierDay(Part, frozen=True):
    """By which day a tier must be certified to count; null on a day is the policy year's first."""

    clause: str
    values: Dated[TierDay]


class Redecision(Part, frozen=True):
    """What a re-decision does to other claims; null on a day lets them stand."""

    clause: str
    others: Dated[Others]


class ClockTerms(Part, frozen=True):
    """Calendar days that the contract gives for a decision, a payment, the minimum, a notice.

    None, or null on a day, is what the law gives. No decision looks at it: it is no part of one.
    """

    clause: str
    decision_days: Dated[int] | None = None
    payment_days: Dated[int] | None = None
    minimum_days: Dated[int] | None = None
    notice_days: Dated[int] | None = None


class Plan(Part, frozen=True):
    """One benefit plan. It has terms from `first_day` on, and none before.

    `code_systems` are the URIs of systems whose codes bills may bring beside those of code sets.
    """

    format: int
    id: str
    name: Text
    currency: str
    first_day: date
    clauses: tuple[Clause, ...]
    general: General
    sections: tuple[Section, ...]
    shares: tuple[Share, ...]
    pre_existing: PreExisting
    prices: Prices
    social_insurance: SocialInsuranceTerms
    coordination: Coordination
    providers: Providers
    systems: tuple[SystemName, ...] = ()
    code_systems: tuple[str, ...] = ()
    code_sets: tuple[CodeSet, ...] = ()
    names: tuple[GivenName, ...] = ()
    categories: tuple[Category, ...] = ()
    default_category: str = ""
    eligibility: tuple[Eligibility, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    waiting_periods: tuple[WaitingPeriod, ...] = ()
    mutual_recognition: tuple[MutualRecognition, ...] = ()
    fixed_limits: tuple[FixedLimit, ...] = ()
    unit_limits: tuple[UnitLimit, ...] = ()
    deductibles: tuple[Deductible, ...] = ()
    copays: tuple[Copay, ...] = ()
    out_of_pocket: tuple[OutOfPocketMaximum, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()
    count_limits: tuple[CountLimit, ...] = ()
    auto_pay_ceiling: AutoPayCeiling | None = None
    authorisations: tuple[AuthorisationTerm, ...] = ()
    payees: tuple[PayeeTerm, ...] = ()
    sampling: Sampling | None = None
    four_eyes: FourEyes | None = None
    undisputed_first: UndisputedFirst | None = None
    outcome_tier_day: OutcomeTierDay | None = None
    redecision: Redecision | None = None
    clocks: ClockTerms | None = None
    edits: Edits | None = None


def reads_family_size(plan: Plan) -> bool:
    """Whether a limit of the plan grows with the family, on whatever day."""
    return (
        any(one.family_step is not None for one in plan.deductibles)
        or any(one.family_step is not None for one in plan.out_of_pocket)
        or any(one.family_step is not None for one in plan.ceilings)
    )


def reads_outcome_tier(plan: Plan) -> bool:
    """Whether a term of the plan hangs on the member's outcome tier, on whatever day."""
    whens = (one.when for some in (plan.shares, plan.copays, plan.payees) for one in some)
    return any(when.outcome_tiers for when in whens)


def clause_text(plan: Plan, clause: str) -> Text:
    """The short text of a clause.

    Raises: KeyError when the plan has no such clause; the loader lets no plan refer to one.
    """
    for known in plan.clauses:
        if known.id == clause:
            return known.text
    raise KeyError(clause)
