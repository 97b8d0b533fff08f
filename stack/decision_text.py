"""A decision as tables, and the proof on screen that it adds up. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rich.table import Table

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import decision_pb2, policy_pb2, reason_pb2
from lipei.type.v1.money_pb2 import Money
from services.common.money import format_minor
from stack import chinese
from stack.commands.options import Language
from stack.commands.printing import money, number, rows, table, when
from stack.commands.withheld import NOTHING, WITHHELD, Withheld

# What waits for a fact or a look is nobody's yet, whoever holds it in the books meanwhile.
_WAITING = (reason_pb2.REASON_FACT_MISSING, reason_pb2.REASON_SUSPECTED_DUPLICATE)
_ENDED = (
    pb.CLAIM_STATE_CLOSED_INCOMPLETE,
    pb.CLAIM_STATE_REVERSED,
    pb.CLAIM_STATE_WITHDRAWN,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """Whether billed = sum over bearers on every line and in total, and the sums as sentences."""

    holds: bool
    lines: tuple[str, ...]


def claim_table(
    claims: Iterable[pb.Claim], withheld: Withheld = NOTHING, lang: Language = Language.EN
) -> Table:
    """Claims, one a row; what came back and the net where anything of any has."""
    found = list(claims)
    back = ("came back", "net paid") if any(one.HasField("recovered") for one in found) else ()
    english = ("claim", "bill", "state", "billed", "benefit", "paid", *back, "taken in (UTC)")
    headings = [chinese.heading(one, lang) for one in english]
    made = table(*headings, right=headings[3:-1])
    return rows(
        made,
        (
            (
                claim.name,
                _bill_number(claim, withheld, lang),
                chinese.state(claim.state, lang),
                money(claim.decision.billed),
                money(claim.decision.benefit),
                money(claim.paid),
                *(_came_back(claim) if back else ()),
                when(claim.create_time),
            )
            for claim in found
        ),
    )


def _bill_number(claim: pb.Claim, withheld: Withheld, lang: Language) -> str:
    """The bill's number, or why it is not there."""
    if claim.erased:
        return chinese.said("(erased)", lang)
    if claim.unreadable:
        return f"({chinese.said('unreadable', lang)}: {claim.unreadable})"
    return withheld.shown("bill_number", claim.bill_number)


def _came_back(claim: pb.Claim) -> tuple[str, str]:
    """What of the payment came back, and what is left of it."""
    if not claim.HasField("recovered"):
        return "", money(claim.paid)
    net = Money(
        currency_code=claim.paid.currency_code,
        minor_units=claim.paid.minor_units - claim.recovered.minor_units,
    )
    return money(claim.recovered), money(net)


def decision_tables(
    claim: pb.Claim,
    lang: Language,
    *,
    with_history: bool,
    withheld: Withheld = NOTHING,
    sections: Iterable[policy_pb2.SectionText] = (),
) -> Iterator[Table | str]:
    """The claim, its lines with every share and clause, and its moves.

    `sections` has what the plan calls the sections of the lines; without it they show their ids.
    """

    def said(english: str) -> str:
        return chinese.said(english, lang)

    yield claim_table([claim], withheld, lang)
    if claim.erased:
        yield said("the person's data was erased; amounts and states are all that is left")
    yield from _standing(claim, lang, withheld)
    if claim.HasField("decision"):
        hashed = f"{said('output')} {claim.decision.output_hash}"
        if not claim.decision.output_hash:
            hashed = f"{said('commitment')} {claim.decision.commitment}"
        yield f"{said('plan')} {claim.decision.plan_version}\n{hashed}"
        yield f"{said('amounts in')} {claim.decision.billed.currency_code}"
        if not claim.erased:
            lines = "decision.lines"
            names = {one.section: _section(one, lang) for one in sections}
            yield (
                f"lines {WITHHELD}"
                if lines in withheld
                else _line_table(claim.decision, lang, names)
            )
    else:
        yield said("not decided yet")
    if with_history:
        english = ("when (UTC)", "from", "to", "actor", "cause", "clock")
        moves = table(*(chinese.heading(one, lang) for one in english))
        yield rows(moves, (_move(move, lang) for move in claim.moves))


def _standing(claim: pb.Claim, lang: Language, withheld: Withheld) -> Iterator[str]:
    """What a person must know before they do something with the claim."""

    def said(english: str) -> str:
        return chinese.said(english, lang)

    if claim.corrected:
        yield said("the hospital has corrected the bill; what is shown knows nothing of it yet")
    if claim.awaits_adjustment:
        yield said("a senior adjuster has to decide it anew")
    if claim.awaits_confirmation:
        what = chinese.PROPOSED.get(claim.proposal.kind, "something proposed")
        yield f"{said('somebody else must confirm')}: {said(what)}"
        yield from _proposal(claim.proposal, lang, withheld)
    if claim.HasField("refusal"):
        yield from _refusal(claim.refusal, lang, withheld)
    # What has ended waits for nothing, though its last decision did.
    for pend in () if claim.state in _ENDED else claim.decision.pends:
        line = f"{said('line')} {pend.line} " if pend.line else ""
        what = chinese.awaited(pend.awaits, lang)
        yield f"{line}{said('waits for')} {what} ({said('clause')} {pend.clause})"
    if looked_for := looks_for(claim, lang):
        yield f"{said('waits for')} {looked_for}"
    yield from _clocks(claim, lang)
    if claim.payout_waits:
        why, _, codes = claim.payout_waits.partition(":")
        told = said(chinese.PAYOUT_WAITS.get(why, why))
        yield f"{told} ({codes})" if codes else told
    if claim.HasField("recoverable"):
        yield f"{money(claim.recoverable)} {said('are to be recovered')}"


def _proposal(proposal: pb.Proposal, lang: Language, withheld: Withheld) -> Iterator[str]:
    """Who proposed it, what they found of which line, and why: what a second person looks at."""

    def said(english: str) -> str:
        return chinese.said(english, lang)

    if not proposal.actor:
        return  # a list, or an erased person's claim: no more than what is proposed
    yield f"  {said('proposed by')} {proposal.actor}, {when(proposal.time)} (UTC)"
    if proposal.HasField("amount"):
        yield f"  {said('it comes to')} {money(proposal.amount)}"
    if proposal.HasField("incoming"):
        entry = proposal.incoming
        which = f"{entry.bank_reference}, {entry.value_date}, {entry.paying_account}"
        yield f"  {said('by the transfer')} {which}"
    if "proposal.lines" in withheld:
        yield f"  lines {WITHHELD}"
        return
    for line in proposal.lines:
        found = [
            *([chinese.reason(line.deny_reason, lang)] if line.deny_reason else ()),
            *([f"{said('units')} {line.units}"] if line.units else ()),
            *([f"{said('price')} {line.unit_price}"] if line.unit_price else ()),
        ]
        denied = f"{said('denied')}: " if line.deny_reason else ""
        told = f"{denied}{', '.join(found)} ({said('clause')} {line.clause})"
        yield f"  {said('line')} {line.number} {told}"
    if not proposal.lines and proposal.kind in ("review", "adjust"):
        yield f"  {said('every line as the engine has it')}"
    if proposal.note:
        yield f"  {said('why')}: {proposal.note}"


def looks_for(claim: pb.Claim, lang: Language) -> str:
    """What a person looks for where the engine misses nothing: so only an appeal refers a claim."""
    if claim.state != pb.CLAIM_STATE_PENDED_REVIEW or claim.decision.pends or claim.proposal.kind:
        return ""
    return chinese.said("a person, as the decision was overturned", lang)


def _clocks(claim: pb.Claim, lang: Language) -> Iterator[str]:
    """What the claim's clocks leave, and the notice that ends the one of a refusal."""

    def said(english: str) -> str:
        return chinese.said(english, lang)

    if claim.HasField("papers_due_time"):
        yield f"{said('papers are awaited until')} {when(claim.papers_due_time)} (UTC)"
    if claim.HasField("days_left"):
        yield f"{claim.days_left} {said('days are left by law or contract')}"
    if claim.days_stand_still:
        yield said("the clock stands still until the papers come")
    if claim.HasField("minimum_days_left"):
        yield f"{claim.minimum_days_left} {said('days until the undisputed minimum is due')}"
    if claim.notice_due_day:
        over = claim.notice_days_left < 0
        is_over = f": {-claim.notice_days_left} {said('days over')}" if over else ""
        yield f"{said('the notice of the refusal is due by')} {claim.notice_due_day}{is_over}"
    if claim.HasField("refusal_notice"):
        yield _notice(claim.refusal_notice, lang)


def _notice(notice: pb.RefusalNotice, lang: Language) -> str:
    """When the notice went out, by which way, and who says so."""
    way = chinese.said(chinese.CHANNELS.get(notice.channel, "sent"), lang)
    late = f" ({chinese.said('too late', lang)})" if notice.late else ""
    by = f", {chinese.said('recorded by', lang)} {notice.actor}" if notice.actor else ""
    return f"{chinese.said('the notice went out on', lang)} {notice.sent_day}{late}: {way}{by}"


def _refusal(refusal: pb.ProposalRefusal, lang: Language, withheld: Withheld) -> Iterator[str]:
    """What nothing came of, who said so, and why: what whoever proposed it looks for."""

    def said(english: str) -> str:
        return chinese.said(english, lang)

    what = said(chinese.PROPOSED.get(refusal.kind, "something proposed"))
    how = said("withdrawn" if refusal.withdrawn else "rejected")
    yield f"{said('nothing came of what was proposed')}: {what}"
    yield f"  {how}: {refusal.actor}, {when(refusal.time)} (UTC)"
    if "refusal.note" in withheld:
        yield f"  {said('why')}: {WITHHELD}"
    elif refusal.note:
        yield f"  {said('why')}: {refusal.note}"


def _move(move: pb.ClaimMove, lang: Language) -> tuple[str, ...]:
    before = chinese.state(move.from_state, lang) if move.from_state else ""
    after = chinese.state(move.to_state, lang)
    by = f" ({chinese.said('proposed by', lang)} {move.proposed_by})" if move.proposed_by else ""
    return (when(move.time), before, after, f"{move.actor}{by}", move.cause, move.clock)


_HEADINGS = (
    *("line", "service", "section", "outcome", "billed", "allowed", "benefit"),
    *("amount", "borne by", "because of", "clause"),
)
_AMOUNTS = slice(4, 8)


def _section(text: policy_pb2.SectionText, lang: Language) -> str:
    both = f"{text.text_en} {text.text_zh}"
    return {Language.EN: text.text_en, Language.ZH: text.text_zh}.get(lang, both)


def _line_table(
    decision: decision_pb2.Decision, lang: Language, sections: Mapping[str, str]
) -> Table:
    headings = [chinese.heading(one, lang) for one in _HEADINGS]
    made = table(*headings, right=headings[_AMOUNTS])
    for line in decision.lines:
        what = line.code.display or line.code.code
        head = (
            str(line.number),
            what if what == line.code.code else f"{line.code.code} {what}",
            sections.get(line.section, line.section),
            chinese.outcome(line.outcome, lang),
            number(line.billed),
            number(line.allowed),
            number(line.benefit),
        )
        for place, share in enumerate(line.shares):
            tail = (
                number(share.amount),
                _bearer(share, lang),
                chinese.reason(share.reason, lang),
                share.clause,
            )
            rows(made, [(*(head if place == 0 else [""] * len(head)), *tail)])
        if not line.shares:
            rows(made, [(*head, "", "", "", "")])
    return made


def _bearer(share: decision_pb2.BearerShare, lang: Language) -> str:
    if share.reason in _WAITING:
        return chinese.said("not decided yet", lang)
    return chinese.bearer(share.bearer, lang)


def reason_table(reasons: Iterable[policy_pb2.ReasonText], lang: Language) -> Table:
    """The reasons that occur, with the X12 codes under which they go out."""
    headings = ("reason", "X12 group", "CARC", "RARC")
    made = table(*(chinese.heading(one, lang) for one in headings))
    return rows(
        made,
        ((chinese.reason(r.reason, lang), r.group_code, r.carc, r.rarc) for r in reasons),
    )


def adding_up(decision: decision_pb2.Decision, lang: Language) -> Sums:
    """Add up what the server sent, by line and by bearer, without trusting its totals."""
    currency = decision.billed.currency_code
    faults: list[str] = []
    by_bearer = dict.fromkeys(chinese.BEARERS, 0)
    benefit = waits = 0
    for line in decision.lines:
        borne = 0
        waits += sum(one.amount.minor_units for one in line.shares if one.reason in _WAITING)
        for share in line.shares:
            by_bearer[share.bearer] = by_bearer.get(share.bearer, 0) + share.amount.minor_units
            borne += share.amount.minor_units
        insurers = sum(
            share.amount.minor_units
            for share in line.shares
            if share.bearer == decision_pb2.BEARER_INSURER
        )
        benefit += line.benefit.minor_units
        if borne != line.billed.minor_units or insurers != line.benefit.minor_units:
            faults.append(f"line {line.number} does not add up")
    billed = sum(line.billed.minor_units for line in decision.lines)
    if billed != decision.billed.minor_units or sum(by_bearer.values()) != billed:
        faults.append("the lines do not add up to the billed total")
    if not benefit == decision.benefit.minor_units == by_bearer[decision_pb2.BEARER_INSURER]:
        faults.append("the lines' benefits do not add up to the benefit")
    shown = {chinese.bearer(bearer, lang): amount for bearer, amount in by_bearer.items()}
    if waits:
        shown[chinese.bearer(decision_pb2.BEARER_PATIENT, lang)] -= waits
        shown[chinese.said("not decided yet", lang)] = waits
    terms = " + ".join(f"{name} {format_minor(amount, currency)}" for name, amount in shown.items())
    total = format_minor(decision.billed.minor_units, currency)
    label = {Language.EN: "billed", Language.ZH: "账单金额", Language.BOTH: "billed 账单金额"}[lang]
    if faults:
        return Sums(holds=False, lines=(f"{label} {total} {currency}: {terms}", *faults))
    return Sums(holds=True, lines=(f"{label} {total} {currency} = {terms}",))
