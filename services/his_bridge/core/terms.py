"""What a source profile says about its records. Knows no file, no socket and no dialect."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from services.his_bridge.core.bill import CareType, Coding, Licence, Provenance, Tier


class LineAmount(StrEnum):
    """What a line without net and without unit price costs."""

    REFUSE = "refuse"
    ZERO = "zero"
    REMAINDER = "remainder"  # the total less all other lines


class SocialInsuranceSource(StrEnum):
    """Where it stands whether social insurance was used."""

    EXTENSION = "from_extension"
    NOT_USED = "not_used"
    UNKNOWN = "unknown"


class Principal(StrEnum):
    """Which diagnosis is the principal one when none is marked."""

    MARKED = "marked"
    FIRST = "first"


class CodeMap(msgspec.Struct, frozen=True, kw_only=True):
    """Local codes of one system and the standard code of each."""

    codes: Mapping[str, Coding]


class CodeRules(msgspec.Struct, frozen=True, kw_only=True):
    """Code systems that plans understand, and maps from those that they do not.

    `accepted` says for each system whether its displays are public texts that may leave.
    """

    accepted: Mapping[str, bool]
    maps: Mapping[str, CodeMap] = {}


class IdentityRule(msgspec.Struct, frozen=True, kw_only=True):
    """Identifiers of this system are identity documents of this kind."""

    system: str
    kind: str


class LineWithoutNet(msgspec.Struct, frozen=True, kw_only=True):
    """A source's quirk: lines that carry neither net nor unit price.

    When `first_among` is not empty, the remainder that the first line gets must be one of these
    prices; so a bill that lost a line does not balance by accident.
    """

    first: LineAmount = LineAmount.REFUSE
    others: LineAmount = LineAmount.REFUSE
    first_among: tuple[Decimal, ...] = ()


class ReadingRule(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement that programmes use, and the units in which it may come."""

    code: str
    units: tuple[str, ...]


class SourceTerms(msgspec.Struct, frozen=True, kw_only=True):
    """How to read one source's records."""

    hospital: str
    currency: str
    zone: str
    base_url: str
    identities: tuple[IdentityRule, ...]
    provider_system: str | None
    provider_id: str | None
    line_codes: CodeRules
    diagnosis_codes: CodeRules
    tier: Tier | None = None
    care_type_default: CareType | None = None
    encounter_types: Mapping[tuple[str, str], CareType] = {}  # by system and code
    principal: Principal = Principal.MARKED
    pharmacy_code_from_prescription: bool = False
    line_without_net: LineWithoutNet = LineWithoutNet()
    social_insurance: SocialInsuranceSource = SocialInsuranceSource.UNKNOWN
    first_day: date | None = None
    last_day: date | None = None
    readings: tuple[ReadingRule, ...] = ()
    reading_maps: Mapping[str, CodeMap] = {}  # local codes of measurements, to LOINC
    provenances: Mapping[str, Provenance] = {}
    licences: tuple[Licence, ...] = ()

    def in_period(self, day: date) -> bool:
        """Whether bills of this day are to be pulled; both ends belong to the period."""
        return (self.first_day is None or self.first_day <= day) and (
            self.last_day is None or day <= self.last_day
        )
