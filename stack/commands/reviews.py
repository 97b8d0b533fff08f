"""`lipei claims review | confirm | clear | adjust | reverse | recover | appeal | decide-appeal`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lipei.claims.v1 import claims_pb2, reason_pb2
from lipei.claims.v1 import review_pb2 as pb
from stack.commands.claim_acts import Name, Note, Revision, Why, act, claim_at, minor
from stack.commands.failing import Failed
from stack.commands.options import DEFAULT_STATE, AsJson, RequestId, State
from stack.commands.printing import money


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
    reject: Annotated[
        bool, typer.Option("--reject", help="Reject it, with a --note; withdraw your own.")
    ] = False,
    note: Note = "",
    revision: Revision = -1,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Confirm what somebody else has proposed, which takes effect then; or reject it."""
    request = pb.ConfirmReviewRequest(name=name, reject=reject, note=note)
    kind = claim_at(name, state, "senior_adjuster").proposal.kind
    role = "payments" if kind == "recover" else "senior_adjuster"
    act("ConfirmReview", request, role, revision, request_id, state, as_json)


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


def adjust(
    name: Name,
    note: Why,
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
    note: Why,
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
    reference: Annotated[
        str, typer.Option("--reference", help="The bank's reference of the incoming transfer.")
    ] = "",
    value_date: Annotated[
        str, typer.Option("--value-date", help="Its value date on the statement, YYYY-MM-DD.")
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
        if not note.strip():
            raise Failed("--write-off needs a --note that says why", exit_code=2)
        given_up = pb.WriteOffRecoveryRequest(name=name, note=note)
        act("WriteOffRecovery", given_up, "senior_adjuster", revision, request_id, state, as_json)
        return
    if not (reference and value_date):
        text = "say which transfer of the bank's statement it is: --reference and --value-date"
        raise Failed(text, exit_code=2)
    claim = claim_at(name, state, "payments")
    back = pb.RecordRecoveryRequest(
        name=name,
        amount=claim.recoverable,
        paying_account=account,
        bank_reference=reference,
        value_date=value_date,
    )
    if amount:
        currency = claim.paid.currency_code
        back.amount.currency_code = currency
        back.amount.minor_units = minor(amount, currency, "--amount")
    # In another state, and of another revision, the service says what can be done with the claim.
    if claim.HasField("recoverable") and not yes and revision in (-1, claim.revision):
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
    note: Why,
    uphold: Annotated[
        bool | None, typer.Option("--uphold/--overturn", help="Whether the decision stands.")
    ] = None,
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


def add_to(app: typer.Typer) -> None:
    """Add the commands to `lipei claims`."""
    for command in (review, confirm, clear, adjust, reverse, recover, appeal):
        app.command()(command)
    app.command("decide-appeal")(decide_appeal)
