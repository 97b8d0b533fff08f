"""The parts of FHIR R4 resources that the bridge reads; all else is skipped unread. Shape only.

Numbers stay raw text until they are read as decimals: a float never exists. Free text
(`CodeableConcept.text`, narrative, notes, `Reference.display`) has no field here.
"""

from __future__ import annotations

import msgspec

NO_NUMBER = msgspec.Raw(b"")


class _Element(msgspec.Struct, rename="camel"):
    """A FHIR element."""


class _Part(_Element):
    """An element whose meaning an extension may change; such a one is a fault (decoding)."""

    modifier_extension: list[msgspec.Raw] = []


class _Resource(_Part):
    """A resource, which may be written by rules of its own."""

    implicit_rules: str | None = None


class Meta(_Element):
    """Version and time of the last change, as the server says."""

    version_id: str | None = None
    last_updated: str | None = None


class Coding(_Element):
    """A code."""

    system: str | None = None
    code: str | None = None
    display: str | None = None


class CodeableConcept(_Element):
    """One thing in several codes."""

    coding: list[Coding] = []


class Identifier(_Element):
    """A number that somebody gave."""

    system: str | None = None
    value: str | None = None
    use: str | None = None


class Reference(_Element):
    """A pointer to another resource, or a number that names it."""

    reference: str | None = None
    identifier: Identifier | None = None


class Period(_Element):
    """From and to."""

    start: str | None = None
    end: str | None = None


class Money(_Element):
    """An amount."""

    value: msgspec.Raw = NO_NUMBER
    currency: str | None = None


class Quantity(_Element):
    """A measured or counted amount."""

    value: msgspec.Raw = NO_NUMBER
    unit: str | None = None
    system: str | None = None
    code: str | None = None
    comparator: str | None = None


class Extension(_Element):
    """What FHIR has no field for."""

    url: str | None = None
    value_boolean: bool | None = None
    value_code: str | None = None
    value_money: Money | None = None
    extension: list[Extension] = []


class Request(_Element):
    """What a server did to a resource, in the Bundle entry that tells of a deletion."""

    method: str | None = None


class ClaimInsurance(_Part):
    """A contract under which a claim is made."""

    coverage: Reference | None = None


class ClaimDiagnosis(_Part):
    """A diagnosis of a claim."""

    sequence: msgspec.Raw = NO_NUMBER
    diagnosis_reference: Reference | None = None
    diagnosis_codeable_concept: CodeableConcept | None = None
    type: list[CodeableConcept] = []


class ClaimItem(_Part):
    """A line of a claim."""

    sequence: msgspec.Raw = NO_NUMBER
    product_or_service: CodeableConcept | None = None
    quantity: Quantity | None = None
    unit_price: Money | None = None
    factor: msgspec.Raw = NO_NUMBER
    net: Money | None = None
    serviced_date: str | None = None
    serviced_period: Period | None = None
    diagnosis_sequence: list[msgspec.Raw] = []
    encounter: list[Reference] = []
    extension: list[Extension] = []


class Claim(_Resource):
    """A bill."""

    resource_type: str | None = None
    id: str | None = None
    meta: Meta | None = None
    identifier: list[Identifier] = []
    status: str | None = None
    use: str | None = None
    type: CodeableConcept | None = None
    patient: Reference | None = None
    provider: Reference | None = None
    billable_period: Period | None = None
    created: str | None = None
    prescription: Reference | None = None
    diagnosis: list[ClaimDiagnosis] = []
    item: list[ClaimItem] = []
    insurance: list[ClaimInsurance] = []
    total: Money | None = None
    extension: list[Extension] = []
    contained: list[msgspec.Raw] = []
    request: Request | None = None


class PriceComponent(_Part):
    """A part of a price: base, surcharge, deduction, discount, tax, informational."""

    type: str | None = None
    factor: msgspec.Raw = NO_NUMBER
    amount: Money | None = None


class InvoiceLine(_Part):
    """A line of an invoice."""

    sequence: msgspec.Raw = NO_NUMBER
    charge_item_reference: Reference | None = None
    charge_item_codeable_concept: CodeableConcept | None = None
    price_component: list[PriceComponent] = []
    extension: list[Extension] = []


class Invoice(_Resource):
    """A bill that was sent."""

    resource_type: str | None = None
    id: str | None = None
    meta: Meta | None = None
    identifier: list[Identifier] = []
    status: str | None = None
    subject: Reference | None = None
    issuer: Reference | None = None
    account: Reference | None = None
    date: str | None = None
    line_item: list[InvoiceLine] = []
    total_net: Money | None = None
    total_gross: Money | None = None
    extension: list[Extension] = []
    contained: list[msgspec.Raw] = []
    request: Request | None = None


class ChargeItem(_Resource):
    """One charge."""

    resource_type: str | None = None
    id: str | None = None
    meta: Meta | None = None
    status: str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    context: Reference | None = None
    occurrence_date_time: str | None = None
    occurrence_period: Period | None = None
    performing_organization: Reference | None = None
    quantity: Quantity | None = None
    factor_override: msgspec.Raw = NO_NUMBER
    price_override: Money | None = None
    reason: list[CodeableConcept] = []
    account: list[Reference] = []
    extension: list[Extension] = []
    contained: list[msgspec.Raw] = []
    request: Request | None = None


class AccountCoverage(_Part):
    """A contract that pays for an account."""

    coverage: Reference | None = None


class Account(_Resource):
    """What holds the charges of a stay together."""

    resource_type: str | None = None
    id: str | None = None
    meta: Meta | None = None
    identifier: list[Identifier] = []
    status: str | None = None
    subject: list[Reference] = []
    service_period: Period | None = None
    coverage: list[AccountCoverage] = []
    request: Request | None = None


class Coverage(_Resource):
    """An insurance contract of a patient."""

    resource_type: str | None = None
    id: str | None = None
    status: str | None = None
    subscriber_id: str | None = None
    beneficiary: Reference | None = None
    relationship: CodeableConcept | None = None
    payor: list[Reference] = []


class HumanName(_Element):
    """A name, read only to keep it from leaving."""

    text: str | None = None
    family: str | None = None
    given: list[str] = []


class ContactPoint(_Element):
    """A telephone number or the like, read only to keep it from leaving."""

    value: str | None = None


class Address(_Element):
    """An address, read only to keep it from leaving."""

    text: str | None = None
    line: list[str] = []


class PatientLink(_Part):
    """Another patient's record, and what it is to this one."""

    other: Reference | None = None
    type: str | None = None


class Patient(_Resource):
    """The person treated."""

    resource_type: str | None = None
    id: str | None = None
    active: bool | None = None
    link: list[PatientLink] = []
    identifier: list[Identifier] = []
    name: list[HumanName] = []
    telecom: list[ContactPoint] = []
    address: list[Address] = []


class EncounterDiagnosis(_Part):
    """A disease that a visit was for; rank 1 is the first."""

    condition: Reference | None = None
    rank: msgspec.Raw = NO_NUMBER


class Hospitalization(_Part):
    """How a stay began."""

    admit_source: CodeableConcept | None = None


class Encounter(_Resource):
    """A visit or stay."""

    resource_type: str | None = None
    id: str | None = None
    meta: Meta | None = None
    identifier: list[Identifier] = []
    status: str | None = None
    subject: Reference | None = None
    diagnosis: list[EncounterDiagnosis] = []
    request: Request | None = None
    class_: Coding | None = msgspec.field(default=None, name="class")
    type: list[CodeableConcept] = []
    period: Period | None = None
    hospitalization: Hospitalization | None = None


class Condition(_Resource):
    """A disease of a patient."""

    resource_type: str | None = None
    id: str | None = None
    verification_status: CodeableConcept | None = None
    subject: Reference | None = None
    code: CodeableConcept | None = None


class Organization(_Resource):
    """A provider."""

    resource_type: str | None = None
    id: str | None = None
    identifier: list[Identifier] = []
    extension: list[Extension] = []


class MedicationRequest(_Resource):
    """A prescription."""

    resource_type: str | None = None
    id: str | None = None
    status: str | None = None
    subject: Reference | None = None
    medication_codeable_concept: CodeableConcept | None = None


class ObservationComponent(_Part):
    """One of several values measured together."""

    code: CodeableConcept | None = None
    value_quantity: Quantity | None = None


class Observation(_Resource):
    """A measurement."""

    resource_type: str | None = None
    id: str | None = None
    meta: Meta | None = None
    status: str | None = None
    category: list[CodeableConcept] = []
    code: CodeableConcept | None = None
    subject: Reference | None = None
    effective_date_time: str | None = None
    effective_instant: str | None = None
    effective_period: Period | None = None
    issued: str | None = None
    value_quantity: Quantity | None = None
    component: list[ObservationComponent] = []
    device: Reference | None = None
    contained: list[msgspec.Raw] = []
    request: Request | None = None


class Header(_Element):
    """What every resource says about itself."""

    resource_type: str | None = None
    id: str | None = None
    meta: Meta | None = None


Supporting = (
    Patient
    | Encounter
    | Condition
    | Organization
    | MedicationRequest
    | ChargeItem
    | Account
    | Coverage
)
SUPPORTING: dict[str, type[Supporting]] = {
    "Patient": Patient,
    "Encounter": Encounter,
    "Condition": Condition,
    "Organization": Organization,
    "MedicationRequest": MedicationRequest,
    "ChargeItem": ChargeItem,
    "Account": Account,
    "Coverage": Coverage,
}
