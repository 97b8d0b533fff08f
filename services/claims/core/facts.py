"""What a decision is made from: the policy, its usage, the bill and earlier payers, all frozen.

Amounts are whole minor units of the bill's currency, prices and quantities decimals, dates
calendar dates in the hospital's zone, periods half-open. Knows no database, no wire and no clock.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

import msgspec

from services.claims.core.reasons import Reason
from services.common.dated import Dated

# A unit limit counts in ten-thousandths of a unit: quantities have at most four places.
UNIT_SCALE = 10_000
# A year; nothing is dispensed for longer, and as far back an earlier supply is looked up.
MAX_DAYS_SUPPLY = 366


class CareType(enum.StrEnum):
    """How the care was given; the names of lipei.type.v1.CareType."""

    OUTPATIENT = "outpatient"
    EMERGENCY = "emergency"
    INPATIENT = "inpatient"
    PHARMACY = "pharmacy"
    CHRONIC = "chronic"
    ONLINE = "online"


class HospitalTier(enum.StrEnum):
    """The grade of a hospital; the names of lipei.type.v1.HospitalTier."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    TERTIARY = "tertiary"


class Sex(enum.StrEnum):
    """Sex as on the identity document; the names of lipei.claims.v1.Sex."""

    FEMALE = "female"
    MALE = "male"


class Relationship(enum.StrEnum):
    """Relationship to the policyholder; the names of lipei.claims.v1.Relationship."""

    SELF = "self"
    SPOUSE = "spouse"
    CHILD = "child"
    PARENT = "parent"


class PreExistingTerms(enum.StrEnum):
    """What was agreed about a disclosed condition; names of lipei.claims.v1.PreExistingTerms."""

    EXCLUDED = "excluded"
    COVERED = "covered"
    AT_SHARE = "at_share"


class Licence(enum.StrEnum):
    """What a provider is licensed as; the names of lipei.type.v1.Licence."""

    HOSPITAL = "hospital"
    COMMUNITY_CENTRE = "community_centre"
    CLINIC = "clinic"
    PHARMACY = "pharmacy"
    INTERNET_HOSPITAL = "internet_hospital"
    EXAMINATION_CENTRE = "examination_centre"
    REHABILITATION = "rehabilitation"
    DENTAL = "dental"


class Liability(enum.StrEnum):
    """Who else may be liable for what was treated; the names of lipei.type.v1.Liability."""

    NOBODY = "nobody"
    WORK_INJURY = "work_injury"
    THIRD_PARTY = "third_party"


class Scope(enum.StrEnum):
    """Whose use an accumulator adds up; `treatment` is one claim and is never stored."""

    TREATMENT = "treatment"
    MEMBER = "member"
    FAMILY = "family"
    POLICY = "policy"


class Facts(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Common shape of facts: frozen, and defaults are left out of the canonical bytes.

    A field that a later engine adds with a default so leaves the hash of stored facts alone. Only
    None, "", (), 0, false and enum members may be defaults: others are compared by identity, and
    equal facts would get different bytes.
    """


class Coding(Facts, frozen=True):
    """A code and the URI of the system that gives it its meaning."""

    system: str
    code: str


# --- the policy ---


class CoverInterval(Facts, frozen=True):
    """One unbroken stretch of a member's cover under this policy, half-open.

    `continuous_since` is the first day of cover without a gap, through policies that this one
    renews: waiting periods are counted from it. It is `start` for a new policy.
    """

    start: date
    end: date
    continuous_since: date


class DisclosedCondition(Facts, frozen=True):
    """A condition from before the cover, named by the prefix of its diagnosis code.

    `terms` None leaves it to the plan's rule; `share` is the insurer's, for AT_SHARE.
    """

    code_prefix: str
    terms: PreExistingTerms | None = None
    share: Decimal | None = None

    def __post_init__(self) -> None:
        if self.share is not None:
            _keep_plain(self, "share", self.share)


class OutcomeTier(Facts, frozen=True):
    """A tier reached in a health programme, and the day on which it was certified."""

    tier: str
    certified: date


class FamilyDoctorContract(Facts, frozen=True):
    """A contract with a family doctor's practice (家庭医生签约); half-open."""

    provider_id: str
    start: date
    end: date


class FamilyDoctor(Facts, frozen=True):
    """Every contract that the person had or has; empty is known to be none."""

    contracts: tuple[FamilyDoctorContract, ...] = ()


class Authorisation(Facts, frozen=True):
    """What the insurer has authorised for the person beforehand, half-open by service date.

    It authorises lines that meet all that is given of `codes`, `sections` (the plan's) and
    `care_types`; one of the three is given. `provider_id` empty is any provider. `units` and
    `amount` (allowed, in minor units) are the most over all claims together; None is no limit.
    """

    id: str
    start: date
    end: date
    codes: tuple[Coding, ...] = ()
    sections: tuple[str, ...] = ()
    care_types: tuple[CareType, ...] = ()
    provider_id: str = ""
    units: Decimal | None = None
    amount: int | None = None

    def __post_init__(self) -> None:
        if self.units is not None:
            _keep_plain(self, "units", self.units)


class MemberFacts(Facts, frozen=True):
    """The insured person, as far as terms read it. `social_insurance` None is unknown.

    `outcome_tier` is the one certified last, `earlier_outcome_tiers` are those before it: which of
    them counts hangs on the policy year. `family_doctor` None is unknown; the insurer itself gives
    authorisations, so that none of them is none.
    """

    member_id: str
    birth_date: date
    relationship: Relationship
    cover: tuple[CoverInterval, ...]
    sex: Sex | None = None
    disclosed_conditions: tuple[DisclosedCondition, ...] = ()
    outcome_tier: OutcomeTier | None = None
    social_insurance: bool | None = None
    earlier_outcome_tiers: tuple[OutcomeTier, ...] = ()
    family_doctor: FamilyDoctor | None = None
    authorisations: tuple[Authorisation, ...] = ()


class PolicySnapshot(Facts, frozen=True):
    """One policy's revision as it stood for this decision; `start` and `end` are half-open.

    `family_size` is how many people the revision insures, this one included; None is unknown, and
    is left out where no term reads it.
    """

    policy_id: str
    revision: int
    start: date
    end: date
    member: MemberFacts
    family_size: int | None = None


# --- usage ---


class Balance(Facts, frozen=True):
    """What an accumulator holds before the decision.

    `accumulator` is the plan's id of the deductible, ceiling or count, `period_start` None for
    life. `amount` is in minor units, or in ten-thousandths of a unit for a unit limit.
    """

    accumulator: str
    scope: Scope
    period_start: date | None = None
    amount: int = 0
    count: int = 0


class EarlierService(Facts, frozen=True):
    """A service of the same member that an earlier decision in force allowed.

    `claim` is the opaque name of the claim that it was decided in, empty when nobody said.
    `quantity` is what was billed, `units` what of it was allowed, None for all.
    """

    bill_number: str
    provider_id: str
    code: Coding
    service_date: date
    quantity: Decimal
    unit_price: Decimal
    modifiers: tuple[str, ...] = ()
    days_supply: int | None = None
    claim: str = ""
    units: Decimal | None = None

    def __post_init__(self) -> None:
        _keep_plain(self, "quantity", self.quantity)
        _keep_plain(self, "unit_price", self.unit_price)
        if self.units is not None:
            _keep_plain(self, "units", self.units)


class UsageSnapshot(Facts, frozen=True):
    """The member's, family's and policy's use so far, without this claim's own earlier decision.

    Build it with `usage_snapshot`, which puts it in canonical order.
    """

    balances: tuple[Balance, ...] = ()
    services: tuple[EarlierService, ...] = ()


def usage_snapshot(
    balances: Iterable[Balance] = (), services: Iterable[EarlierService] = ()
) -> UsageSnapshot:
    """The usage in canonical order, so that the order of rows in storage never moves a hash.

    Raises: ValueError when one accumulator has two balances for the same scope and period.
    """
    ordered = sorted(balances, key=balance_key)
    keys = Counter(balance_key(balance) for balance in ordered)
    twice = sorted(key[0] for key, times in keys.items() if times > 1)
    if twice:
        raise ValueError(f"two balances for one accumulator and period: {', '.join(twice)}")
    return UsageSnapshot(
        balances=tuple(ordered), services=tuple(sorted(services, key=_service_key))
    )


def balance_key(balance: Balance) -> tuple[str, str, str]:
    """What makes a balance one row: accumulator, scope, first day of the period ("" for life)."""
    start = "" if balance.period_start is None else balance.period_start.isoformat()
    return (balance.accumulator, balance.scope.value, start)


# --- the bill ---


class DiagnosisFacts(Facts, frozen=True):
    """One diagnosis of the bill; lines refer to its number."""

    number: int
    code: Coding
    principal: bool = False


class LineFacts(Facts, frozen=True):
    """One charge. `service_date` None is the bill's last day; `fund_paid` None is not stated.

    `billed` is quantity × unit price, rounded once. `part_of` is the number of the line whose
    package it is part of. `service_time` and `prescription_time` are times of the hospital's
    clock, without zone. `days_supply` is how long what was dispensed lasts, `repeat_reason` why an
    examination was done again although another provider's result was there. `authorisation` is the
    number that the line names; empty, it is the bill's.
    """

    number: int
    code: Coding
    quantity: Decimal
    unit_price: Decimal
    billed: int
    service_date: date | None = None
    diagnosis_numbers: tuple[int, ...] = ()
    fund_paid: int | None = None
    modifiers: tuple[str, ...] = ()
    part_of: int | None = None
    service_time: datetime | None = None
    prescription_time: datetime | None = None
    days_supply: int | None = None
    repeat_reason: str = ""
    authorisation: str = ""

    def __post_init__(self) -> None:
        _keep_plain(self, "quantity", self.quantity)
        _keep_plain(self, "unit_price", self.unit_price)


class SocialInsuranceFacts(Facts, frozen=True):
    """What social insurance (医保) did for the bill.

    `used` None is unknown. `fund_paid` is what its funds paid for the whole bill, None when
    only lines state it. `account_paid` came out of the patient's own medical account.
    """

    used: bool | None = None
    fund_paid: int | None = None
    account_paid: int = 0


class ContractPrice(Facts, frozen=True):
    """A code of the provider's price list and its dated price; None on a day takes it off."""

    code: Coding
    price: Dated[Decimal]

    def __post_init__(self) -> None:
        plain = tuple(
            (day, None if price is None else plain_decimal(price))
            for day, price in self.price.values
        )
        msgspec.structs.force_setattr(self, "price", Dated(values=plain))


class PriceList(Facts, frozen=True):
    """The provider's price list, at least as far as this bill's codes go.

    It stands beside the plan's own list and goes before it. Empty `prices` mean that the
    provider has a list and that none of the bill's codes is in it.
    """

    prices: tuple[ContractPrice, ...] = ()


class AppealFacts(Facts, frozen=True):
    """An appeal against an earlier decision of the bill: when that was told, when it was filed."""

    decided: date
    filed: date


class BillFacts(Facts, frozen=True):
    """One final bill. `hospital_tier`, `care_type` and `referral` None are unknown.

    `direct_billing` says that the provider bills the insurer under a contract and so bears what
    it charges above the contract's price. `licences` empty are unknown, as is `liability` None.
    `admitted` is when the stay began by the hospital's clock, without zone; None is unknown.
    `received_date` is the day on which the bill arrived, `late_reason` why it came late, `papers`
    what came with it. `referral` says whether the patient was referred, `authorisation` is the
    number that the bill names; empty, it names none. `emergency` says that a stay which is not
    emergency care began as an emergency; who does not say so claims no exception.
    """

    bill_number: str
    provider_id: str
    start_date: date
    end_date: date
    currency: str
    lines: tuple[LineFacts, ...]
    hospital_tier: HospitalTier | None = None
    care_type: CareType | None = None
    diagnoses: tuple[DiagnosisFacts, ...] = ()
    social_insurance: SocialInsuranceFacts | None = None
    price_list: PriceList | None = None
    direct_billing: bool = False
    licences: tuple[Licence, ...] = ()
    liability: Liability | None = None
    papers: tuple[str, ...] = ()
    received_date: date | None = None
    late_reason: str = ""
    appeal: AppealFacts | None = None
    referral: bool | None = None
    authorisation: str = ""
    admitted: datetime | None = None
    emergency: bool = False


# --- earlier payers ---


class LinePayment(Facts, frozen=True):
    """What an earlier insurer paid for one line."""

    number: int
    amount: int


class PriorPayment(Facts, frozen=True):
    """What one earlier commercial insurer paid: for the bill, or line by line.

    `lines` empty spreads `amount` over the bill; else they must add up to it.
    """

    payer: str
    amount: int
    lines: tuple[LinePayment, ...] = ()


class PriorPayments(Facts, frozen=True):
    """Earlier commercial insurers, in coordination order. Social insurance is on the bill."""

    payments: tuple[PriorPayment, ...] = ()


# --- a person's review ---


class ReviewedLine(Facts, frozen=True):
    """What a reviewer leaves of one line, before prices, units and limits of the plan.

    `quantity` and `unit_price` None leave what was billed; they only ever lower. `denied` leaves
    nothing, for `reason`. `clause` is the plan's, under which the reviewer cuts.
    """

    number: int
    clause: str
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    denied: bool = False
    reason: Reason = Reason.MEDICAL_NECESSITY

    def __post_init__(self) -> None:
        if self.quantity is not None:
            _keep_plain(self, "quantity", self.quantity)
        if self.unit_price is not None:
            _keep_plain(self, "unit_price", self.unit_price)


class Review(Facts, frozen=True):
    """A person has looked at the claim: nothing of it waits for a person any more."""

    lines: tuple[ReviewedLine, ...] = ()


def plain_decimal(value: Decimal) -> Decimal:
    """The same number in the one form that canonical bytes use.

    >>> plain_decimal(Decimal("2.50")), plain_decimal(Decimal("1E+2"))
    (Decimal('2.5'), Decimal('100'))
    """
    if value == value.to_integral_value():
        return value.quantize(Decimal(1))
    return value.normalize()


def _keep_plain(facts: Facts, field: str, value: Decimal) -> None:
    msgspec.structs.force_setattr(facts, field, plain_decimal(value))


def _service_key(service: EarlierService) -> tuple[str, ...]:
    return (
        service.service_date.isoformat(),
        service.provider_id,
        service.code.system,
        service.code.code,
        service.bill_number,
        str(service.quantity),
        str(service.unit_price),
        service.claim,
        "\n".join(service.modifiers),
        str(service.days_supply),
        str(service.units),
    )
