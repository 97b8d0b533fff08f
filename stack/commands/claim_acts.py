"""What the commands that act on a claim share: what they are given, the act, what comes next."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.message import Message
from rich.console import Console

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from lipei.claims.v1.review_pb2_grpc import ReviewServiceStub
from services.common.money import currency_exponent, minor_units, parse_decimal
from services.common.refusals import RpcFault, error_of
from stack import chinese
from stack.commands import terminal
from stack.commands.calling import ANOTHER_PERSON, CALL_S, Failed, calling, fresh_request_id
from stack.commands.options import Language
from stack.commands.printing import money, print_json, print_table, say, word
from stack.commands.withheld import ask
from stack.decision_text import decision_tables

Name = Annotated[str, typer.Argument(metavar="NAME", help='"policies/{p}/claims/{c}"')]
Note = Annotated[str, typer.Option("--note", help="Why; kept sealed.")]
Why = Annotated[str, typer.Option("--note", help="Why, which it needs; kept sealed.")]
Revision = Annotated[
    int,
    typer.Option("--revision", help="The one that you looked at; without it you are shown one."),
]
# What a person does with a claim that waits for one, by where it stands; the usual thing first.
_WAITS_FOR = {
    claims_pb2.CLAIM_STATE_PENDED_REVIEW: ("review {name} --accept",),
    claims_pb2.CLAIM_STATE_PENDED_INFO: ("supply {name}",),
    claims_pb2.CLAIM_STATE_PENDED_FRAUD: ("clear {name}",),
    claims_pb2.CLAIM_STATE_RECOVERY_OPEN: (
        "recover {name} --reference REF --value-date DAY",
        "recover {name} --write-off --note WHY",
    ),
    claims_pb2.CLAIM_STATE_APPEALED: (
        "decide-appeal {name} --note WHY --uphold",
        "decide-appeal {name} --note WHY --overturn",
    ),
}
_OF_DECIDED = ("adjust {name} --note WHY", "appeal {name}")
_NOTICE = "notice {name} --sent DAY --by WAY"
_CAN = {
    **_WAITS_FOR,
    claims_pb2.CLAIM_STATE_PAID: (*_OF_DECIDED, "reverse {name} --note WHY"),
    claims_pb2.CLAIM_STATE_DENIED: (*_OF_DECIDED, _NOTICE),
    # The last where it was paid before its appeal.
    claims_pb2.CLAIM_STATE_CLOSED_ZERO: (*_OF_DECIDED, "reverse {name} --note WHY"),
    claims_pb2.CLAIM_STATE_UPHELD: ("reverse {name} --note WHY",),
}
_SHOW = "show {name}"
_CONFIRM = ("confirm {name}", "confirm {name} --reject")
# How to look at a claim that waits for no person.
_LOOK = {
    claims_pb2.CLAIM_STATE_PAYABLE: f"{_SHOW}   (the payout run pays it)",
    claims_pb2.CLAIM_STATE_DENIED: "explain {name}",
    claims_pb2.CLAIM_STATE_UPHELD: "explain {name}",
}


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
    for line in as_it_stands(claim):
        say(line)
    say_next(claim)


def as_it_stands(claim: claims_pb2.Claim) -> Iterator[str]:
    """Where a claim stands after what was done with it, and whether that has taken effect."""
    stands, benefit = word(claims_pb2.ClaimState, claim.state), money(claim.decision.benefit)
    yield f"{claim.name}: {stands}, benefit {benefit}{_to_recover(claim)}"
    if claim.state == claims_pb2.CLAIM_STATE_PENDED_INFO:
        yield f"still awaited: {awaited_of(claim, Language.EN)}"
    if claim.awaits_confirmation:
        what = chinese.PROPOSED.get(claim.proposal.kind, "something proposed")
        amount = f", {money(claim.proposal.amount)}" if claim.proposal.HasField("amount") else ""
        yield f"proposed: {what}{amount}; nothing changes until somebody else confirms it"


def _told(name: str, fault: RpcFault) -> Failed | None:
    """Where a claim stands that cannot do what was asked, and what can be done with it instead."""
    if fault.reason == "SAME_PERSON":
        return Failed(f"{name}: {fault.text}", ANOTHER_PERSON)
    if fault.reason not in {"WRONG_STATE", "CLAIM_CHANGED"}:
        return None
    stands = claims_pb2.ClaimState.Value(fault.metadata["state"])
    known = _CONFIRM if "proposed" in fault.metadata else _CAN.get(stands, (_SHOW,))
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
        claim,
        Language.EN,
        with_history=False,
        withheld=withheld,
        sections=answer.sections,
    )
    errors = Console(stderr=True, highlight=False)
    for part in shown:
        if isinstance(part, str):
            errors.print(terminal.shown(part), markup=False, soft_wrap=True)
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


def say_next(claim: claims_pb2.Claim) -> None:
    """Name the next command, with the revision that was shown where it acts on the claim."""
    waits_for = _WAITS_FOR.get(claim.state)
    known, who = waits_for[0] if waits_for else _LOOK.get(claim.state, _SHOW), ""
    if claim.awaits_confirmation:
        known, who = "confirm {name}", "   (somebody else)"
    elif claim.awaits_adjustment:
        known = "adjust {name} --note WHY"
    elif claim.HasField("notice_days_left") and not waits_for:
        known = _NOTICE
    acts = waits_for or claim.awaits_confirmation or claim.awaits_adjustment
    if acts or claim.HasField("notice_days_left"):
        known += f" --revision {claim.revision}"
    say(f"next: lipei claims {known.format(name=claim.name)}{who}")


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


def minor(text: str, currency: str, option: str) -> int:
    """The minor units of an option's amount in major ones.

    Raises: Failed when it is none.
    """
    try:
        places = currency_exponent(currency)
        return minor_units(parse_decimal(text, places=places, what="it"), currency)
    except ValueError as error:
        raise Failed(f"{option}: {error}", exit_code=2) from None
