"""`lipei claims unpaid`: what is owed and not with its payee, and for too long."""

from __future__ import annotations

import time
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
# A file that a bank took on a Friday is answered on Monday.
SILENT_DAYS = 3
_DAY_S = 86_400


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
        parent=f"policies/{policy.removeprefix('policies/')}", page_size=_PAGE, unpaid=True
    )
    found: list[claims_pb2.Claim] = []
    now_s = time.time()
    with calling(state, "claims", "payments") as channel:
        for page, _ in pages(ClaimsServiceStub(channel).ListClaims, request):
            found += (one for one in page.claims if everything or is_late(one, now_s))
    if as_json:
        print_json(claims_pb2.ListClaimsResponse(claims=found))
        return
    english = ("claim", "state", "since (UTC)", "owed", "payout", "why", "days left")
    headings = [chinese.heading(one, lang) for one in english]
    lines = (
        (
            *(claim.name, chinese.state(claim.state, lang), when(claim.state_time)),
            *(money(_owed(claim)), claim.end_to_end_id, _why(claim, now_s, lang)),
            str(claim.days_left) if claim.HasField("days_left") else "",
        )
        for claim in found
    )
    made = table(*headings, right=(headings[3], headings[6]))
    print_list(rows(made, lines), "nothing is unpaid" if everything else "no payment is late")


def is_late(claim: claims_pb2.Claim, now_s: float) -> bool:
    """Whether its days are over, it does not go by itself, or the bank is silent for too long."""
    over = claim.HasField("days_left") and claim.days_left < 0
    return over or bool(claim.payout_waits) or _is_silent(claim, now_s)


def _is_silent(claim: claims_pb2.Claim, now_s: float) -> bool:
    sent = claim.state == claims_pb2.CLAIM_STATE_PAYMENT_SENT
    return sent and now_s - claim.state_time.seconds > SILENT_DAYS * _DAY_S


def _owed(claim: claims_pb2.Claim) -> Money:
    """What the decision in force pays above what was paid and has not come back."""
    benefit, net = claim.decision.benefit, claim.paid.minor_units - claim.recovered.minor_units
    return Money(currency_code=benefit.currency_code, minor_units=benefit.minor_units - net)


def _why(claim: claims_pb2.Claim, now_s: float, lang: Language) -> str:
    """Why the money is not on its way, as far as anybody has said."""
    if claim.payout_waits:
        why, _, codes = claim.payout_waits.partition(":")
        told = chinese.said(chinese.PAYOUT_WAITS.get(why, why), lang)
        return f"{told} ({codes})" if codes else told
    return chinese.said("no word from the bank", lang) if _is_silent(claim, now_s) else ""


def add_to(app: typer.Typer) -> None:
    """Add the command to `lipei claims`."""
    app.command()(unpaid)
