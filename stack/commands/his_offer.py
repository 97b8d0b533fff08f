"""`lipei his offer`: bills that the insurer refused, offered again, any number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

import typer

from lipei.his_bridge.v1 import operations_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2 import RefusalCount
from lipei.his_bridge.v1.operations_pb2_grpc import OperationsServiceStub
from stack.commands.calling import CALL_S, calling, fresh_request_id
from stack.commands.his_operations import id_of, parent_of
from stack.commands.options import DEFAULT_STATE, AsJson, Hospital, RequestId, State
from stack.commands.printing import counted, print_json, say

# Bills of one call: put back in one transaction, which keeps others of the hospital waiting.
AT_ONCE = 500


def offer(
    hospital: Hospital,
    bills: Annotated[
        list[str] | None,
        typer.Option("--bill", metavar="BILL", help="This one only; may be repeated."),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Only those refused for it, such as UNKNOWN_MEMBER.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="DAY", help="Only those billed on that day or later.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many and why; change nothing.")
    ] = False,
    request_id: RequestId = "",
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Offer bills again that the insurer refused: all, those of a reason, or those named.

    For what was put right at the insurer since. They are pending again, and the next pull hands
    them over; claims judges each anew. A bill of which a newer version was released stays refused,
    as does an erased person's. What was taken is never offered again: nothing is paid twice.
    """
    parent = parent_of(hospital)
    names = [one if "/" in one else f"{parent}/bills/{one}" for one in bills or ()]
    request = pb.OfferRefusedBillsRequest(
        parent=parent,
        reason=reason,
        first_day=since,
        bills=names,
        dry_run=dry_run,
    )
    with calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel:
        done = _offered(OperationsServiceStub(channel), request, fresh_request_id(request_id))
    if as_json:
        print_json(done)
        return
    number, hospital_id = done.offered_count, id_of(hospital)
    if not number:
        say(f"no refused bill fits; `lipei his status {hospital_id}` counts them by reason")
        return
    will = "would be" if dry_run else "is" if number == 1 else "are"
    said = f"{counted(number, 'refused bill')} {will} offered again"
    say(f"{said}: {why(done.refusals)}")
    if dry_run and done.left_count:
        say(f"and {counted(done.left_count, 'bill')} after these, in further portions")
    if not dry_run:
        say(f"next: `lipei his pull {hospital_id}` hands them to the insurer")


def why(refusals: Iterable[RefusalCount]) -> str:
    """Reasons with their numbers."""
    return ", ".join(f"{one.bill_count} {one.reason}" for one in refusals)


def _offered(
    stub: OperationsServiceStub, request: pb.OfferRefusedBillsRequest, once: str
) -> pb.OfferRefusedBillsResponse:
    """Portions of those that were refused when it began; of a dry run the first portion.

    What a pull beside it has handed over and was refused anew is not offered a second time.
    """
    reasons: Counter[str] = Counter()
    whole, calls, most = 0, 0, AT_ONCE
    while True:
        if not request.bills:
            request.max_bills = min(AT_ONCE, most - whole)
        request.request_id = f"{once}-{calls}" if calls else once
        part = stub.OfferRefusedBills(request, timeout=CALL_S)
        most = part.offered_count + part.left_count if not calls else most
        whole += part.offered_count
        for one in part.refusals:
            reasons[one.reason] += one.bill_count
        calls += 1
        if request.dry_run or whole >= most or not part.offered_count:
            return pb.OfferRefusedBillsResponse(
                offered_count=whole,
                refusals=[RefusalCount(reason=r, bill_count=n) for r, n in reasons.most_common()],
                left_count=part.left_count,
            )
