"""`lipei his ...`: a hospital's bridge: pull now, what was released, what waits in quarantine."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

import typer

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from stack.commands.calling import CALL_S, Failed, addresses, calling
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import console, money, plain, print_json, rows, say, table, when, word

app = typer.Typer(no_args_is_help=True, help="Hospitals: pull, status, quarantine.")

Hospital = Annotated[str, typer.Argument(metavar="HOSPITAL", help="The hospital's id.")]
_WORKER = "worker:hospital-"
_PAGE = 500


@app.command()
def pull(hospital: Hospital, state: State = DEFAULT_STATE) -> None:
    """Have the hospital's pull run now: fetch what is new, release it, submit it as claims.

    Does not wait for it. A pull that is running already goes on; no second one starts.
    """
    # The SDK takes 0.4 s to import, which no other command should wait for.
    from services.common.temporal.schedules import trigger_pull  # noqa: PLC0415 -- as said above

    hospital = hospital.removeprefix("hospitals/")
    known = addresses(state)
    if f"{_WORKER}{hospital}" not in known:
        here = [name.removeprefix(_WORKER) for name in known if name.startswith(_WORKER)]
        raise Failed(
            f'no worker of hospital "{hospital}" runs here; '
            + (f"the hospitals: {', '.join(here)}" if here else "start with `lipei up --profiles`")
        )
    try:
        asyncio.run(trigger_pull(state, hospital))
    except Exception as error:  # noqa: BLE001 -- the SDK's errors are unknown outside common.temporal
        raise Failed(f"Temporal did not start the pull ({type(error).__name__})") from None
    say(f"pulling; `lipei his status {hospital}` says how far it is")


@app.command()
def status(hospital: Hospital, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Count the released bills by what the insurer did with them, and the quarantine."""
    delivered: Counter[str] = Counter()
    with calling(state, "his_bridge") as channel:
        stub = HisBridgeServiceStub(channel)
        bills = pb.ListBillsRequest(parent=_parent(hospital), page_size=_PAGE)
        while True:
            page = stub.ListBills(bills, timeout=CALL_S)
            delivered.update(word(pb.DeliveryState, b.delivery.state) for b in page.bills)
            bills.page_token = page.next_page_token
            if not page.next_page_token:
                break
        waiting = len(_quarantine(stub, hospital))
    counts = {"released": delivered.total(), **delivered, "quarantined": waiting}
    if as_json:
        print_json(counts)
        return
    made = table(hospital, "count", right=("count",))
    console().print(rows(made, ((name, str(count)) for name, count in counts.items())))


@app.command()
def quarantine(hospital: Hospital, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """List the records that wait for a person, with every fault. Releases nothing."""
    with calling(state, "his_bridge") as channel:
        records = _quarantine(HisBridgeServiceStub(channel), hospital)
    if as_json:
        print_json({"records": [plain(record) for record in records]})
        return
    made = table("record", "stage", "since (UTC)", "total", "place", "fault", right=("total",))
    for record in records:
        head = (record.name, record.stage, when(record.quarantine_time), money(record.total))
        for place, fault in enumerate(record.faults):
            said = f"{fault.text} [{fault.reason}]"
            rows(made, [(*(head if place == 0 else [""] * len(head)), fault.path, said)])
        if not record.faults:
            rows(made, [(*head, "", "")])
    console().print(made)
    say(f"{len(records)} in quarantine")


def _quarantine(stub: HisBridgeServiceStub, hospital: str) -> list[pb.QuarantinedRecord]:
    request = pb.ListQuarantineRequest(parent=_parent(hospital), page_size=_PAGE)
    records: list[pb.QuarantinedRecord] = []
    while True:
        page = stub.ListQuarantine(request, timeout=CALL_S)
        records.extend(page.records)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return records


def _parent(hospital: str) -> str:
    return f"hospitals/{hospital.removeprefix('hospitals/')}"
