"""Rules about the claim as it was filed: when, with which papers, and who else is liable.

A rule answers with the clause that refuses the line, with the fact that it misses, or with None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.claims.core.claim import Claim, Finding, Line, Missing
from services.claims.core.conditions import in_sections
from services.claims.core.decision import Pend
from services.claims.core.facts import Liability
from services.claims.core.plan_edits import CountsFrom, RequiredPapers
from services.claims.core.reasons import Reason


def filed_late(claim: Claim, line: Line) -> Finding:
    """The bill arrived more days after the stay or the service than the plan gives.

    The last day is in time. A reason that the plan accepts excuses any delay.
    """
    edits = claim.edits
    if edits is None or edits.filing_days is None or edits.edits.filing is None:
        return None
    filing, bill = edits.edits.filing, claim.bill
    if bill.late_reason in edits.late_reasons:
        return None
    if bill.received_date is None:
        return Missing("bill.received_date")
    service = filing.counts_from is CountsFrom.SERVICE
    since = line.service_date if service else bill.end_date
    late = (bill.received_date - since).days > edits.filing_days
    return filing.clause if late else None


def appealed_late(claim: Claim, _line: Line) -> Finding:
    """The appeal that this decision answers came too late; a claim without one passes."""
    edits, appeal = claim.edits, claim.bill.appeal
    if appeal is None or edits is None or edits.appeal_days is None or edits.edits.appeals is None:
        return None
    late = (appeal.filed - appeal.decided).days > edits.appeal_days
    return edits.edits.appeals.clause if late else None


def work_injury(claim: Claim, line: Line) -> Finding:
    """Work-injury insurance is liable."""
    return _liable(claim, line, Liability.WORK_INJURY)


def third_party(claim: Claim, line: Line) -> Finding:
    """A third party is liable."""
    return _liable(claim, line, Liability.THIRD_PARTY)


def may_be_liable(claim: Claim, cause: Liability) -> bool:
    """Whether a term about the cause could say something of a line."""
    others = claim.edits.other_liability if claim.edits is not None else ()
    liability = claim.bill.liability
    return liability in (None, cause) and any(cause in one.value for one in others)


def papers_missing(claim: Claim, lines: Sequence[Line]) -> Iterator[Pend]:
    """The papers that a claim waits for, each once; `lines` are those that nothing refused."""
    if claim.edits is None or not lines:
        return
    asked: set[str] = set()
    for one in claim.edits.required_papers:
        applies = _needs_papers(one.term, claim, lines)
        if isinstance(applies, Missing) and applies.awaits not in asked:
            asked.add(applies.awaits)
            clause = claim.plan.general.missing_facts
            yield Pend(reason=Reason.FACT_MISSING, clause=clause, awaits=applies.awaits)
        if applies is not True:
            continue
        for paper in one.value:
            awaits = f"paper.{paper}"
            if paper not in claim.bill.papers and awaits not in asked:
                asked.add(awaits)
                clause = one.term.clause
                yield Pend(reason=Reason.PAPERS_MISSING, clause=clause, awaits=awaits)


def _needs_papers(term: RequiredPapers, claim: Claim, lines: Sequence[Line]) -> bool | Missing:
    if term.sections and not any(in_sections(term.sections, line) for line in lines):
        return False
    if term.categories and claim.category is not None and claim.category not in term.categories:
        return False
    care_type = claim.bill.care_type
    if term.care_types and care_type is not None:
        return care_type in term.care_types
    if term.care_types or (term.categories and claim.category is None):
        return Missing("bill.care_type")
    return True


def _liable(claim: Claim, line: Line, cause: Liability) -> Finding:
    missing: Missing | None = None
    for one in claim.edits.other_liability if claim.edits is not None else ():
        term, liability = one.term, claim.bill.liability
        if cause not in one.value or liability not in (None, cause):
            continue
        if term.sections and not in_sections(term.sections, line):
            continue
        if one.diagnoses is not None:
            if line.diagnosis is None:
                missing = missing or Missing("line.diagnosis")
                continue
            if not one.diagnoses.has(line.diagnosis):
                continue
        if liability is cause:
            return term.clause
        missing = missing or Missing("bill.liability")
    return missing
