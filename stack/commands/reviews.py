"""`lipei claims pended | review | confirm | clear | reverse | ...`: a person's part."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from lipei.claims.v1 import review_pb2 as pb
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from lipei.claims.v1.review_pb2_grpc import ReviewServiceStub
from lipei.type.v1.money_pb2 import Money
from services.common.money import currency_exponent, minor_units, parse_decimal
from services.common.refusals import RpcFault, error_of
from stack import chinese
from stack.commands.calling import ANOTHER_PERSON, CALL_S, Failed, calling, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, RequestId, State
from stack.commands.printing import money, print_json, print_table, rows, say, table, when, word
from stack.commands.withheld import ask
from stack.decision_text import decision_tables

Name = Annotated[str, typer.Argument(metavar="NAME", help='"policies/{p}/claims/{c}"')]
Note = Annotated[str, typer.Option("--note", help="Why; kept sealed.")]
Revision = Annotated[
    int,
    typer.Option("--revision", help="The one that you looked at; without it you are shown one."),
]
_PAGE = 500
# What bears an amount while a fact of it is awaited.
_WAITING = (reason_pb2.REASON_FACT_MISSING, reason_pb2.REASON_SUSPECTED_DUPLICATE)
_NEXT = {
    claims_pb2.CLAIM_STATE_PENDED_REVIEW: "lipei claims review {name} --accept",
    claims_pb2.CLAIM_STATE_PENDED_INFO: "lipei claims supply {name}",
    claims_pb2.CLAIM_STATE_PENDED_FRAUD: "lipei claims clear {name}",
    claims_pb2.CLAIM_STATE_PAYABLE: "lipei claims show {name}   (the payout run pays it)",
    claims_pb2.CLAIM_STATE_RECOVERY_OPEN: "lipei claims recover {name}",
    claims_pb2.CLAIM_STATE_APPEALED: "lipei claims decide-appeal {name} --uphold",
    claims_pb2.CLAIM_STATE_DENIED: "lipei claims explain {name}",
    claims_pb2.CLAIM_STATE_UPHELD: "lipei claims explain {name}",
}

# What a person can do with a claim, by where it stands; elsewhere it waits for no person.
_OF_DECIDED = ("adjust {name}", "appeal {name}")
_CAN = {
    claims_pb2.CLAIM_STATE_PENDED_REVIEW: ("review {name} --accept",),
    claims_pb2.CLAIM_STATE_PENDED_INFO: ("supply {name}",),
    claims_pb2.CLAIM_STATE_PENDED_FRAUD: ("clear {name}",),
    claims_pb2.CLAIM_STATE_PAID: (*_OF_DECIDED, "reverse {name}"),
    claims_pb2.CLAIM_STATE_DENIED: _OF_DECIDED,
    claims_pb2.CLAIM_STATE_CLOSED_ZERO: _OF_DECIDED,
    claims_pb2.CLAIM_STATE_RECOVERY_OPEN: ("recover {name}", "recover {name} --write-off"),
    claims_pb2.CLAIM_STATE_APPEALED: (
        "decide-appeal {name} --uphold",
        "decide-appeal {name} --overturn",
    ),
}
_ACTED_ON = (
    claims_pb2.CLAIM_STATE_PENDED_REVIEW,
    claims_pb2.CLAIM_STATE_PENDED_INFO,
    claims_pb2.CLAIM_STATE_PENDED_FRAUD,
    claims_pb2.CLAIM_STATE_RECOVERY_OPEN,
    claims_pb2.CLAIM_STATE_APPEALED,
)


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
        while True:
            page, _ = ask(ClaimsServiceStub(channel).ListClaims, request)
            found += page.claims
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        print_json(claims_pb2.ListClaimsResponse(claims=found))
        return
    print_table(_queue(found, lang))
    for claim in found:
        _say_next(claim)
    if not found:
        say("nothing waits for a person")


def _queue(claims: Iterable[claims_pb2.Claim], lang: Language) -> Table:
    english = ("claim", "waits", "since (UTC)", "for", "clause", "amount", "days left")
    headings = [chinese.heading(one, lang) for one in english]
    return rows(
        table(*headings, right=headings[5:]),
        (
            (
                claim.name,
                _waits(claim, lang),
                when(claim.state_time),
                awaited_of(claim, lang) or _looked_for(claim, lang),
                ", ".join(_clauses(claim)),
                _proposed(claim, lang),
                str(claim.days_left) if claim.HasField("days_left") else "",
            )
            for claim in claims
        ),
    )


def _waits(claim: claims_pb2.Claim, lang: Language) -> str:
    more = {"to be confirmed": claim.awaits_confirmation, "to be adjusted": claim.awaits_adjustment}
    said = [chinese.said(english, lang) for english, holds in more.items() if holds]
    return ", ".join([chinese.state(claim.state, lang), *said])


def _looked_for(claim: claims_pb2.Claim, lang: Language) -> str:
    """What a person looks for where the engine misses nothing: so only an appeal refers a claim."""
    if claim.state != claims_pb2.CLAIM_STATE_PENDED_REVIEW:
        return ""
    return chinese.said("a person, as the decision was overturned", lang)


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


def _proposed(claim: claims_pb2.Claim, lang: Language) -> str:
    """The benefit as it is proposed; with all that waiting lines might add, an upper bound."""
    decided = claim.decision
    waits = sum(
        share.amount.minor_units
        for line in decided.lines
        for share in line.shares
        if share.reason in _WAITING and share.bearer != decision_pb2.BEARER_INSURER
    )
    if not waits:
        return money(decided.benefit)
    most = Money(
        currency_code=decided.benefit.currency_code,
        minor_units=decided.benefit.minor_units + waits,
    )
    return f"{chinese.said('up to', lang)} {money(most)}"


def awaited_of(claim: claims_pb2.Claim, lang: Language) -> str:
    """All that a claim waits for, each fact once with its lines."""
    lines: dict[str, list[int]] = {}
    for pend in claim.decision.pends:
        lines.setdefault(pend.awaits, []).extend([pend.line] if pend.line else [])
    return "; ".join(_of_lines(awaits, found, lang) for awaits, found in lines.items())


def _of_lines(awaits: str, lines: Sequence[int], lang: Language) -> str:
    what = chinese.awaited(awaits, lang)
    if not lines:
        return what
    head = chinese.said("line" if len(lines) == 1 else "lines", lang)
    return f"{head} {', '.join(map(str, lines))}: {what}"


def review(  # noqa: PLR0913, PLR0917 -- an option each
    name: Name,
    accept: Annotated[
        bool, typer.Option("--accept", help="The rest stays as the engine has it.")
    ] = False,
    deny: Annotated[
        list[int] | None, typer.Option("--deny", metavar="LINE", help="Deny a line.")
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Why lines are denied, for example medical_necessity.")
    ] = "",
    units: Annotated[
        list[str] | None,
        typer.Option("--units", metavar="LINE=N", help="Leave so many units of a line."),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="LINE=P", help="Leave this price of a unit of a line."),
    ] = None,
    clause: Annotated[
        str, typer.Option("--clause", help="The plan's clause for what is cut or denied.")
    ] = "",
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Decide a claim that waits for an adjuster. The engine computes; you say what you found."""
    if bool(deny) != bool(reason):
        raise Failed("--deny needs a --reason, and --reason a --deny", exit_code=2)
    lines: dict[int, pb.LineReview] = {}
    for number in deny or ():
        lines[number] = pb.LineReview(number=number, deny_reason=_reason(reason))
    for field, texts in (("units", units or ()), ("unit_price", price or ())):
        for text in texts:
            line, _, value = text.partition("=")
            if not line.isdecimal() or not value:
                raise Failed(f'"{text}" must read LINE=VALUE', exit_code=2)
            setattr(lines.setdefault(int(line), pb.LineReview(number=int(line))), field, value)
    if bool(lines) == accept:
        raise Failed(
            "either --accept, or say what you found with --deny, --units, --price", exit_code=2
        )
    for found in lines.values():
        found.clause = clause
    request = pb.ReviewClaimRequest(name=name, lines=lines.values(), note=note)
    act("ReviewClaim", request, "adjuster", revision, request_id, state, as_json)


def _reason(text: str) -> reason_pb2.Reason.ValueType:
    wanted = "REASON_" + text.strip().upper().replace(" ", "_").replace("-", "_")
    if wanted not in reason_pb2.Reason.keys():  # noqa: SIM118 -- no dict, has no `in`
        raise Failed(f'"{text}" is no reason; docs/life-cycle.md lists them', exit_code=2)
    return reason_pb2.Reason.Value(wanted)


def confirm(
    name: Name,
    reject: Annotated[bool, typer.Option("--reject", help="Reject the review instead.")] = False,
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Confirm somebody else's review, which takes effect then."""
    request = pb.ConfirmReviewRequest(name=name, reject=reject, note=note)
    act("ConfirmReview", request, "senior_adjuster", revision, request_id, state, as_json)


def clear(
    name: Name,
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Clear a suspicion: the claim goes on to an adjuster."""
    request = pb.ClearSuspicionRequest(name=name, note=note)
    act("ClearSuspicion", request, "senior_adjuster", revision, request_id, state, as_json)


def minor(text: str, currency: str, option: str) -> int:
    """The minor units of an option's amount in major ones.

    Raises: Failed when it is none.
    """
    try:
        places = currency_exponent(currency)
        return minor_units(parse_decimal(text, places=places, what="it"), currency)
    except ValueError as error:
        raise Failed(f"{option}: {error}", exit_code=2) from None


def adjust(
    name: Name,
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Decide a paid, denied or closed claim anew by what is known now, and move the difference."""
    request = pb.AdjustClaimRequest(name=name, note=note)
    act("AdjustClaim", request, "senior_adjuster", revision, request_id, state, as_json)


def reverse(
    name: Name,
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Take a paid claim back: what was paid is to be recovered."""
    request = pb.ReverseClaimRequest(name=name, note=note)
    act("ReverseClaim", request, "senior_adjuster", revision, request_id, state, as_json)


def recover(  # noqa: PLR0913, PLR0917 -- an option each
    name: Name,
    account: Annotated[
        str, typer.Option("--account", help="Where it came to: an account that is paid from.")
    ] = "main",
    amount: Annotated[
        str,
        typer.Option("--amount", help="What came back, in major units; all of it when absent."),
    ] = "",
    write_off: Annotated[
        bool, typer.Option("--write-off", help="It never came: give it up instead.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Book that money of a claim is back, all or a part, or that the rest is given up."""
    if write_off:
        if amount:
            raise Failed("--write-off gives up all that is open; leave --amount out", exit_code=2)
        given_up = pb.WriteOffRecoveryRequest(name=name, note=note)
        act("WriteOffRecovery", given_up, "senior_adjuster", revision, request_id, state, as_json)
        return
    claim = claim_at(name, state, "payments")
    back = pb.RecordRecoveryRequest(name=name, amount=claim.recoverable, paying_account=account)
    if amount:
        currency = claim.paid.currency_code
        back.amount.currency_code = currency
        back.amount.minor_units = minor(amount, currency, "--amount")
    # In another state the service says what can be done with the claim.
    if claim.HasField("recoverable") and not yes:
        _ask_whether_it_came(claim, back)
    revision = claim.revision if revision < 0 else revision
    act("RecordRecovery", back, "payments", revision, request_id, state, as_json)


def _ask_whether_it_came(claim: claims_pb2.Claim, back: pb.RecordRecoveryRequest) -> None:
    """Show what is to come back and what would be booked, and ask.

    Raises: Failed where nobody can be asked.
    """
    open_, booked = money(claim.recoverable), money(back.amount)
    what = f"{claim.name}: {open_} to be recovered; {booked} came to {back.paying_account}"
    if not sys.stdin.isatty():
        way = f"repeat the command with --revision {claim.revision} --yes"
        raise Failed(what, "nothing was done: nobody could be asked", way, exit_code=2)
    typer.confirm(f"{what}. Book it?", abort=True, err=True)


def appeal(
    name: Name,
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Take a member's objection to a decision in. Pays nothing, takes nothing back."""
    request = pb.AppealClaimRequest(name=name, note=note)
    act("AppealClaim", request, "insurer_intake", revision, request_id, state, as_json)


def decide_appeal(
    name: Name,
    uphold: Annotated[
        bool | None, typer.Option("--uphold/--overturn", help="Whether the decision stands.")
    ] = None,
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Decide an appeal. Overturned, the claim is decided anew and waits for a review."""
    if uphold is None:
        raise Failed("say --uphold or --overturn", exit_code=2)
    outcome = pb.APPEAL_OUTCOME_UPHOLD if uphold else pb.APPEAL_OUTCOME_OVERTURN
    request = pb.DecideAppealRequest(name=name, outcome=outcome, note=note)
    act("DecideAppeal", request, "senior_adjuster", revision, request_id, state, as_json)


def act(
    rpc: str,
    request: Any,
    role: str,
    revision: int,
    request_id: str,
    state: Path,
    as_json: bool,
) -> None:
    """Do it with the claim as it was looked at, and say how it stands and what comes next."""
    request.request_id = fresh_request_id(request_id)
    request.revision = _looked_at(request.name, state, role) if revision < 0 else revision
    with calling(state, "claims", role) as channel:
        call: Callable[..., Message] = getattr(ReviewServiceStub(channel), rpc)
        try:
            answer: Any = call(request, timeout=CALL_S)
        except grpc.RpcError as error:
            raise _told(request.name, error_of(error)) or error from None
    if as_json:
        print_json(answer)
        return
    claim: claims_pb2.Claim = answer.claim
    stands, benefit = word(claims_pb2.ClaimState, claim.state), money(claim.decision.benefit)
    say(f"{claim.name}: {stands}, benefit {benefit}{_to_recover(claim)}")
    if claim.state == claims_pb2.CLAIM_STATE_PENDED_INFO:
        say(f"still awaited: {awaited_of(claim, Language.EN)}")
    _say_next(claim)


def _told(name: str, fault: RpcFault) -> Failed | None:
    """Where a claim stands that cannot do what was asked, and what can be done with it instead."""
    if fault.reason == "SAME_PERSON":
        return Failed(f"{name}: {fault.text}", ANOTHER_PERSON)
    if fault.reason not in {"WRONG_STATE", "CLAIM_CHANGED"}:
        return None
    stands = claims_pb2.ClaimState.Value(fault.metadata["state"])
    known = _CAN.get(stands, ("show {name}",))
    return Failed(
        f"{name}: {fault.text}",
        f"  it is {word(claims_pb2.ClaimState, stands)}, at revision {fault.metadata['revision']}",
        *(f"  what can be done: lipei claims {one.format(name=name)}" for one in known),
    )


def _to_recover(claim: claims_pb2.Claim) -> str:
    """What is to come back, where anything is."""
    return f", {money(claim.recoverable)} to be recovered" if claim.recoverable.minor_units else ""


def _looked_at(name: str, state: Path, role: str) -> int:
    """Show the claim that would be acted on, and ask; its revision.

    Raises: Failed where nobody can be asked: what is done blindly names a revision that was seen.
    """
    with calling(state, "claims", role) as channel:
        wanted = claims_pb2.GetClaimRequest(name=name)
        answer, held_back = ask(ClaimsServiceStub(channel).GetClaim, wanted)
    claim = answer.claim
    withheld = held_back.below("claim")
    shown = decision_tables(
        claim, Language.EN, with_history=False, withheld=withheld, sections=answer.sections
    )
    errors = Console(stderr=True, highlight=False)
    for part in shown:
        if isinstance(part, str):
            errors.print(part, markup=False, soft_wrap=True)
        else:
            print_table(part, errors)
    if not sys.stdin.isatty():
        raise Failed(
            "nothing was done: nobody could be asked whether this is the claim that is meant",
            f"repeat the command with --revision {claim.revision}",
            exit_code=2,
        )
    typer.confirm("Act on the claim as it stands here?", abort=True, err=True)
    return claim.revision


def claim_at(name: str, state: Path, role: str) -> claims_pb2.Claim:
    """The claim as a role is shown it."""
    with calling(state, "claims", role) as channel:
        stub = ClaimsServiceStub(channel)
        found: claims_pb2.Claim = stub.GetClaim(
            claims_pb2.GetClaimRequest(name=name), timeout=CALL_S
        ).claim
        return found


def _say_next(claim: claims_pb2.Claim) -> None:
    """Name the next command, with the revision that was shown where it acts on the claim."""
    known = _NEXT.get(claim.state, "lipei claims show {name}")
    who = ""
    if claim.awaits_confirmation:
        known, who = "lipei claims confirm {name}", "   (somebody else)"
    if claim.awaits_adjustment and not claim.awaits_confirmation:
        known = "lipei claims adjust {name}"
    if claim.state in _ACTED_ON or claim.awaits_adjustment:
        known += f" --revision {claim.revision}"
    say(f"next: {known.format(name=claim.name)}{who}")


def add_to(app: typer.Typer) -> None:
    """Add the commands to `lipei claims`."""
    for command in (pended, review, confirm, clear, adjust, reverse, recover, appeal):
        app.command()(command)
    app.command("decide-appeal")(decide_appeal)
