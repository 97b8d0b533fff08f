"""`lipei claims unpaid`: what is owed and not with its payee, and for too long."""

from __future__ import annotations

from typing import Annotated

import typer

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from lipei.type.v1.money_pb2 import Money
from stack import chinese
from stack.commands.calling import calling
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, State
from stack.commands.printing import money, print_json, print_list, rows, table, when
from stack.commands.withheld import pages

_PAGE = 500


def unpaid(
    policy: Annotated[str, typer.Argument(metavar="[POLICY]", help="All when absent.")] = "-",
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is on its way and in time.")
    ] = False,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
    lang: Lang = Language.EN,
) -> None:
    """List claims that are owed and unpaid beyond their days, stuck, or lost at the bank.

    Oldest first. Changes nothing, and asks no bank.
    """
    request = claims_pb2.ListClaimsRequest(
        parent=f"policies/{policy.removeprefix('policies/')}",
        page_size=_PAGE,
        unpaid=True,
        late=not everything,
    )
    found: list[claims_pb2.Claim] = []
    with calling(state, "claims", "payments") as channel:
        for page, _ in pages(ClaimsServiceStub(channel).ListClaims, request):
            found += page.claims
    if as_json:
        print_json(claims_pb2.ListClaimsResponse(claims=found))
        return
    english = ("claim", "state", "since (UTC)", "owed", "payout", "why", "days left")
    headings = [chinese.heading(one, lang) for one in english]
    lines = (
        (
            *(claim.name, chinese.state(claim.state, lang), when(claim.state_time)),
            *(money(_owed(claim)), claim.end_to_end_id, _why(claim, lang)),
            str(claim.days_left) if claim.HasField("days_left") else "",
        )
        for claim in found
    )
    made = table(*headings, right=(headings[3], headings[6]))
    print_list(rows(made, lines), "nothing is unpaid" if everything else "no payment is late")


def _owed(claim: claims_pb2.Claim) -> Money:
    """What the decision in force pays above what was paid and has not come back."""
    benefit, net = claim.decision.benefit, claim.paid.minor_units - claim.recovered.minor_units
    return Money(currency_code=benefit.currency_code, minor_units=benefit.minor_units - net)


def _why(claim: claims_pb2.Claim, lang: Language) -> str:
    """Why the money is not with its payee, as far as anybody has said."""
    if not claim.payout_waits:
        return ""
    why, _, codes = claim.payout_waits.partition(":")
    told = chinese.said(chinese.PAYOUT_WAITS.get(why, why), lang)
    return f"{told} ({codes})" if codes else told


def add_to(app: typer.Typer) -> None:
    """Add the command to `lipei claims`."""
    app.command()(unpaid)
