"""`lipei claims pended | review | confirm | clear | supply | reverse | ...`: a person's part."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from lipei.claims.v1 import claims_pb2, decision_pb2, reason_pb2
from lipei.claims.v1 import review_pb2 as pb
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from lipei.claims.v1.review_pb2_grpc import ReviewServiceStub
from lipei.type.v1 import bill_pb2
from services.common.money import currency_exponent, minor_units, parse_decimal
from stack.commands.calling import CALL_S, Failed, calling, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, Language, RequestId, State
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
    print_table(_queue(found))
    if found:
        _say_next(found[0])
    else:
        say("nothing waits for a person")


def _queue(claims: Iterable[claims_pb2.Claim]) -> Table:
    made = table(
        *("claim", "waits", "since (UTC)", "for", "clause", "amount", "days left"),
        right=("amount", "days left"),
    )
    return rows(
        made,
        (
            (
                claim.name,
                word(claims_pb2.ClaimState, claim.state)
                + (", to be confirmed" if claim.awaits_confirmation else "")
                + (", to be adjusted" if claim.awaits_adjustment else ""),
                when(claim.state_time),
                "\n".join(_awaited(pend) for pend in claim.decision.pends),
                "\n".join(pend.clause for pend in claim.decision.pends),
                money(claim.decision.benefit),
                str(claim.days_left) if claim.HasField("days_left") else "",
            )
            for claim in claims
        ),
    )


def _awaited(pend: decision_pb2.Pend) -> str:
    return f"line {pend.line}: {pend.awaits}" if pend.line else pend.awaits


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
    _do("ReviewClaim", request, "adjuster", revision, request_id, state, as_json)


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
    _do("ConfirmReview", request, "senior_adjuster", revision, request_id, state, as_json)


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
    _do("ClearSuspicion", request, "senior_adjuster", revision, request_id, state, as_json)


def supply(  # noqa: PLR0913, PLR0917 -- an option each
    name: Name,
    tier: Annotated[
        str, typer.Option("--tier", help="The hospital's tier: primary, secondary or tertiary.")
    ] = "",
    social_insurance: Annotated[
        bool | None,
        typer.Option(
            "--social-insurance/--no-social-insurance", help="Whether it settled the bill."
        ),
    ] = None,
    fund_paid: Annotated[
        str, typer.Option("--fund-paid", help="What its funds paid, in major units.")
    ] = "",
    diagnosis: Annotated[
        str, typer.Option("--diagnosis", metavar="SYSTEM|CODE", help="The principal one.")
    ] = "",
    brought: Annotated[
        list[str] | None,
        typer.Option("--brings", metavar="ID", help="A paper that the plan asks for, by its id."),
    ] = None,
    paper: Annotated[
        list[Path] | None, typer.Option("--paper", help="A paper's file; only its hash is sent.")
    ] = None,
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Hand papers in for a claim that waits for them: the facts that they state."""
    request = pb.SupplyFactsRequest(name=name, note=note)
    if tier:
        wanted = f"HOSPITAL_TIER_{tier.upper()}"
        if wanted not in bill_pb2.HospitalTier.keys():  # noqa: SIM118 -- no dict, has no `in`
            raise Failed(f'"{tier}" is no tier; write primary, secondary or tertiary', exit_code=2)
        request.facts.hospital_tier = bill_pb2.HospitalTier.Value(wanted)
    if social_insurance is not None:
        request.facts.social_insurance.used = social_insurance
    if diagnosis:
        made = request.facts.diagnoses.add(number=1, principal=True)
        made.code.system, _, made.code.code = diagnosis.rpartition("|")
    request.facts.papers.extend(brought or ())
    for path in paper or ():
        request.paper_digests.append(_digest(path))
    role = "insurer_intake"
    if fund_paid:
        currency = _claim(name, state, role).paid.currency_code
        paid = request.facts.social_insurance.fund_paid
        paid.currency_code, paid.minor_units = currency, _minor(fund_paid, currency, "--fund-paid")
    _do("SupplyFacts", request, role, revision, request_id, state, as_json)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Failed(f"{path}: cannot be read ({type(error).__name__})", exit_code=2) from None


def _minor(text: str, currency: str, option: str) -> int:
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
    _do("AdjustClaim", request, "senior_adjuster", revision, request_id, state, as_json)


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
    _do("ReverseClaim", request, "senior_adjuster", revision, request_id, state, as_json)


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
        _do("WriteOffRecovery", given_up, "senior_adjuster", revision, request_id, state, as_json)
        return
    claim = _claim(name, state, "payments")
    back = pb.RecordRecoveryRequest(name=name, amount=claim.recoverable, paying_account=account)
    if amount:
        currency = claim.paid.currency_code
        back.amount.currency_code = currency
        back.amount.minor_units = _minor(amount, currency, "--amount")
    # In another state the service says what can be done with the claim.
    if claim.HasField("recoverable") and not yes:
        _ask_whether_it_came(claim, back)
    revision = claim.revision if revision < 0 else revision
    _do("RecordRecovery", back, "payments", revision, request_id, state, as_json)


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
    _do("AppealClaim", request, "insurer_intake", revision, request_id, state, as_json)


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
    _do("DecideAppeal", request, "senior_adjuster", revision, request_id, state, as_json)


def _do(
    rpc: str,
    request: Any,
    role: str,
    revision: int,
    request_id: str,
    state: Path,
    as_json: bool,
) -> None:
    request.request_id = fresh_request_id(request_id)
    request.revision = _looked_at(request.name, state, role) if revision < 0 else revision
    with calling(state, "claims", role) as channel:
        call: Callable[..., Message] = getattr(ReviewServiceStub(channel), rpc)
        answer: Any = call(request, timeout=CALL_S)
    if as_json:
        print_json(answer)
        return
    claim: claims_pb2.Claim = answer.claim
    stands, benefit = word(claims_pb2.ClaimState, claim.state), money(claim.decision.benefit)
    say(f"{claim.name}: {stands}, benefit {benefit}{_to_recover(claim)}")
    _say_next(claim)


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


def _claim(name: str, state: Path, role: str) -> claims_pb2.Claim:
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
    for command in (pended, review, confirm, clear, supply, adjust, reverse, recover, appeal):
        app.command()(command)
    app.command("decide-appeal")(decide_appeal)
