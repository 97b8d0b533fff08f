"""`lipei claims failing`: bills at which the insurer's own service fails."""

from __future__ import annotations

import typer

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from stack import chinese
from stack.commands.calling import calling
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, State
from stack.commands.printing import print_json, print_list, rows, say, table, when
from stack.commands.withheld import pages

_PAGE = 500


def failing(
    state: State = DEFAULT_STATE, as_json: AsJson = False, lang: Lang = Language.EN
) -> None:
    """List bills at which claims itself fails, the longest first. Changes nothing.

    Their hospitals try them again until they are answered.
    """
    found: list[claims_pb2.FailingBill] = []
    request = claims_pb2.ListFailingBillsRequest(page_size=_PAGE)
    with calling(state, "claims", "adjuster") as channel:
        for page, _ in pages(ClaimsServiceStub(channel).ListFailingBills, request):
            found += page.failing_bills
    if as_json:
        print_json(claims_pb2.ListFailingBillsResponse(failing_bills=found))
        return
    english = ("bill", "since (UTC)", "last try (UTC)", "tries", "fault")
    headings = [chinese.heading(one, lang) for one in english]
    lines = (
        (one.bill, when(one.first_time), when(one.last_time), str(one.try_count), one.fault)
        for one in found
    )
    print_list(rows(table(*headings, right=headings[3:4]), lines), "no bill fails")
    if found:
        say("the log's unexpected_fault of that time says where; each is tried again by itself")


def add_to(app: typer.Typer) -> None:
    """Add the command to `lipei claims`."""
    app.command()(failing)
