"""A record as a dialect understood it: still with local codes and amounts as written. Pure.

A field is None when the record does not say it, or when a fault about it was named; whoever reads
None therefore stays silent, and all faults of a record come out at once, each once.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from services.his_bridge.core.bill import CareType, Provenance, Tier
from services.his_bridge.core.faults import Fault


class LocalCoding(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A code as the hospital wrote it."""

    system: str
    code: str
    display: str


class Concept(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The same thing in one or several codes."""

    codings: tuple[LocalCoding, ...]
    path: str


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """An identity document. It lives in memory only, until the member token is made."""

    kind: str
    number: str


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A patient: the document that names them, and texts that must never leave.

    `telling` are whole names, identifiers, telephone numbers, addresses; `name_parts` the longer
    parts of names; all of them as `redaction.plain` writes them. They live in memory only.
    """

    identity: Identity | None
    telling: tuple[str, ...] = ()
    name_parts: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


class ParsedDiagnosis(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A diagnosis with its local codes."""

    number: int
    principal: bool
    concept: Concept | None


class ParsedLine(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A charge with its local codes and its amounts in major units.

    `line_id` is the source's id of the charge; `reverses_line` that of the charge which a line
    takes back, wholly or in part, by a negative quantity and negative amounts (冲红).
    """

    path: str
    number: int
    concept: Concept | None
    quantity: Decimal | None
    unit_price: Decimal | None
    net: Decimal | None
    states_amount: bool  # a net or a unit price stands there, be it faulty
    local_concept: Concept | None = None
    service_time: datetime | None = None
    diagnosis_numbers: tuple[int, ...] = ()
    fund_paid: Decimal | None = None
    line_id: str = ""
    reverses_line: str = ""


class ParsedSocialInsurance(msgspec.Struct, frozen=True, kw_only=True):
    """What the record says that social insurance did, in major units."""

    used: bool | None = None
    fund_paid: Decimal | None = None
    account_paid: Decimal | None = None


class ParsedBill(msgspec.Struct, frozen=True, kw_only=True):
    """A bill as the dialect understood it; `emergency` is of a stay that began so."""

    bill_number: str | None
    provider_id: str | None
    tier: Tier | None
    care_type: CareType | None
    start: datetime | None
    end: datetime | None
    diagnoses: tuple[ParsedDiagnosis, ...]
    lines: tuple[ParsedLine, ...]
    total: Decimal | None
    total_path: str
    states_total: bool
    person: Person | None
    social_insurance: ParsedSocialInsurance | None
    faults: tuple[Fault, ...]
    emergency: bool | None = None


class ParsedReading(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement as the dialect understood it; `component` tells several of one record apart.

    `device` is a pseudonym already, as the member's token is: what the source calls a device may be
    its serial number.
    """

    component: str
    system: str
    code: str
    value: Decimal
    unit: str
    effective: datetime
    provenance: Provenance
    issued: datetime | None = None
    fasting: bool | None = None
    device: str | None = None


class ParsedReadings(msgspec.Struct, frozen=True, kw_only=True):
    """All readings of one record."""

    readings: tuple[ParsedReading, ...]
    person: Person | None
    faults: tuple[Fault, ...]
