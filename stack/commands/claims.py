"""`lipei claims ...`: ask about claims, and hand a bill in."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import Parse, ParseError
from rich.table import Table

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import explanation_pb2
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from lipei.his_bridge.v1.his_bridge_pb2 import GetBillRequest
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.type.v1.bill_pb2 import Bill
from services.common.state import write_private
from stack.commands import (
    failing_bills,
    notices,
    pended,
    replays,
    reviews,
    supplying,
    unpaid,
    what_if,
)
from stack.commands.calling import CALL_S, Failed, calling, fresh_request_id
from stack.commands.claim_acts import Name
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, RequestId, State
from stack.commands.printing import plain, print_json, print_list, print_table, say, word
from stack.commands.withheld import Withheld, ask
from stack.decision_text import adding_up, claim_table, decision_tables, reason_table

app = typer.Typer(
    no_args_is_help=True,
    help="Claims: list, show, explain, replay, what-if, submit, and work on them.",
)
replays.add_to(app)
what_if.add_to(app)
pended.add_to(app)
reviews.add_to(app)
supplying.add_to(app)
notices.add_to(app)
unpaid.add_to(app)
failing_bills.add_to(app)

_LARGEST_PAGE = 500
_SHOWN = 100


@app.command("list")
def list_claims(
    policy: Annotated[str, typer.Argument(metavar="[POLICY]", help="All policies when absent.")] = (
        "-"
    ),
    of_state: Annotated[
        str, typer.Option("--in", help="Only claims in this state, for example paid.")
    ] = "",
    most: Annotated[
        int | None,
        typer.Option("--most", min=1, help="At most so many; else 100, and all of --json."),
    ] = None,
    page_token: Annotated[
        str, typer.Option("--page-token", help="Go on after an answer's next_page_token.")
    ] = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """List claims, oldest first. Changes nothing."""
    wanted = _claim_state(of_state)
    with calling(state, "claims", "adjuster") as channel:
        request = pb.ListClaimsRequest(
            parent=f"policies/{policy.removeprefix('policies/')}",
            state=wanted,
            page_token=page_token,
        )
        limit = most or (None if as_json else _SHOWN)
        pages = list(_pages(ClaimsServiceStub(channel), request, limit))
    found = [claim for page, _ in pages for claim in page.claims]
    withheld = Withheld(frozenset().union(*(some.paths for _, some in pages))).below("claims")
    after = pages[-1][0].next_page_token
    if as_json:
        claims = [withheld.marked(plain(claim)) for claim in found]
        print_json({"claims": claims, "next_page_token": after})
        return
    print_list(claim_table(found, withheld), "no claims" + (f" {of_state}" if of_state else ""))
    if after:
        say(f"the first {len(found)}; --most asks for more")


def _pages(
    stub: ClaimsServiceStub, request: pb.ListClaimsRequest, most: int | None
) -> Iterator[tuple[pb.ListClaimsResponse, Withheld]]:
    """Pages until the last one, or so many claims, the first page at least."""
    left = most
    while True:
        request.page_size = _LARGEST_PAGE if left is None else min(left, _LARGEST_PAGE)
        page, withheld = ask(stub.ListClaims, request)
        yield page, withheld
        if left is not None:
            left -= len(page.claims)
        request.page_token = page.next_page_token
        if not page.next_page_token or left == 0:
            return


def _claim_state(text: str) -> pb.ClaimState.ValueType:
    if not text:
        return pb.CLAIM_STATE_UNSPECIFIED
    name = "CLAIM_STATE_" + text.strip().upper().replace(" ", "_").replace("-", "_")
    if name not in pb.ClaimState.keys():  # noqa: SIM118 -- no dict, has no `in`
        known = ", ".join(word(pb.ClaimState, value) for value in pb.ClaimState.values() if value)
        raise Failed(f'"{text}" is no state of a claim; the states: {known}', exit_code=2)
    return pb.ClaimState.Value(name)


@app.command()
def show(
    name: Name, state: State = DEFAULT_STATE, as_json: AsJson = False, lang: Lang = Language.EN
) -> None:
    """Show one claim: its lines, who bears what, and its history. Changes nothing."""
    with calling(state, "claims", "adjuster") as channel:
        stub = ClaimsServiceStub(channel)
        answer, held_back = ask(stub.GetClaim, pb.GetClaimRequest(name=name))
    withheld = held_back.below("claim")
    if as_json:
        print_json(withheld.marked(plain(answer.claim)))
        return
    _print(
        decision_tables(
            answer.claim,
            lang,
            with_history=True,
            withheld=withheld,
            sections=answer.sections,
        )
    )


def _print(parts: Iterable[Table | str]) -> None:
    for part in parts:
        if isinstance(part, str):
            say(part)
        else:
            print_table(part)


class Format(StrEnum):
    """In which form an explanation is handed out."""

    TEXT = "text"
    JSON = "json"
    FHIR_EOB = "fhir-eob"
    FHIR_CLAIMRESPONSE = "fhir-claimresponse"
    HTML = "html"
    PDF = "pdf"


_DOCUMENTS = {
    Format.FHIR_EOB: explanation_pb2.DOCUMENT_FORMAT_FHIR_EXPLANATION_OF_BENEFIT,
    Format.FHIR_CLAIMRESPONSE: explanation_pb2.DOCUMENT_FORMAT_FHIR_CLAIM_RESPONSE,
    Format.HTML: explanation_pb2.DOCUMENT_FORMAT_HTML,
    Format.PDF: explanation_pb2.DOCUMENT_FORMAT_PDF,
}
# The longest PDF takes seconds, and may stand in line.
_DOCUMENT_S = 60.0
_LANGUAGES = {
    Language.ZH: explanation_pb2.DOCUMENT_LANGUAGE_ZH,
    Language.EN: explanation_pb2.DOCUMENT_LANGUAGE_EN,
    Language.BOTH: explanation_pb2.DOCUMENT_LANGUAGE_UNSPECIFIED,
}


@app.command()
def explain(
    name: Name,
    lang: Lang = Language.BOTH,
    form: Annotated[
        Format, typer.Option("--format", help="Text for people, JSON, FHIR R4, a page or a PDF.")
    ] = Format.TEXT,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there, for you only.")
    ] = None,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Explain a decision to the fen, clause by clause, and show that it adds up."""
    if form is Format.PDF and out is None:
        raise Failed("a PDF is no text: say where to write it with --out FILE", exit_code=2)
    if out is not None and form is Format.TEXT and not as_json:
        raise Failed("--out needs a --format other than text", exit_code=2)
    request = pb.ExplainClaimRequest(name=name)
    if form in _DOCUMENTS:
        request.format, request.language = _DOCUMENTS[form], _LANGUAGES[lang]
    with calling(state, "claims", "adjuster") as channel:
        patience_s = _DOCUMENT_S if form in _DOCUMENTS else CALL_S
        answer = ClaimsServiceStub(channel).ExplainClaim(request, timeout=patience_s)
    sums = adding_up(answer.claim.decision, lang)
    if form in _DOCUMENTS:
        _hand_out(answer.document.content, out)
    elif as_json or form is Format.JSON:
        told = {**plain(answer), "adds_up": sums.holds}
        if out is None:
            print_json(told)
        else:
            _hand_out(json.dumps(told, ensure_ascii=False, indent=2).encode(), out)
    else:
        _print_explained(answer, lang)
        for sentence in sums.lines:
            say(sentence)
    if not sums.holds:
        raise Failed(f"{name}: the decision does not add up; stop and investigate")


def _print_explained(answer: pb.ExplainClaimResponse, lang: Language) -> None:
    if lang is not Language.EN:
        say(answer.text_zh + "\n")
    if lang is not Language.ZH:
        say(answer.text_en + "\n")
    names = {line.number: line.service_name for line in answer.explanation.lines}
    for line in answer.claim.decision.lines:
        line.code.display = names[line.number]
    _print(decision_tables(answer.claim, lang, with_history=False, sections=answer.sections))
    print_table(reason_table(answer.reasons, lang))


def _hand_out(content: bytes, out: Path | None) -> None:
    """Into the file, which only its owner can read, or to standard output as it is."""
    if out is None:
        sys.stdout.write(f"{content.decode()}\n")
        return
    try:
        write_private(out, content)
    except OSError as error:
        raise Failed(f"{out}: cannot be written ({type(error).__name__})", exit_code=2) from None
    say(f"{out}: {len(content)} bytes")


@app.command()
def submit(
    bill: Annotated[
        str,
        typer.Argument(
            metavar="BILL", help='A JSON file of lipei.type.v1.Bill, or "hospitals/{h}/bills/{b}".'
        ),
    ],
    wait_s: Annotated[float, typer.Option("--wait", min=0, max=60, help="Seconds.")] = 10.0,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Hand a bill in and wait for its decisions. Repeating it opens no second claim."""
    content = _bill(bill, state)
    request = pb.SubmitClaimRequest(request_id=fresh_request_id(request_id), bill=content)
    patience = Duration()
    patience.FromMilliseconds(int(wait_s * 1000))
    request.wait.CopyFrom(patience)
    with calling(state, "claims", "insurer_intake") as channel:
        answer = ClaimsServiceStub(channel).SubmitClaim(request, timeout=wait_s + CALL_S)
    if as_json:
        print_json(answer)
        return
    print_table(claim_table(answer.claims))
    if any(not claim.HasField("decision") for claim in answer.claims):
        say("not decided yet; ask again with `lipei claims show NAME`")


def _bill(text: str, state: Path) -> Bill:
    if text.startswith("hospitals/"):
        hospital = text.split("/")[1]
        with calling(state, "his_bridge", "hospital_records", hospital) as channel:
            stub = HisBridgeServiceStub(channel)
            return stub.GetBill(GetBillRequest(name=text), timeout=CALL_S).bill.bill
    try:
        content = Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{text}: cannot be read ({type(error).__name__})", exit_code=2) from None
    try:
        return Parse(content, Bill())
    except ParseError as error:
        raise Failed(f"{text}: not a bill: {error}") from None
