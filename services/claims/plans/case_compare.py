"""Says, in an actuary's words, where a decision differs from what a case expects of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from services.claims.core.decision import Bearer, BearerShare, Decision, DecisionLine, Payee
from services.claims.core.facts import UNIT_SCALE
from services.claims.core.plan import Plan
from services.claims.core.reasons import RANK, Reason
from services.claims.plans.accumulator_units import Accumulator
from services.claims.plans.case_expectations import Expected
from services.common.money import format_minor

_WHO = {
    Bearer.INSURER: "the insurer pays",
    Bearer.PRIOR_PAYER: "earlier payers bear",
    Bearer.PATIENT: "the patient bears",
    Bearer.PROVIDER: "the provider bears",
}


def compare(plan: Plan, expected: Expected, decision: Decision) -> Iterator[str]:
    """Every way in which the decision is not what the case says."""
    if expected.decision not in (None, decision.disposition):
        yield f"the claim is {decision.disposition.value}, the case says {expected.decision}"
    shares = [share for line in decision.lines for share in line.shares]
    if expected.paid_by is not None:
        borne = Counter[Bearer]()
        for share in shares:
            borne[share.bearer] += share.amount
        for bearer in Bearer:
            wanted = expected.paid_by.get(bearer, 0)
            yield from amounts_apart(_WHO[bearer], borne[bearer], wanted, plan.currency)
    yield from _compare_because(shares, expected.because, plan.currency, "")
    if expected.four_eyes not in (None, decision.four_eyes):
        people = "two people" if decision.four_eyes else "no second person"
        yield f"{people} must review, the case says four_eyes: {str(expected.four_eyes).lower()}"
    yield from _compare_payees(expected, decision, plan.currency)
    if expected.awaits is not None:
        awaited = tuple(dict.fromkeys(pend.awaits for pend in decision.pends))
        if awaited != expected.awaits:
            yield f"the claim awaits {_list(awaited)}, the case says {_list(expected.awaits)}"
    lines = {line.number: line for line in decision.lines}
    for number, wanted_line in expected.lines.items():
        if number not in lines:
            yield f"there is no line {number}"
        else:
            line = lines[number]
            where = f"line {number}: "
            yield from _word(f"{where}outcome", line.outcome, wanted_line.outcome)
            yield from _word(f"{where}section", line.section, wanted_line.section)
            currency = plan.currency
            yield from amounts_apart(
                f"{where}allowed is", line.allowed, wanted_line.allowed, currency
            )
            yield from amounts_apart(
                f"{where}benefit is", line.benefit, wanted_line.benefit, currency
            )
            earlier = wanted_line.earlier_claim
            yield from _word(f"{where}earlier claim", line.earlier_claim, earlier)
            because = wanted_line.because
            yield from _compare_because(_reasons(line), because, currency, where)


def _compare_payees(expected: Expected, decision: Decision, currency: str) -> Iterator[str]:
    if expected.payees is None:
        return
    paid = Counter[Payee]()
    for line in decision.lines:
        if line.payee is not None:
            paid[line.payee] += line.benefit
    for payee in Payee:
        wanted = expected.payees.get(payee, 0)
        yield from amounts_apart(f"the {payee} gets", paid[payee], wanted, currency)


def _reasons(line: DecisionLine) -> list[BearerShare]:
    """The line's shares; a refused line of nothing still names its reason, at 0."""
    if line.shares or line.reason is None:
        return list(line.shares)
    return [BearerShare(bearer=Bearer.PATIENT, reason=line.reason, clause=line.clause, amount=0)]


def _compare_because(
    shares: list[BearerShare],
    expected: Mapping[tuple[Reason, str], int] | None,
    currency: str,
    where: str,
) -> Iterator[str]:
    if expected is None:
        return
    found: dict[tuple[Reason, str], int] = {}
    for share in shares:
        key = (share.reason, share.clause)
        found[key] = found.get(key, 0) + share.amount
    for key in sorted({*found, *expected}, key=lambda one: (RANK[one[0]], one[1])):
        reason, clause = key
        what = f"{where}{reason.name.lower()} under clause {clause} is"
        if key not in expected:
            yield f"{what} {format_minor(found[key], currency)}, the case does not name it"
        elif key not in found:
            yield f"{what} nothing, the case says {format_minor(expected[key], currency)}"
        else:
            yield from amounts_apart(what, found[key], expected[key], currency)


def quantity(accumulator: Accumulator, value: int, currency: str) -> str:
    """A balance as people write it: money, units or a count."""
    if accumulator.counts:
        return str(value)
    if accumulator.units:
        return f"{value / UNIT_SCALE:g} units"
    return format_minor(value, currency)


def amounts_apart(what: str, found: int, wanted: int | None, currency: str) -> Iterator[str]:
    """How far an amount is from the one wanted; nothing when it is not looked at."""
    if wanted is not None and found != wanted:
        apart = format_minor(abs(found - wanted), currency)
        yield (
            f"{what} {format_minor(found, currency)}, the case says "
            f"{format_minor(wanted, currency)}: {apart} {'more' if found > wanted else 'less'}"
        )


def _word(what: str, found: str, wanted: str | None) -> Iterator[str]:
    if wanted is not None and found != wanted:
        yield f"{what} is {found or 'none'}, the case says {wanted}"


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(words) or "nothing"
