"""What must become of every bill, worked out before anybody decides: the truth of the demo.

Follows the plans as documents (terms.py) and the bills as the hospital made them out, in the order
in which they reach the insurer: bills are numbered by the time of their end, the FHIR server is
filled in that order, the bridge releases in the order of the server's times, and claims are taken
in one after the other. Imports nothing of services.claims; decides nothing by its own authority.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum

from demo.hospital import terms
from demo.hospital.benefit import Accepted, Used, settle
from demo.hospital.bills import FACT_UNSAID, QUARANTINED, Bill, Line, Planted
from demo.hospital.insured import Roster
from demo.hospital.people import MEDICAL_PLAN, Cover, Disclosed, Insured, completed_years
from demo.hospital.split import CLINIC

# What the bridge says of each fault that it must find.
ASIDE_FOR = {
    Planted.UNBALANCED: "LINES_DO_NOT_ADD_UP",
    Planted.WRONG_LINE: "LINE_DOES_NOT_MULTIPLY",
    Planted.UNKNOWN_CODE: "CODE_SYSTEM_UNKNOWN",
    Planted.IMPOSSIBLE_DATE: "TIME_IMPOSSIBLE",
    Planted.END_BEFORE_START: "END_BEFORE_START",
    Planted.NEGATIVE: "NEGATIVE_AMOUNT",
    Planted.NO_IDENTITY: "IDENTITY_MISSING",
}


class End(StrEnum):
    """Where a bill comes to rest."""

    # At the hospital, with a reason.
    QUARANTINED = "quarantined"
    # At the hospital, which has no consent to hand it over.
    HELD = "held"
    # By the insurer at intake; no claim is opened.
    REFUSED = "refused"
    # A claim on which every line is refused.
    DENIED = "denied"
    # A claim that waits for a paper or a person.
    PENDED = "pended"
    # A claim that was decided and owes nothing.
    CLOSED_ZERO = "closed at zero"
    PAID = "paid"
    # A claim that waited when the patient withdrew the consent: nothing is paid.
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What must become of one bill.

    `reason` is that of the end, empty for paid and closed at zero; `benefit_fen` is the decision's,
    which is paid unless the claim waits, or waited when it was withdrawn; `refused_lines` are
    number → reason of the lines that are denied, held, or cut by a unit limit.
    """

    bill_number: str
    planted: Planted
    end: End
    reason: str = ""
    benefit_fen: int = 0
    refused_lines: Mapping[int, str] = field(default_factory=dict)

    @property
    def paid_fen(self) -> int:
        """What must reach the payee."""
        return self.benefit_fen if self.end is End.PAID else 0


def expectations(
    roster: Roster, bills: Sequence[Bill], before: Mapping[str, Used] | None = None
) -> tuple[Expectation, ...]:
    """One expectation for each bill, in the order of the bills.

    `before` is what members (by key) had used up of the policy year already; usually nothing.
    """
    leaving = {bill.person.key for bill in bills if bill.planted is Planted.WITHDRAWN}
    history = _History(roster, before or {}, leaving)
    return tuple(history.expect(bill) for bill in bills)


class _History:
    """What was decided so far, person by person."""

    def __init__(
        self, roster: Roster, before: Mapping[str, Used], leaving: Collection[str]
    ) -> None:
        self._roster = roster
        # People who withdraw their consent when everything else has come to rest.
        self._leaving = leaving
        self._used: defaultdict[str, Used] = defaultdict(Used, before)
        # Services that were accepted: person → (house, code, day, quantity).
        self._done: defaultdict[str, set[tuple[str, str, date, str]]] = defaultdict(set)

    def expect(self, bill: Bill) -> Expectation:
        """What must become of the next bill."""
        if bill.planted is Planted.NO_CONSENT:
            return _end(bill, End.HELD, "NO_CONSENT")
        if bill.planted in QUARANTINED:
            return _end(bill, End.QUARANTINED, ASIDE_FOR[bill.planted])
        if bill.person not in self._roster.people:
            return _end(bill, End.REFUSED, "UNKNOWN_MEMBER")
        found = self._decide(bill)
        if found.end is End.PENDED and bill.person.key in self._leaving:
            return replace(found, end=End.WITHDRAWN, reason="CONSENT_WITHDRAWN")
        return found

    def _decide(self, bill: Bill) -> Expectation:
        cover, insured = self._roster.cover_of(bill.person), self._roster.insured(bill.person)
        plan = terms.MEDICAL if cover.plan == MEDICAL_PLAN else terms.DIABETES
        used = self._used[bill.person.key]
        refused = {
            number: reason
            for number, line in enumerate(bill.lines, start=1)
            if (reason := self._refusal(bill, line, cover, insured))
        }
        accepted = _accepted(bill, cover, insured, refused)
        if not accepted or (plan.visits == used.visits and _is_visit(bill)):
            return _end(bill, End.DENIED, refused[1] if refused else "CEILING", lines=refused)
        if bill.planted in FACT_UNSAID:
            _reserve(accepted, plan, used, bill)
            waiting = {one.number: "FACT_MISSING" for one in accepted}
            return _end(bill, End.PENDED, "FACT_MISSING", lines=refused | waiting)
        after = used.copy()
        paid = settle(accepted, plan, after)
        refused |= {one.number: "FREQUENCY" for one in paid if one.cut_by_units}
        benefit = sum(one.benefit for one in paid)
        if benefit > plan.auto_pay:
            _reserve(accepted, plan, used, bill)
            return _end(bill, End.PENDED, "REVIEW_NEEDED", benefit=benefit, lines=refused)
        after.visits += _is_visit(bill)
        self._used[bill.person.key] = after
        denied = {one.number for one in paid if not one.allowed_units}
        for one in accepted:
            if one.number not in denied:
                self._done[bill.person.key].add(_service(bill, one.line))
        if len(denied) == len(accepted):
            return _end(bill, End.DENIED, "FREQUENCY", lines=refused)
        end = End.PAID if benefit else End.CLOSED_ZERO
        return _end(bill, end, benefit=benefit, lines=refused)

    def _refusal(self, bill: Bill, line: Line, cover: Cover, insured: Insured) -> str:
        """Why a line is refused, the first reason in the insurer's order; empty when it is not."""
        medical = cover.plan == MEDICAL_PLAN
        excluded = terms.MEDICAL_EXCLUDED_SERVICES if medical else terms.DIABETES_EXCLUDED_SERVICES
        principal = bill.diseases[0]
        agreed = _agreed(insured, principal)
        reasons = {
            "NOT_COVERED_ON_DATE": not cover.start <= bill.start.date() <= cover.last,
            "DEPENDANT_NOT_ELIGIBLE": not _eligible(insured, line.day, medical=medical),
            "DUPLICATE": _service(bill, line) in self._done[bill.person.key],
            "BENEFIT_EXCLUDED": line.service.code.startswith(excluded),
            "DIAGNOSIS_EXCLUDED": medical
            and principal.startswith(terms.MEDICAL_EXCLUDED_DIAGNOSES),
            "PRE_EXISTING": agreed is not None and agreed.terms == "EXCLUDED",
            "WAITING_PERIOD": _waits(bill, line, cover, medical=medical),
            # 百万医疗 5.1: stays in secondary and tertiary hospitals only.
            "PROVIDER_NOT_LISTED": medical and bill.care == "IMP" and bill.provider == CLINIC,
            "DUPLICATE_EXAMINATION": self._examined_elsewhere(bill, line),
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def _examined_elsewhere(self, bill: Bill, line: Line) -> bool:
        """百万医疗 5.7: the other house did the same at most 14 days before."""
        return line.service.code.startswith(terms.RECOGNISED) and any(
            house != bill.provider
            and code == line.service.code
            and 0 <= (line.day - day).days <= terms.RECOGNITION_DAYS
            for house, code, day, _ in self._done[bill.person.key]
        )


def _accepted(
    bill: Bill, cover: Cover, insured: Insured, refused: Mapping[int, str]
) -> list[Accepted]:
    """The lines that no rule refuses, each with its section, share and copay."""
    agreed = _agreed(insured, bill.diseases[0])
    facts = {
        "community": bill.provider == CLINIC,
        # Where nobody says, the most that a waiting claim could pay is that of a settled one.
        "settled": bill.social or bill.planted in FACT_UNSAID,
        "has_social_insurance": insured.person.social,
    }
    found = []
    for number, line in enumerate(bill.lines, start=1):
        if number in refused:
            continue
        if cover.plan == MEDICAL_PLAN:
            section = terms.medical_section(line.service.code, bill.care)
            share = terms.medical_share(section, **facts)
        else:
            section = terms.diabetes_section(line.service.code, bill.care)
            share = terms.diabetes_share(insured.outcome_tier, **facts)
        if agreed is not None and agreed.terms == "AT_SHARE":
            # What was agreed at underwriting stands in place of the plan's share.
            share = type(share)(agreed.share)
        found.append(
            Accepted(
                number=number,
                line=line,
                section=section,
                share=share,
                copay=section == "outpatient" and bill.care in ("AMB", "EMER"),
            )
        )
    return found


def _reserve(accepted: list[Accepted], plan: terms.Terms, used: Used, bill: Bill) -> None:
    """A waiting claim holds the most that it could pay, and one count; no deductible."""
    most = used.copy()
    settle(accepted, plan, most, without_deductible=True)
    used.benefit, used.by_section = most.benefit, most.by_section
    used.visits += _is_visit(bill)


def _eligible(insured: Insured, day: date, *, medical: bool) -> bool:
    """百万医疗 1.2 and 糖尿病 1.2: who may be insured, by completed years on the day."""
    age = completed_years(insured.person, day)
    if medical:
        return insured.relationship != "CHILD" or age <= terms.CHILD_LAST_AGE
    return insured.relationship == "SELF" and age >= terms.DIABETES_FIRST_AGE


def _agreed(insured: Insured, diagnosis: str) -> Disclosed | None:
    """What was agreed about a diagnosis at underwriting; the longest prefix says most."""
    told = [one for one in insured.disclosed if diagnosis.startswith(one.code_prefix)]
    return max(told, key=lambda one: len(one.code_prefix), default=None)


def _waits(bill: Bill, line: Line, cover: Cover, *, medical: bool) -> bool:
    """3.1 of both plans; the diabetes plan makes only stays wait."""
    if cover.previous or (bill.start.date() - cover.start).days >= terms.WAITING_DAYS:
        return False
    if bill.diseases[0].startswith(terms.INJURIES):
        return False
    return medical or terms.diabetes_section(line.service.code, bill.care) == "inpatient"


def _is_visit(bill: Bill) -> bool:
    """糖尿病 2.14 counts what is neither a stay nor a refill."""
    return bill.care not in ("IMP", "REFILL")


def _service(bill: Bill, line: Line) -> tuple[str, str, date, str]:
    return bill.provider, line.service.code, line.day, str(line.quantity)


def _end(
    bill: Bill,
    end: End,
    reason: str = "",
    *,
    benefit: int = 0,
    lines: Mapping[int, str] | None = None,
) -> Expectation:
    return Expectation(
        bill_number=bill.number,
        planted=bill.planted,
        end=end,
        reason=reason,
        benefit_fen=benefit,
        refused_lines=dict(lines or {}),
    )
