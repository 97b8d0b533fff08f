"""`lipei members ...`: the pseudonym of a person, and the erasure of what is kept about one."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import typer

from lipei.claims.v1 import claims_pb2
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from lipei.his_bridge.v1 import his_bridge_pb2
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.pricing.v1 import pricing_pb2
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from services.common.identity import member_token as token_of
from services.common.refusals import error_of
from services.common.settings import (
    UnknownSetting,
    member_token_key_file,
    member_token_key_version,
)
from services.common.state import load_or_make_key
from stack.commands.calling import (
    CALL_S,
    CallFailed,
    Failed,
    addresses,
    calling,
    fresh_request_id,
)
from stack.commands.options import DEFAULT_STATE, RequestId, State
from stack.commands.printing import say

app = typer.Typer(no_args_is_help=True, help="Members: token, erase.")


@app.command()
def token(
    number: Annotated[
        str, typer.Argument(metavar="NUMBER", help='"-" reads it from standard input.')
    ],
    kind: Annotated[str, typer.Option("--kind", help="Kind of document, as policies write it.")],
    state: State = DEFAULT_STATE,
) -> None:
    """Print the member token of an identity document under this installation's key.

    Asks no service. A number on the command line stays in the shell's history: prefer "-".
    """
    file = member_token_key_file(state)
    if not file.exists():  # a key made here would fit no bill
        raise Failed(f"{file}: there is no key; `lipei up` makes it")
    text = sys.stdin.readline() if number == "-" else number
    try:
        key = load_or_make_key(file)
        made = token_of(kind, text, key=key, key_version=member_token_key_version())
    except (UnknownSetting, ValueError) as error:
        raise Failed(str(error)) from None
    except OSError as error:
        raise Failed(f"{file}: {error.strerror or 'cannot be read'}") from None
    say(made)


_WORKER = "worker:hospital-"


class Ground(StrEnum):
    """Why a person may be erased."""

    RETENTION_OVER = "retention-over"
    ORDERED = "ordered"


_GROUNDS = {
    Ground.RETENTION_OVER: claims_pb2.ERASURE_GROUND_RETENTION_OVER,
    Ground.ORDERED: claims_pb2.ERASURE_GROUND_ORDERED,
}


@app.command()
def erase(
    member_token: Annotated[
        str, typer.Option("--token", help='Member token; "-" reads it from standard input.')
    ],
    ground: Annotated[Ground, typer.Option("--ground", help="Why it may be done.")],
    order: Annotated[
        str, typer.Option("--order", help="File number of the order; it is kept.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")] = False,
    hospitals: Annotated[
        list[str] | None,
        typer.Option("--hospital", help="Only at this hospital; else at all that run here."),
    ] = None,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
) -> None:
    """Destroy the keys of everything that claims, pricing and the bridge keep about a person.

    Claims goes first: while a claim is open, or the law wants records kept, nothing is erased.
    Pricing is asked twice: by the insurer for its quotes, by the member for what was recorded.
    Names, states, amounts, commitments, the ledger and payment files stay.
    """
    found = sys.stdin.readline().strip() if member_token == "-" else member_token  # noqa: S105 - no password
    if not yes:
        typer.confirm("It cannot be undone. Erase this person?", abort=True)
    once = fresh_request_id(request_id)
    with calling(state, "claims", "senior_adjuster") as channel:
        policies = _erase_claims(ClaimsServiceStub(channel), once, found, ground, order)
    failed = _told(
        "pricing",
        calling(state, "pricing", "senior_adjuster"),
        lambda channel: _erase_pricing(channel, once, found, policies),
    )
    # What a hospital, a partner or the member has recorded is not the insurer's to erase.
    failed += _told(
        "pricing, in the member's name",
        calling(state, "pricing", f"member:{found}"),
        lambda channel: _erase_pricing(channel, once, found, []),
    )
    for name in hospitals or _hospitals(state):
        failed += _told(
            f"his_bridge of {name}",
            calling(state, "his_bridge", "hospital_records", name),
            functools.partial(_erase_bridge, request_id=once, token=found, hospital=name),
        )
    if failed:
        again = f"repeat the same command with --request-id {once}"
        raise Failed(*failed, f"not everything was erased; {again}")


def _erase_claims(
    stub: ClaimsServiceStub, request_id: str, token: str, ground: Ground, order: str
) -> list[str]:
    """Policies that insured nobody else; nothing further is to be erased if this fails."""
    request = claims_pb2.EraseMemberRequest(
        request_id=request_id,
        member=f"members/{token}",
        ground=_GROUNDS[ground],
        order_reference=order,
    )
    try:
        done = stub.EraseMember(request, timeout=CALL_S)
    except grpc.RpcError as error:
        if error_of(error).code is grpc.StatusCode.NOT_FOUND:
            say("claims: nothing is kept about this member")
            return []
        raise
    say(
        f"claims: {done.destroyed_key_count} keys destroyed; {done.claim_count} claims of "
        f"{done.member} have no bill and no lines any more"
    )
    if done.policies:
        say(f"  payee accounts of {', '.join(done.policies)}, which insure nobody else, are gone")
    return list(done.policies)


def _erase_pricing(channel: grpc.Channel, request_id: str, token: str, policies: list[str]) -> None:
    done = PricingServiceStub(channel).EraseMember(
        pricing_pb2.EraseMemberRequest(
            request_id=request_id, member=f"members/{token}", policies=policies
        ),
        timeout=CALL_S,
    )
    say(
        f"pricing: {done.destroyed_key_count} keys destroyed; of {done.reading_count} readings, "
        f"{done.target_count} targets, {done.coach_task_count} coach's tasks and "
        f"{done.quote_count} quotes nothing can be opened any more"
    )


def _hospitals(state: Path) -> list[str]:
    """The hospitals whose workers run here."""
    running = sorted(addresses(state))
    return [name.removeprefix(_WORKER) for name in running if name.startswith(_WORKER)]


def _erase_bridge(channel: grpc.Channel, request_id: str, token: str, hospital: str) -> None:
    done = HisBridgeServiceStub(channel).EraseMember(
        his_bridge_pb2.EraseMemberRequest(
            request_id=request_id, member=f"members/{token}", hospital=f"hospitals/{hospital}"
        ),
        timeout=CALL_S,
    )
    say(
        f"his_bridge of {hospital}: {done.destroyed_key_count} keys destroyed; {done.bill_count} "
        f"bills cannot be opened any more, {done.refused_bill_count} of them were withheld from "
        f"the insurer, {done.reading_count} readings are deleted"
    )


def _told(
    who: str,
    opening: AbstractContextManager[grpc.Channel],
    erase_there: Callable[[grpc.Channel], None],
) -> list[str]:
    """Erase in a service; what a person must hear when it did not."""
    try:
        with opening as channel:
            erase_there(channel)
    except CallFailed as failed:
        if failed.fault.code is not grpc.StatusCode.NOT_FOUND:
            return list(failed.lines)
        say(f"{who}: nothing is kept about this member")
    except Failed as failed:
        return list(failed.lines)
    return []
