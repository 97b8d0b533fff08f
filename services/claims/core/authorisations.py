"""Care that the insurer must have authorised beforehand: missing, invalid, or more than authorised.

What an authorisation has left is counted across claims, in units and in what was allowed. It knows
no prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.claims.core.accumulators import Tally
from services.claims.core.claim import Claim, Line, Missing, Refusal
from services.claims.core.codes import code_key
from services.claims.core.conditions import in_sections
from services.claims.core.decision import Bearer
from services.claims.core.facts import UNIT_SCALE, Authorisation, Scope
from services.claims.core.plan import AuthorisationTerm
from services.claims.core.reasons import Reason
from services.claims.core.terms import InForce

if TYPE_CHECKING:
    from services.claims.core.amounts import Amounts

# More than any quantity or amount: nothing is limited.
_NO_LIMIT = 10**18


@dataclass(frozen=True, slots=True)
class Need:
    """One term under which a line needs an authorisation: what is valid, or why nothing is."""

    clause: str
    valid: tuple[Authorisation, ...] = ()
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Authority:
    """Everything that must be authorised of a line; `missing` is a fact that nobody stated."""

    needs: tuple[Need, ...] = ()
    missing: Missing | None = None


NONE_NEEDED = Authority()


def accumulator(authorisation: Authorisation, what: str) -> str:
    """The accumulator of an authorisation's `units` or `amount`; no term of a plan has its name."""
    return f"authorisation {authorisation.id} {what}"


def authorised(accumulator_id: str) -> tuple[str, str] | None:
    """The number and "units" or "amount" of an authorisation's accumulator; None of any other."""
    kind, _, rest = accumulator_id.partition(" ")
    number, _, what = rest.rpartition(" ")
    return (number, what) if kind == "authorisation" and number else None


def not_authorised(claim: Claim, line: Line) -> str | Missing | None:
    """The line needs an authorisation, and the member has none that is about it."""
    authority = _authority(claim, line)
    if authority.missing is not None:
        return authority.missing
    return _refused(authority, Reason.AUTHORISATION)


def wrongly_authorised(claim: Claim, line: Line) -> str | None:
    """The authorisation is another person's, or for another service, provider or time."""
    return _refused(_authority(claim, line), Reason.AUTHORISATION_INVALID)


def authorisation_used_up(claim: Claim, line: Line) -> str | None:
    """Earlier claims have used up all that was authorised."""
    return _refused(_authority(claim, line), Reason.AUTHORISATION_EXCEEDED)


def _refused(authority: Authority, reason: Reason) -> str | None:
    return next((need.clause for need in authority.needs if need.reason is reason), None)


def _authority(claim: Claim, line: Line) -> Authority:
    """Looked up once a line."""
    if not claim.terms.authorisations:
        return NONE_NEEDED
    if line.authority is None:
        line.authority = _look_up(claim, line)
    return line.authority


def _look_up(claim: Claim, line: Line) -> Authority:
    needed: list[InForce[AuthorisationTerm, bool]] = []
    for one in claim.terms.authorisations:
        needs = _needs(one, claim, line)
        if isinstance(needs, Missing):
            return Authority(missing=needs)
        if needs:
            needed.append(one)
    if not needed:
        return NONE_NEEDED
    named = line.facts.authorisation or claim.bill.authorisation
    if named and not any(_names_one(named, one.term, claim, line) for one in needed):
        invalid = Need(clause=needed[0].term.clause, reason=Reason.AUTHORISATION_INVALID)
        return Authority(needs=(invalid,))
    found = [_need(one.term, named, claim, line) for one in needed]
    lacking = _lacking(needed, claim, line)
    if lacking is not None:
        found.append(Need(clause=lacking, reason=Reason.AUTHORISATION))
    return Authority(needs=tuple(found))


def _names_one(named: str, term: AuthorisationTerm, claim: Claim, line: Line) -> bool:
    """Whether the number is one of the member's that is for the term and about the line."""
    return any(
        one.id == named and _is_for(one, term) and _is_about(one, claim, line)
        for one in claim.policy.member.authorisations
    )


def _need(term: AuthorisationTerm, named: str, claim: Claim, line: Line) -> Need:
    """What of the member's authorisations is for the term and valid for the line.

    The one that is named goes before all others; a line with two needs names one number only.
    """
    held = [one for one in claim.policy.member.authorisations if _is_for(one, term)]
    about = [one for one in held if _is_about(one, claim, line)]
    about = [one for one in about if one.id == named] or about
    if not about:
        return Need(clause=term.clause, reason=Reason.AUTHORISATION)
    valid = tuple(one for one in about if _is_valid(one, claim, line))
    if not valid:
        return Need(clause=term.clause, reason=Reason.AUTHORISATION_INVALID)
    if not any(_has_something_left(one, claim.before) for one in valid):
        return Need(clause=term.clause, reason=Reason.AUTHORISATION_EXCEEDED)
    return Need(clause=term.clause, valid=valid)


def _is_for(one: Authorisation, term: AuthorisationTerm) -> bool:
    """Whether it says as much as the term asks for: a stay's does not authorise a drug in it."""
    if term.codes:
        return bool(one.codes)
    return bool(one.codes or one.sections) if term.sections else True


def _needs(one: InForce[AuthorisationTerm, bool], claim: Claim, line: Line) -> bool | Missing:
    term = one.term
    if one.codes is not None and not one.codes.has(line.facts.code):
        return False
    if term.sections and not in_sections(term.sections, line):
        return False
    if term.care_types:
        if claim.bill.care_type is None:
            return Missing("bill.care_type")
        return claim.bill.care_type in term.care_types
    return True


def _is_about(one: Authorisation, claim: Claim, line: Line) -> bool:
    code = code_key(line.facts.code)
    if one.codes and code not in (code_key(each) for each in one.codes):
        return False
    if one.sections and not in_sections(one.sections, line):
        return False
    return not one.care_types or claim.bill.care_type in one.care_types


def _is_valid(one: Authorisation, claim: Claim, line: Line) -> bool:
    in_time = one.start <= line.service_date < one.end
    return in_time and one.provider_id in ("", claim.bill.provider_id)


def _lacking(
    needed: Iterable[InForce[AuthorisationTerm, bool]], claim: Claim, line: Line
) -> str | None:
    """Clause of the first term whose authorisation is required as well and is not there."""
    by_id = {one.term.id: one for one in claim.terms.authorisations}
    wanted = [name for one in needed for name in one.term.requires]
    seen: set[str] = set()
    while wanted:
        name = wanted.pop(0)
        if name in seen or name not in by_id:
            continue
        seen.add(name)
        other = by_id[name]
        wanted += other.term.requires
        if not _holds_one(other, claim, line):
            return other.term.clause
    return None


def _holds_one(other: InForce[AuthorisationTerm, bool], claim: Claim, line: Line) -> bool:
    """Whether the member has an authorisation of a code of this term on the line's day."""
    return any(
        one.start <= line.service_date < one.end
        and other.codes is not None
        and any(other.codes.has(code) for code in one.codes)
        for one in claim.policy.member.authorisations
    )


def _units_left(one: Authorisation, tally: Tally) -> int:
    if one.units is None:
        return _NO_LIMIT
    most = int(one.units * UNIT_SCALE)
    return tally.left(accumulator(one, "units"), Scope.MEMBER, None, most)


def _amount_left(one: Authorisation, tally: Tally) -> int:
    if one.amount is None:
        return _NO_LIMIT
    return tally.left(accumulator(one, "amount"), Scope.MEMBER, None, one.amount)


def _has_something_left(one: Authorisation, tally: Tally) -> bool:
    return _units_left(one, tally) > 0 and _amount_left(one, tally) > 0


def authorised_units(result: Amounts, wanted: int, tally: Tally) -> tuple[int, str]:
    """How many of the units, in ten-thousandths, are authorised, and the clause that says so.

    Of each term the first valid authorisation counts that has something left after this claim's
    earlier lines; where a term has none the line is refused.
    """
    authority, clause = result.line.authority, ""
    if authority is None:
        return wanted, clause
    chosen: dict[Authorisation, str] = {}
    for need in authority.needs:
        one = next((each for each in need.valid if _has_something_left(each, tally)), None)
        if one is None:
            result.refusal = Refusal(Reason.AUTHORISATION_EXCEEDED, need.clause)
            result.cuts, result.allowed, result.authorised = [], 0, None
            return 0, need.clause
        chosen.setdefault(one, need.clause)
        left = _units_left(one, tally)
        if left < wanted:
            wanted, clause = left, need.clause
    result.authorised = chosen
    return wanted, clause


def limit_authorised_amount(
    result: Amounts, chosen: Mapping[Authorisation, str], tally: Tally
) -> None:
    """Cut to the amount that is left of each authorisation."""
    for one, clause in chosen.items():
        above = result.allowed - min(result.allowed, _amount_left(one, tally))
        result.cut(Reason.AUTHORISATION_EXCEEDED, clause, above, Bearer.PATIENT)
        result.allowed -= above


def count_authorised(result: Amounts, chosen: Iterable[Authorisation], tally: Tally) -> None:
    """Add what the line uses of its authorisations, and no more than they have left."""
    for one in chosen:
        if one.units is not None:
            units = min(int(result.units * UNIT_SCALE), _units_left(one, tally))
            tally.add(accumulator(one, "units"), Scope.MEMBER, None, amount=units)
        if one.amount is not None:
            amount = min(result.allowed, _amount_left(one, tally))
            tally.add(accumulator(one, "amount"), Scope.MEMBER, None, amount=amount)
