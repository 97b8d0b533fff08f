"""The words of FHIR R4, X12 and ours that an explained decision uses. Pure tables."""

from __future__ import annotations

from typing import Any

from services.claims.core.balances import Kind
from services.claims.core.decision import Bearer
from services.claims.core.facts import CareType, Scope
from services.claims.core.reasons import FHIR_ADJUDICATION, WORDS, Reason

_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_X12 = "https://x12.org/codes"
# Names and words that only lipei gives a meaning.
CLAIM, BILL, POLICY = "urn:lipei:claim", "urn:lipei:bill", "urn:lipei:policy"
MEMBER, INSURER, PROVIDER = "urn:lipei:member", "urn:lipei:insurer", "urn:lipei:provider"
_REASON, _CARE_TYPE, _ACCUMULATOR = (
    "urn:lipei:reason",
    "urn:lipei:care-type",
    "urn:lipei:accumulator",
)

Json = dict[str, Any]

# Who is answerable, by X12: the patient, the contract, another payer.
_GROUPS = {Bearer.PATIENT: "PR", Bearer.PROVIDER: "CO", Bearer.PRIOR_PAYER: "OA"}
_BENEFIT_TYPES = {
    Kind.DEDUCTIBLE: "deductible",
    Kind.OUT_OF_POCKET: "copay-maximum",
    Kind.COUNT_LIMIT: "visit",
}


def coding(system: str, code: str) -> Json:
    """A Coding."""
    return {"system": system, "code": code}


def concept(system: str, code: str, text: str = "") -> Json:
    """A CodeableConcept of one coding."""
    made: Json = {"coding": [coding(system, code)]}
    return made | {"text": text} if text else made


def claim_type(care: CareType | None) -> Json:
    """FHIR's kind of claim: a pharmacy's, else an institution's."""
    kind = "pharmacy" if care is CareType.PHARMACY else "institutional"
    return concept(f"{_TERMINOLOGY}/claim-type", kind)


def care_type(care: CareType) -> Json:
    """How the care was given, in our words."""
    return concept(_CARE_TYPE, care.value)


def category(code: str) -> Json:
    """A category of FHIR's own list: submitted, eligible, eligpercent, benefit."""
    return concept(FHIR_ADJUDICATION, code)


def category_of(reason: Reason) -> Json:
    """The category under which a reason's amount stands."""
    return concept(WORDS[reason].fhir_system, WORDS[reason].fhir_code)


def reason_concept(reason: Reason, bearer: Bearer, text: str) -> Json:
    """Why, in our word, X12's group, CARC and RARC, and as a sentence.

    The group says who is answerable for this very amount; what the insurer pays has none.
    """
    words = WORDS[reason]
    codings = [coding(_REASON, reason.name)]
    if bearer in _GROUPS:
        codings.append(coding(f"{_X12}/claim-adjustment-group-codes", _GROUPS[bearer]))
    if words.carc:
        codings.append(coding(f"{_X12}/claim-adjustment-reason-codes", words.carc))
    if words.rarc:
        codings.append(coding(f"{_X12}/remittance-advice-remark-codes", words.rarc))
    return {"coding": codings, "text": text}


def payment_type(*, whole: bool) -> Json:
    """Whether a payment is all that is owed."""
    return concept(f"{_TERMINOLOGY}/ex-paymenttype", "complete" if whole else "partial")


def related(*, prior: bool) -> Json:
    """How another claim relates: decided before for the service, or beside for the bill."""
    code = "prior" if prior else "associated"
    return concept(f"{_TERMINOLOGY}/ex-relatedclaimrelationship", code)


def diagnosis_type(*, principal: bool) -> Json:
    """The rank of a diagnosis."""
    return concept(f"{_TERMINOLOGY}/ex-diagnosistype", "principal" if principal else "clinical")


def accumulator(name: str, text: str) -> Json:
    """A plan's accumulator as a category of benefits."""
    return concept(_ACCUMULATOR, name, text)


def benefit_type(kind: Kind | None) -> Json:
    """What kind of balance it is."""
    known = "benefit" if kind is None else _BENEFIT_TYPES.get(kind, "benefit")
    return concept(f"{_TERMINOLOGY}/benefit-type", known)


def benefit_unit(scope: Scope) -> Json:
    """Whose balance it is."""
    whose = "individual" if scope is Scope.MEMBER else "family"
    return concept(f"{_TERMINOLOGY}/benefit-unit", whose)


def identifier(system: str, value: str) -> Json:
    """An Identifier."""
    return {"system": system, "value": value}


def reference(kind: str, system: str, value: str) -> Json:
    """A Reference by identifier only: we serve no FHIR endpoint that would resolve another."""
    return {"type": kind, "identifier": identifier(system, value)}


def language(code: str) -> Json:
    """A language by BCP 47."""
    return concept("urn:ietf:bcp:47", code)
