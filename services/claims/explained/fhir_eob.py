"""An explained decision as FHIR R4 ExplanationOfBenefit and ClaimResponse, canonical JSON bytes.

Every amount stands once: per item submitted = the sum of what follows eligible and its percentage,
and each total is the sum of its category over the items. It is checked before the bytes leave.
People are opaque identifiers. It decides nothing and knows no storage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from services.claims.core.balances import BalanceChange, Unit
from services.claims.core.decision import Decision, LineOutcome
from services.claims.core.explain import Words
from services.claims.core.explanation import DecisionAltered, ExplainedLine
from services.claims.core.facts import UNIT_SCALE, plain_decimal
from services.claims.core.reasons import WORDS
from services.claims.explained import fhir_codes as codes
from services.claims.explained.fhir_codes import Json
from services.claims.explained.told import ToldClaim
from services.common.money import currency_exponent

_encode = msgspec.json.Encoder(decimal_format="number", order=None).encode
# What describes a line and is no part of it.
_MEASURES = frozenset({"submitted", "eligible", "eligpercent"})


def explanation_of_benefit(claim: ToldClaim) -> bytes:
    """The ExplanationOfBenefit, with balances and related claims.

    Raises: DecisionAltered when the resource's own sums do not hold.
    """
    told = claim.told
    resource = {
        **_head(claim, "ExplanationOfBenefit"),
        "billablePeriod": {
            "start": told.bill.start_date.isoformat(),
            "end": told.bill.end_date.isoformat(),
        },
        "insurer": codes.reference("Organization", codes.INSURER, claim.insurer),
        "provider": codes.reference("Organization", codes.PROVIDER, claim.provider_id),
        "related": list(_related(claim)),
        "claim": codes.reference("Claim", codes.BILL, _bill_name(claim)),
        "claimResponse": codes.reference("ClaimResponse", codes.CLAIM, claim.name),
        "outcome": outcome(told.decision),
        "disposition": _disposition(claim),
        "diagnosis": [
            {
                "sequence": one.number,
                "diagnosisCodeableConcept": codes.concept(one.code.system, one.code.code),
                "type": [codes.diagnosis_type(principal=one.principal)],
            }
            for one in told.bill.diagnoses
        ],
        "insurance": [
            {"focal": True, "coverage": codes.reference("Coverage", codes.POLICY, claim.policy_id)},
            *({"focal": False, "coverage": _coverage(one.policy)} for one in claim.coordinated),
        ],
        "item": [_eob_item(claim, index) for index in range(len(told.lines))],
        "total": list(_totals(claim)),
        "payment": _payment(claim),
        "processNote": list(_notes(claim)),
        "benefitPeriod": {
            "start": told.policy_days[0].isoformat(),
            "end": told.policy_days[1].isoformat(),
        },
        "benefitBalance": [_balance(one, told.decision.currency) for one in told.balances],
    }
    return _checked(resource)


def claim_response(claim: ToldClaim) -> bytes:
    """The ClaimResponse: the same adjudication as an answer to the hospital's bill.

    Raises: DecisionAltered when the resource's own sums do not hold.
    """
    resource = {
        **_head(claim, "ClaimResponse"),
        "insurer": codes.reference("Organization", codes.INSURER, claim.insurer),
        "requestor": codes.reference("Organization", codes.PROVIDER, claim.provider_id),
        "request": codes.reference("Claim", codes.BILL, _bill_name(claim)),
        "outcome": outcome(claim.told.decision),
        "disposition": _disposition(claim),
        "item": [
            {
                "itemSequence": line.number,
                "noteNumber": _note_numbers(1 + index),
                "adjudication": list(_adjudications(claim, line)),
            }
            for index, line in enumerate(claim.told.lines)
        ],
        "total": list(_totals(claim)),
        "payment": _payment(claim),
        "processNote": list(_notes(claim)),
        "insurance": [
            {
                "sequence": 1,
                "focal": True,
                "coverage": codes.reference("Coverage", codes.POLICY, claim.policy_id),
            },
            *(
                {"sequence": place, "focal": False, "coverage": _coverage(one.policy)}
                for place, one in enumerate(claim.coordinated, start=2)
            ),
        ],
    }
    return _checked(resource)


def outcome(decision: Decision) -> str:
    """complete, or for a claim that waits: partial when some of its lines are decided, else queued.

    A claim that waits for a person is queued as a whole: everything is only proposed.
    """
    if not decision.disposition.waits:
        return "complete"
    waiting = [line.outcome is LineOutcome.PENDED for line in decision.lines]
    return "partial" if any(waiting) and not all(waiting) else "queued"


def sums_that_fail(resource: Json) -> tuple[str, ...]:
    """Every sum of a resource that does not hold; empty when it adds up. It trusts no total."""
    faults = []
    totals: Counter[str] = Counter()
    for item in resource.get("item", ()):
        sums: Counter[str] = Counter()
        for one in item["adjudication"]:
            if "amount" in one:
                sums[_code(one)] += one["amount"]["value"]
        parts = sum(amount for code, amount in sums.items() if code not in _MEASURES)
        if parts != sums["submitted"]:
            number = item.get("sequence", item.get("itemSequence"))
            faults.append(f"item {number}: its adjudications are not what was submitted")
        totals.update(sums)
    said = {_code(one): one["amount"]["value"] for one in resource["total"]}
    if len(said) != len(resource["total"]) or said != dict(totals):
        faults.append("the totals are not the sums of the items")
    return tuple(faults)


def _code(one: Json) -> str:
    code: str = one["category"]["coding"][0]["code"]
    return code


def _checked(resource: Json) -> bytes:
    faults = sums_that_fail(resource)
    if faults:
        raise DecisionAltered("; ".join(faults))
    return _encode({key: value for key, value in resource.items() if value not in (None, [], {})})


def _head(claim: ToldClaim, kind: str) -> Json:
    care = claim.told.bill.care_type
    return {
        "resourceType": kind,
        "id": claim.claim_id,
        "language": "zh-CN",
        "identifier": [codes.identifier(codes.CLAIM, claim.name)],
        "status": "active" if claim.ended is None else "cancelled",
        "type": codes.claim_type(care),
        "subType": None if care is None else codes.care_type(care),
        "use": "claim",
        "patient": codes.reference("Patient", codes.MEMBER, claim.member),
        "created": claim.moment(claim.decided_us).isoformat(),
    }


def _bill_name(claim: ToldClaim) -> str:
    return f"{claim.provider_id}/{claim.bill_number}"


def _coverage(policy: str) -> Json:
    if policy:
        return codes.reference("Coverage", codes.POLICY, policy)
    return {"type": "Coverage", "display": "其他保险人的保单 another insurer's policy"}


def _disposition(claim: ToldClaim) -> str:
    return f"{claim.standing.zh} {claim.standing.en}"


def _related(claim: ToldClaim) -> Iterator[Json]:
    """The claims that a duplicate repeats, and those of the same bill that came first."""
    told = claim.told
    repeated: dict[tuple[str, str], None] = {}
    for line in told.lines:
        if line.earlier is not None:
            repeated[line.earlier.provider_id, line.earlier.bill_number] = None
    for provider, bill in repeated:
        number = codes.identifier(codes.BILL, f"{provider}/{bill}")
        claims = told.claims_of.get((provider, bill), ())
        for name in claims:
            yield {
                "claim": codes.reference("Claim", codes.CLAIM, name),
                "relationship": codes.related(prior=True),
                "reference": number,
            }
        if not claims:
            yield {"relationship": codes.related(prior=True), "reference": number}
    for one in claim.coordinated:
        if one.claim:
            yield {
                "claim": codes.reference("Claim", codes.CLAIM, one.claim),
                "relationship": codes.related(prior=False),
            }


def _eob_item(claim: ToldClaim, index: int) -> Json:
    line = claim.told.lines[index]
    named = codes.coding(line.code.system, line.code.code)
    if line.name != line.code.code:
        named["display"] = line.name
    item: Json = {
        "sequence": line.number,
        "productOrService": {"coding": [named]},
        "servicedDate": line.service_date.isoformat(),
        "quantity": {"value": line.quantity},
        "unitPrice": {"value": line.unit_price, "currency": claim.told.decision.currency},
        "net": _money(claim, line.billed),
        "noteNumber": _note_numbers(1 + index),
        "adjudication": list(_adjudications(claim, line)),
    }
    if line.diagnosis_numbers:
        item["diagnosisSequence"] = list(line.diagnosis_numbers)
    if line.section is not None:
        item["category"] = {"text": f"{line.section.zh} {line.section.en}"}
    return item


def _adjudications(claim: ToldClaim, line: ExplainedLine) -> Iterator[Json]:
    """What was billed and allowed, the share in force, then each part with its reason."""
    yield {"category": codes.category("submitted"), "amount": _money(claim, line.billed)}
    yield {"category": codes.category("eligible"), "amount": _money(claim, line.allowed)}
    if line.share is not None:
        yield {
            "category": codes.category("eligpercent"),
            "reason": {"text": f"条款 {line.share_clause} clause {line.share_clause}"},
            "value": plain_decimal(line.share * 100),
        }
    currency = claim.told.decision.currency
    zh, en = Words("zh", currency), Words("en", currency)
    for part in line.parts:
        yield {
            "category": codes.category_of(part.reason),
            "reason": codes.reason_concept(
                part.reason, part.bearer, f"{zh.sentence(part)}. {en.sentence(part)}."
            ),
            "amount": _money(claim, part.amount),
        }
    if not line.benefit:
        yield {"category": codes.category("benefit"), "amount": _money(claim, 0)}


def _totals(claim: ToldClaim) -> Iterator[Json]:
    """Billed, allowed, then each category of reasons, from the claim's own totals."""
    decision = claim.told.decision
    yield {"category": codes.category("submitted"), "amount": _money(claim, decision.billed)}
    yield {"category": codes.category("eligible"), "amount": _money(claim, decision.allowed)}
    amounts: dict[tuple[str, str], int] = {}
    categories: dict[tuple[str, str], Json] = {}
    for reason, amount in claim.told.reasons:
        key = (WORDS[reason].fhir_system, WORDS[reason].fhir_code)
        categories[key] = codes.category_of(reason)
        amounts[key] = amounts.get(key, 0) + amount
    for key, amount in amounts.items():
        yield {"category": categories[key], "amount": _money(claim, amount)}
    if not decision.benefit:
        yield {"category": codes.category("benefit"), "amount": _money(claim, 0)}


def _payment(claim: ToldClaim) -> Json | None:
    """What is paid, less what came back, or owed while the bank has not confirmed it.

    None where nothing is owed.
    """
    net = claim.paid - claim.recovered
    owed = claim.told.decision.benefit
    waits = outcome(claim.told.decision) != "complete"
    if claim.ended is not None or waits or not owed:
        return None
    payment: Json = {
        "type": codes.payment_type(whole=net in (0, owed)),
        "amount": _money(claim, net or owed),
    }
    if claim.paid_us is not None:
        payment["date"] = claim.moment(claim.paid_us).date().isoformat()
    return payment


def _notes(claim: ToldClaim) -> Iterator[Json]:
    """Every paragraph in Chinese and in English, each under its own number."""
    pairs = zip(claim.text.zh, claim.text.en, strict=True)
    for place, (zh, en) in enumerate(pairs):
        first, second = _note_numbers(place)
        for number, text, spoken in ((first, zh, "zh-CN"), (second, en, "en")):
            yield {
                "number": number,
                "type": "display",
                "text": text,
                "language": codes.language(spoken),
            }


def _note_numbers(paragraph: int) -> list[int]:
    """Numbers of the two notes of a paragraph: first the claim's, then the lines'."""
    return [2 * paragraph + 1, 2 * paragraph + 2]


def _balance(one: BalanceChange, currency: str) -> Json:
    financial: Json = {"type": codes.benefit_type(one.kind)}
    match one.unit:
        case Unit.MONEY:
            financial["usedMoney"] = _minor(one.after, currency)
            if one.limit is not None:
                financial["allowedMoney"] = _minor(one.limit, currency)
        case Unit.COUNT:
            financial["usedUnsignedInt"] = one.after
            if one.limit is not None:
                financial["allowedUnsignedInt"] = one.limit
        case Unit.UNITS:
            # R4 counts whole units only; a started one counts.
            financial["usedUnsignedInt"] = -(-one.after // UNIT_SCALE)
            if one.limit is not None:
                financial["allowedUnsignedInt"] = one.limit // UNIT_SCALE
    return {
        "category": codes.accumulator(one.accumulator, f"{one.name.zh} {one.name.en}"),
        "name": one.name.zh,
        "description": one.name.en,
        "unit": codes.benefit_unit(one.scope),
        "financial": [financial],
    }


def _money(claim: ToldClaim, amount: int) -> Json:
    return _minor(amount, claim.told.decision.currency)


def _minor(amount: int, currency: str) -> Json:
    value = Decimal(amount).scaleb(-currency_exponent(currency))
    return {"value": value, "currency": currency}
