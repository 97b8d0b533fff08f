"""From an imported policy to its terms, naming every fault at once. Asks no database.

What must be looked up (plans, earlier policies) comes in as `Known`; identities leave here only as
member tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from msgspec import structs

from lipei.claims.v1 import policy_pb2 as pb
from services.claims.benefit_intake import benefit_facts
from services.claims.core.facts import (
    CoverInterval,
    DisclosedCondition,
    MemberFacts,
    OutcomeTier,
    PreExistingTerms,
    Relationship,
    Sex,
)
from services.claims.payouts.iso20022 import Party, party_faults
from services.claims.terms import PolicyTerms
from services.common.dated import FIRST_YEAR, LAST_YEAR, half_open
from services.common.money import parse_decimal

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)
_PLAN = re.compile(r"[a-z0-9][a-z0-9-]{0,79}(?:@sha256:[0-9a-f]{64})?", re.ASCII)
_TIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]{0,31}", re.ASCII)
_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]{0,127}", re.ASCII)
_NO_DAY = date.min  # stands in for a faulty day; a policy with faults never leaves here
_TERMS = {
    pb.PRE_EXISTING_TERMS_EXCLUDED: PreExistingTerms.EXCLUDED,
    pb.PRE_EXISTING_TERMS_COVERED: PreExistingTerms.COVERED,
    pb.PRE_EXISTING_TERMS_AT_SHARE: PreExistingTerms.AT_SHARE,
}
_SEX = {pb.SEX_UNSPECIFIED: None, pb.SEX_FEMALE: Sex.FEMALE, pb.SEX_MALE: Sex.MALE}
_RELATIONSHIP = {
    pb.RELATIONSHIP_SELF: Relationship.SELF,
    pb.RELATIONSHIP_SPOUSE: Relationship.SPOUSE,
    pb.RELATIONSHIP_CHILD: Relationship.CHILD,
    pb.RELATIONSHIP_PARENT: Relationship.PARENT,
}


@dataclass(frozen=True, slots=True)
class PayeeTerms:
    """One payee account as imported; sealed before it is stored."""

    party: Party
    valid_from: date


@dataclass(frozen=True, slots=True)
class TakenPolicy:
    """A policy without faults."""

    terms: PolicyTerms
    tokens: Mapping[str, str]
    payees: tuple[PayeeTerms, ...]


@dataclass(frozen=True, slots=True)
class PublishedPlan:
    """A plan's version name, the first day on which it has terms, and what it pays in."""

    version: str
    first_day: date
    currency: str


@dataclass(frozen=True)
class Known:
    """What the intake may look up: plans by name, cover that an earlier policy gave a person."""

    plan: Callable[[str], PublishedPlan | None]
    policy_exists: Callable[[str], bool]
    earlier_cover: Callable[[str, str], CoverInterval | None]
    token: Callable[[str, str], str]


POSSIBLE_DAYS = (
    f"must be a date that exists, from {FIRST_YEAR}-01-01 to {LAST_YEAR}-12-31,"
    ' written "YYYY-MM-DD"'
)


def possible_day(text: str) -> date | None:
    """A date that exists and that a policy may name; None for any other text."""
    try:
        found = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None
    return found if found is not None and FIRST_YEAR <= found.year <= LAST_YEAR else None


@dataclass
class _Faults:
    index: int
    found: list[pb.PolicyFault] = field(default_factory=list)

    def add(self, path: str, reason: str, text: str) -> None:
        where = f"policies[{self.index}].{path}"
        self.found.append(pb.PolicyFault(index=self.index, field=where, reason=reason, text=text))

    def day(self, text: str, path: str) -> date | None:
        found = possible_day(text)
        if found is None:
            self.add(path, "IMPOSSIBLE_DATE", POSSIBLE_DAYS)
        return found

    def name(self, text: str, path: str) -> None:
        if not _ID.fullmatch(text):
            advice = "must be 1 to 64 lower-case letters, digits or hyphens"
            self.add(path, "MALFORMED_ID", advice)


def taken(policy: pb.Policy, index: int, known: Known) -> TakenPolicy | list[pb.PolicyFault]:
    """The policy's terms, tokens and accounts; or all its faults, without personal values."""
    faults = _Faults(index)
    faults.name(policy.policy_id, "policy_id")
    plan = known.plan(policy.plan) if _PLAN.fullmatch(policy.plan) else None
    if plan is None:
        faults.add("plan", "UNKNOWN_PLAN", "no such plan is published; publish it first")
    start = faults.day(policy.start_date, "start_date")
    last = faults.day(policy.last_date, "last_date")
    if start and last and last < start:
        faults.add("last_date", "ENDS_BEFORE_START", "must not lie before start_date")
    if plan and start and start < plan.first_day:
        text = f"the plan has no terms before {plan.first_day.isoformat()}"
        faults.add("start_date", "NO_TERMS_IN_FORCE", text)
    if policy.revision < 1:
        faults.add("revision", "BAD_REVISION", "counts from 1")
    effective = _effective(policy, start, last, faults)
    previous = policy.previous_policy_id or None
    if previous and not (_ID.fullmatch(previous) and known.policy_exists(previous)):
        faults.add("previous_policy_id", "UNKNOWN_POLICY", "import the previous policy first")
    currency = plan.currency if plan else ""
    members, tokens = _members(policy, start, last, currency, known, faults)
    payees = _payees(policy, faults)
    if faults.found or not (start and last and effective and plan):
        return faults.found
    terms = PolicyTerms(
        policy_id=policy.policy_id,
        plan_version=plan.version,
        start=start,
        end=half_open(last),
        previous_policy_id=previous,
        revision=policy.revision,
        effective=effective,
        members=tuple(members),
        coordination={
            member.member_id: member.coordination_position
            for member in policy.members
            if member.coordination_position
        },
    )
    return TakenPolicy(terms, tokens, tuple(payees))


def _effective(
    policy: pb.Policy, start: date | None, last: date | None, faults: _Faults
) -> date | None:
    if not policy.effective_date and policy.revision == 1:
        return start
    effective = faults.day(policy.effective_date, "effective_date")
    if not (effective and start and last):
        return None
    if policy.revision == 1 and effective != start:
        faults.add("effective_date", "BAD_EFFECTIVE_DATE", "revision 1 holds from start_date")
    elif not start <= effective <= last:
        faults.add("effective_date", "BAD_EFFECTIVE_DATE", "must lie within the policy")
    return effective


def _members(
    policy: pb.Policy,
    start: date | None,
    last: date | None,
    currency: str,
    known: Known,
    faults: _Faults,
) -> tuple[list[MemberFacts], dict[str, str]]:
    if not policy.members:
        faults.add("members", "NO_MEMBERS", "at least one person must be insured")
    terms: list[MemberFacts] = []
    tokens: dict[str, str] = {}
    for i, member in enumerate(policy.members):
        path = f"members[{i}]"
        faults.name(member.member_id, f"{path}.member_id")
        token = _token(member.document, f"{path}.document", known, faults)
        if member.member_id in tokens:
            faults.add(f"{path}.member_id", "DUPLICATE_MEMBER", "stands twice in this policy")
        elif token and token in tokens.values():
            faults.add(f"{path}.document", "DUPLICATE_PERSON", "this person stands twice")
        tokens[member.member_id] = token or ""
        if member.coordination_position < 0:
            text = "counts from 1; 0 is no choice"
            faults.add(f"{path}.coordination_position", "NEGATIVE", text)
        found = _member(member, path, start, last, currency, faults)
        if found is None or token is None:
            continue
        # What went before may be this very policy: cover that lapsed and was reinstated.
        before = [policy.policy_id] if policy.revision > 1 else []
        for earlier in (*before, policy.previous_policy_id):
            if _ID.fullmatch(earlier):
                found = _continued(found, known.earlier_cover(earlier, token))
        terms.append(found)
    if sum(m.relationship == pb.RELATIONSHIP_SELF for m in policy.members) > 1:
        faults.add("members", "TWO_POLICYHOLDERS", "only one person can be the policyholder")
    return terms, tokens


def _continued(member: MemberFacts, earlier: CoverInterval | None) -> MemberFacts:
    cover = member.cover[0]
    if earlier is None or earlier.end != cover.start:
        return member
    joined = structs.replace(cover, continuous_since=earlier.continuous_since)
    return structs.replace(member, cover=(joined,))


def _token(document: pb.IdentityDocument, path: str, known: Known, faults: _Faults) -> str | None:
    if not _KIND.fullmatch(document.kind):
        faults.add(f"{path}.kind", "MALFORMED_KIND", 'name the kind of document, as "CN-ID"')
        return None
    if not 3 <= len(document.number) <= 64 or not document.number.isprintable():
        faults.add(f"{path}.number", "MALFORMED_NUMBER", "must have 3 to 64 printable characters")
        return None
    try:
        return known.token(document.kind, document.number)
    except ValueError:
        faults.add(f"{path}.number", "MALFORMED_NUMBER", "holds no letter or digit")
        return None


def _member(
    member: pb.InsuredMember,
    path: str,
    start: date | None,
    last: date | None,
    currency: str,
    faults: _Faults,
) -> MemberFacts | None:
    before = len(faults.found)
    birth = faults.day(member.birth_date, f"{path}.birth_date")
    relationship = _RELATIONSHIP.get(member.relationship)
    if relationship is None:
        faults.add(f"{path}.relationship", "MISSING", "say how the person is related")
    if member.sex not in _SEX:
        faults.add(f"{path}.sex", "UNKNOWN_VALUE", "is not a value that this version knows")
    first, end = _cover_days(member, path, start, last, birth, faults)
    disclosed = _disclosed(member, path, faults)
    tier = _outcome_tier(member.outcome_tier, f"{path}.outcome_tier", faults)
    benefits = benefit_facts(member, path, currency, faults)
    if len(faults.found) > before or not (first and end and birth and relationship):
        return None
    cover = CoverInterval(start=first, end=half_open(end), continuous_since=first)
    return MemberFacts(
        member_id=member.member_id,
        birth_date=birth,
        sex=_SEX[member.sex],
        relationship=relationship,
        cover=(cover,),
        disclosed_conditions=disclosed,
        outcome_tier=tier,
        social_insurance=member.social_insurance if member.HasField("social_insurance") else None,
        earlier_outcome_tiers=benefits.tiers,
        family_doctor=benefits.doctor,
        authorisations=benefits.authorisations,
    )


def _cover_days(
    member: pb.InsuredMember,
    path: str,
    start: date | None,
    last: date | None,
    birth: date | None,
    faults: _Faults,
) -> tuple[date | None, date | None]:
    """First and last day of a member's cover; the policy's own where the member states none."""
    first, end = start, last
    if member.cover_start_date:
        first = faults.day(member.cover_start_date, f"{path}.cover_start_date")
    if member.cover_last_date:
        end = faults.day(member.cover_last_date, f"{path}.cover_last_date")
    if first and end and start and last:
        if end < first:
            text = "must not lie before the cover's start"
            faults.add(f"{path}.cover_last_date", "ENDS_BEFORE_START", text)
        if first < start or end > last:
            faults.add(f"{path}.cover_start_date", "OUTSIDE_POLICY", "cover exceeds the policy")
        if birth and birth > end:
            faults.add(f"{path}.birth_date", "IMPOSSIBLE_DATE", "lies after the cover's end")
    return first, end


def _outcome_tier(said: pb.OutcomeTier, path: str, faults: _Faults) -> OutcomeTier | None:
    if not said.tier:
        return None
    if not _TIER.fullmatch(said.tier):
        faults.add(f"{path}.tier", "MALFORMED_ID", "must be the plan's id of the tier")
    certified = faults.day(said.certified_date, f"{path}.certified_date")
    return OutcomeTier(tier=said.tier, certified=certified or _NO_DAY)


def _disclosed(
    member: pb.InsuredMember, path: str, faults: _Faults
) -> tuple[DisclosedCondition, ...]:
    found: dict[str, DisclosedCondition] = {}
    for i, condition in enumerate(member.disclosed_conditions):
        where = f"{path}.disclosed_conditions[{i}]"
        terms = _TERMS.get(condition.terms)
        if not _CODE.fullmatch(condition.code_prefix):
            faults.add(f"{where}.code_prefix", "MALFORMED_CODE", "must begin a diagnosis code")
        elif condition.code_prefix in found:
            faults.add(f"{where}.code_prefix", "DUPLICATE_CONDITION", "stands twice")
        if terms is None:
            faults.add(f"{where}.terms", "MISSING", "say what was agreed about the condition")
            continue
        share = _share(condition.share, f"{where}.share", faults) if condition.share else None
        if terms is PreExistingTerms.AT_SHARE and not condition.share:
            faults.add(f"{where}.share", "MISSING", "give the insurer's share")
        if terms is not PreExistingTerms.AT_SHARE and condition.share:
            faults.add(f"{where}.share", "UNEXPECTED", "has no meaning without AT_SHARE")
        found[condition.code_prefix] = DisclosedCondition(
            code_prefix=condition.code_prefix, terms=terms, share=share
        )
    return tuple(found.values())


def _share(text: str, path: str, faults: _Faults) -> Decimal | None:
    try:
        share = parse_decimal(text, places=4, what="the share")
    except ValueError as error:
        faults.add(path, "MALFORMED_DECIMAL", str(error))
        return None
    if not Decimal(0) <= share <= Decimal(1):
        faults.add(path, "OUT_OF_RANGE", "must lie between 0 and 1")
        return None
    return share


def _payees(policy: pb.Policy, faults: _Faults) -> list[PayeeTerms]:
    payees: dict[date, PayeeTerms] = {}
    for i, account in enumerate(policy.payee_accounts):
        path = f"payee_accounts[{i}]"
        party = Party(
            holder_name=account.holder_name.strip(),
            account_number=account.account_number,
            bank_code=account.bank_code,
        )
        for fault in party_faults(party, path):
            faults.add(fault.path, fault.reason, fault.text)
        day = faults.day(account.valid_from, f"{path}.valid_from")
        if day and day in payees:
            faults.add(f"{path}.valid_from", "DUPLICATE_ACCOUNT", "two accounts from one day")
        if day:
            payees[day] = PayeeTerms(party, day)
    return list(payees.values())
