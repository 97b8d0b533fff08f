"""`lipei his refused`: which released bills the insurer refused, and why."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.type.v1 import bill_pb2
from stack.commands.calling import calling
from stack.commands.his_operations import id_of, parent_of
from stack.commands.options import DEFAULT_STATE, AsJson, Hospital, State
from stack.commands.printing import (
    counted,
    money,
    plain,
    print_json,
    print_list,
    rows,
    say,
    table,
    when,
    word,
)
from stack.commands.withheld import Withheld, pages

_PAGE = 500


def refused(hospital: Hospital, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """List the bills that the insurer refused, with its reasons.

    Bills of people without a consent in force are not among them. Each bill that is shown is a read
    that leaves evidence.
    """
    with calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel:
        found, withheld = refused_bills(HisBridgeServiceStub(channel), parent_of(hospital))
    if as_json:
        print_json({"bills": [_told(one, withheld) for one in found]})
        return
    made = table(
        *("bill number", "release", "kind", "care until", "total", "released (UTC)", "why"),
        right=("total",),
        prose=("why",),
    )
    for one in found:
        bill = one.bill
        line = (
            withheld.shown("bill_number", bill.bill_number),
            bill.name.rpartition("/")[2],
            word(bill_pb2.BillKind, bill.kind),
            withheld.shown("end_time", _day(bill)),
            money(bill.total),
            when(one.release_time),
            " ".join(one.delivery.refusal_reasons),
        )
        rows(made, [line])
    print_list(made, "the insurer refused no bill")
    if found:
        again = (
            "what the HIS corrects is sent again, as a new version; what the insurer put right: "
            f"`lipei his offer {id_of(hospital)}`"
        )
        say(f"{counted(len(found), 'bill')}; {again}")


def refused_bills(
    stub: HisBridgeServiceStub, parent: str
) -> tuple[list[pb.ReleasedBill], Withheld]:
    """The refused bills of people with a consent in force, and what is withheld of each."""
    found: list[pb.ReleasedBill] = []
    paths: set[str] = set()
    request = pb.ListBillsRequest(
        parent=parent, page_size=_PAGE, delivery_state=pb.DELIVERY_STATE_REFUSED
    )
    for page, some in pages(stub.ListBills, request):
        found.extend(page.bills)
        paths |= some.paths
    return found, Withheld(frozenset(paths)).below("bills.bill")


def _told(one: pb.ReleasedBill, withheld: Withheld) -> dict[str, object]:
    """What names a bill and says why, without what was done to whom."""
    whole: dict[str, dict[str, object]] = plain(one)
    bill = {key: whole["bill"][key] for key in ("name", "bill_number", "kind", "total")}
    bill["care_until"] = withheld.shown("end_time", _day(one.bill))
    bill["bill_number"] = withheld.shown("bill_number", one.bill.bill_number)
    why = list(one.delivery.refusal_reasons)
    return {**bill, "release_time": whole["release_time"], "refusal_reasons": why}


def _day(bill: bill_pb2.Bill) -> str:
    """The last day of care, as the hospital's calendar has it."""
    if not bill.HasField("end_time"):
        return ""
    return f"{bill.end_time.ToDatetime(tzinfo=ZoneInfo(bill.time_zone)).date()}"
