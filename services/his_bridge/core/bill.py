"""A bill as it may leave the hospital: balanced, pseudonymous; amounts in minor units. Pure."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec


class CareType(StrEnum):
    """How the care was given."""

    OUTPATIENT = "OUTPATIENT"
    EMERGENCY = "EMERGENCY"
    INPATIENT = "INPATIENT"
    PHARMACY = "PHARMACY"
    CHRONIC = "CHRONIC"
    ONLINE = "ONLINE"


class Tier(StrEnum):
    """The grade of a hospital (医院等级)."""

    PRIMARY = "PRIMARY"
    SECONDARY = "SECONDARY"
    TERTIARY = "TERTIARY"


class Licence(StrEnum):
    """What a provider is licensed as; the names of lipei.type.v1.Licence."""

    HOSPITAL = "HOSPITAL"
    COMMUNITY_CENTRE = "COMMUNITY_CENTRE"
    CLINIC = "CLINIC"
    PHARMACY = "PHARMACY"
    INTERNET_HOSPITAL = "INTERNET_HOSPITAL"
    EXAMINATION_CENTRE = "EXAMINATION_CENTRE"
    REHABILITATION = "REHABILITATION"
    DENTAL = "DENTAL"


class Coding(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A code, the system that gives it meaning, and the system's public text for it."""

    system: str
    code: str
    display: str = ""


class Diagnosis(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the patient was treated for."""

    number: int
    code: Coding
    principal: bool = False


class Line(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One charge. `billed` is quantity × unit price, rounded once, half up.

    `line_id` is the source's id of the charge. A line that takes back a charge, or part of it
    (冲红), names it in `reverses_line`, and its quantity and amounts are negative; it stands in
    events only, never in the bill that they make.
    """

    number: int
    code: Coding
    quantity: Decimal
    unit_price: Decimal
    billed: int
    local_code: Coding | None = None
    service_time: datetime | None = None
    diagnosis_numbers: tuple[int, ...] = ()
    fund_paid: int | None = None
    line_id: str = ""
    reverses_line: str = ""


class SocialInsurance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What social insurance (医保) did for the bill. None is unknown, never 0."""

    used: bool | None = None
    fund_paid: int | None = None
    account_paid: int | None = None


class Bill(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One bill. `total` is the sum of the lines; `end` is not before `start`.

    Empty `licences` are unknown, as in every bill stored before they were read. `emergency` says
    whether the stay began as an emergency (急诊入院), None where nobody says.
    """

    bill_number: str
    provider_id: str
    care_type: CareType
    member_token: str
    start: datetime
    end: datetime
    zone: str
    currency: str
    total: int
    lines: tuple[Line, ...]
    diagnoses: tuple[Diagnosis, ...] = ()
    tier: Tier | None = None
    social_insurance: SocialInsurance | None = None
    licences: tuple[Licence, ...] = ()
    emergency: bool | None = None


class Provenance(StrEnum):
    """Who vouches for a reading."""

    LABORATORY = "LABORATORY"
    CLINIC = "CLINIC"
    DEVICE = "DEVICE"
    TYPED = "TYPED"


class Reading(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One measurement, with its value exactly as the source wrote it.

    `issued` is when the hospital released it, `fasting` whether its code says that the person had
    fasted; None where nothing is said, as in every reading stored before both were read.
    `device` is what measured it, under a pseudonym of this member's.
    """

    member_token: str
    code: Coding
    value: Decimal
    unit: str
    effective: datetime
    provenance: Provenance
    issued: datetime | None = None
    fasting: bool | None = None
    withdrawn: bool = False
    device: str | None = None
