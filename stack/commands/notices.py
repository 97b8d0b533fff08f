"""`lipei claims notices | notice`: refusals that nobody was told of yet, and that one was."""

from __future__ import annotations

from typing import Annotated

import typer

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1 import review_pb2 as pb
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from stack import chinese
from stack.commands.calling import Failed, calling
from stack.commands.claim_acts import Name, Revision, act
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, RequestId, State
from stack.commands.printing import print_json, print_list, rows, table, when
from stack.commands.withheld import pages

_PAGE = 500
CHANNELS = {
    "letter": claims_pb2.NOTICE_CHANNEL_LETTER,
    "message": claims_pb2.NOTICE_CHANNEL_MESSAGE,
    "handed-over": claims_pb2.NOTICE_CHANNEL_HANDED_OVER,
}


def notices(
    policy: Annotated[str, typer.Argument(metavar="[POLICY]", help="All when absent.")] = "-",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
    lang: Lang = Language.EN,
) -> None:
    """List refusals of which no notice is recorded, oldest first. Changes nothing.

    Also those that somebody has objected to.
    """
    request = claims_pb2.ListClaimsRequest(
        parent=f"policies/{policy.removeprefix('policies/')}", page_size=_PAGE, notice_unsent=True
    )
    found: list[claims_pb2.Claim] = []
    with calling(state, "claims", "adjuster") as channel:
        for page, _ in pages(ClaimsServiceStub(channel).ListClaims, request):
            found += page.claims
    if as_json:
        print_json(claims_pb2.ListClaimsResponse(claims=found))
        return
    english = ("claim", "revision", "state", "since (UTC)", "notice due by", "days left")
    headings = [chinese.heading(one, lang) for one in english]
    lines = (
        (
            *(claim.name, str(claim.revision), chinese.state(claim.state, lang)),
            when(claim.state_time),
            claim.notice_due_day or chinese.said("unreadable", lang),
            str(claim.notice_days_left) if claim.HasField("notice_days_left") else "",
        )
        for claim in found
    )
    print_list(rows(table(*headings, right=headings[5:]), lines), "no notice of a refusal is due")


def notice(
    name: Name,
    sent: Annotated[str, typer.Option("--sent", help="The day on which it went out, YYYY-MM-DD.")],
    by: Annotated[str, typer.Option("--by", help="letter, message or handed-over.")],
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Record that the notice of a refusal was sent. Sends nothing, and moves no claim."""
    if by not in CHANNELS:
        raise Failed(f'"{by}" is no way: {", ".join(CHANNELS)}', exit_code=2)
    request = pb.RecordRefusalNoticeRequest(name=name, sent_day=sent, channel=CHANNELS[by])
    act("RecordRefusalNotice", request, "adjuster", revision, request_id, state, as_json)


def add_to(app: typer.Typer) -> None:
    """Add the commands to `lipei claims`."""
    app.command()(notices)
    app.command()(notice)
