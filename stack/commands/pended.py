"""`lipei claims pended`: the queue of claims that wait for papers or a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.table import Table

from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from lipei.type.v1.money_pb2 import Money
from stack import chinese
from stack.commands.calling import calling
from stack.commands.claim_acts import awaited_of, say_next
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, State
from stack.commands.printing import money, print_json, print_table, rows, say, table, when
from stack.commands.withheld import pages
from stack.decision_text import looks_for

_PAGE = 500
# What bears an amount while a fact of it is awaited.
_WAITING = (reason_pb2.REASON_FACT_MISSING, reason_pb2.REASON_SUSPECTED_DUPLICATE)


def pended(
    policy: Annotated[str, typer.Argument(metavar="[POLICY]", help="All when absent.")] = "-",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
    lang: Lang = Language.EN,
) -> None:
    """List claims that wait for papers or a person, oldest first. Changes nothing."""
    request = claims_pb2.ListClaimsRequest(
        parent=f"policies/{policy.removeprefix('policies/')}", page_size=_PAGE, pended=True
    )
    found: list[claims_pb2.Claim] = []
    with calling(state, "claims", "adjuster") as channel:
        for page, _ in pages(ClaimsServiceStub(channel).ListClaims, request):
            found += page.claims
    if as_json:
        print_json(claims_pb2.ListClaimsResponse(claims=found))
        return
    print_table(_queue(found, lang))
    for claim in found:
        say_next(claim)
    if not found:
        say("nothing waits for a person")


def _queue(claims: Iterable[claims_pb2.Claim], lang: Language) -> Table:
    english = (
        "claim",
        "waits",
        "since (UTC)",
        "for",
        "clause",
        "amount",
        "days left",
        "minimum due in",
    )
    headings = [chinese.heading(one, lang) for one in english]
    return rows(
        table(*headings, right=headings[5:]),
        (
            (
                claim.name,
                _waits(claim, lang),
                when(claim.state_time),
                _to_confirm(claim, lang) or awaited_of(claim, lang) or _looked_for(claim, lang),
                ", ".join(_clauses(claim)),
                _proposed(claim, lang),
                _days(claim, claim.days_left, runs=claim.HasField("days_left"), lang=lang),
                _days(
                    claim,
                    claim.minimum_days_left,
                    runs=claim.HasField("minimum_days_left"),
                    lang=lang,
                ),
            )
            for claim in claims
        ),
    )


def _waits(claim: claims_pb2.Claim, lang: Language) -> str:
    more = {"to be confirmed": claim.awaits_confirmation, "to be adjusted": claim.awaits_adjustment}
    said = [chinese.said(english, lang) for english, holds in more.items() if holds]
    return ", ".join([chinese.state(claim.state, lang), *said])


def _to_confirm(claim: claims_pb2.Claim, lang: Language) -> str:
    """What somebody has proposed, so that a second person knows what they are asked for."""
    if not claim.awaits_confirmation:
        return ""
    return chinese.said(chinese.PROPOSED.get(claim.proposal.kind, "something proposed"), lang)


def _looked_for(claim: claims_pb2.Claim, lang: Language) -> str:
    """What a person looks for; of a claim that cannot be read, that: it is looked into first."""
    if claim.unreadable:
        return f"{chinese.said('unreadable', lang)}: {claim.unreadable}"
    return looks_for(claim, lang)


def _clauses(claim: claims_pb2.Claim) -> list[str]:
    """The clauses that wait; where none does, those by which the insurer does not bear all."""
    waiting = [pend.clause for pend in claim.decision.pends]
    others = (
        share.clause
        for line in claim.decision.lines
        for share in line.shares
        if share.bearer != decision_pb2.BEARER_INSURER
    )
    return list(dict.fromkeys(waiting or others))


def _days(claim: claims_pb2.Claim, left: int, *, runs: bool, lang: Language) -> str:
    """What a clock leaves, and whether it stands still meanwhile."""
    if not runs:
        return ""
    return f"{left} ({chinese.said('stopped', lang)})" if claim.days_stand_still else str(left)


def _proposed(claim: claims_pb2.Claim, lang: Language) -> str:
    """The benefit as it is proposed; while lines wait, the most that it could be.

    That is what is reserved, or, under a plan without a limit for everything, all that the lines
    might add. Of a rest that is to be given up that rest, and of money that came back what came.
    """
    if claim.proposal.kind in ("recover", "write_off"):
        if claim.proposal.HasField("amount"):
            return money(claim.proposal.amount)
        return money(claim.recoverable)
    decided = claim.decision
    waits = sum(
        share.amount.minor_units
        for line in decided.lines
        for share in line.shares
        if share.reason in _WAITING and share.bearer != decision_pb2.BEARER_INSURER
    )
    if not waits:
        return money(decided.benefit)
    if claim.HasField("reserved"):
        return f"{chinese.said('up to', lang)} {money(claim.reserved)}"
    most = Money(
        currency_code=decided.benefit.currency_code,
        minor_units=decided.benefit.minor_units + waits,
    )
    return f"{chinese.said('up to', lang)} {money(most)}"


def add_to(app: typer.Typer) -> None:
    """Add the command to `lipei claims`."""
    app.command()(pended)
