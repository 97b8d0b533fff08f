"""`lipei his ...`: a hospital's bridge: pull now, counts, quarantine, what is held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import typer
from rich.table import Table

from lipei.his_bridge.v1 import consent_pb2
from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from lipei.type.v1 import bill_pb2
from lipei.type.v1.money_pb2 import Money
from stack.commands import (
    his_offer,
    his_operations,
    his_pull,
    his_reconcile,
    his_refused,
    his_replay,
)
from stack.commands.calling import CALL_S, Failed, calling
from stack.commands.his_operations import id_of, parent_of
from stack.commands.options import DEFAULT_STATE, AsJson, Hospital, State
from stack.commands.printing import (
    counted,
    money,
    plain,
    print_json,
    print_list,
    print_table,
    rows,
    say,
    table,
    when,
    word,
)
from stack.commands.withheld import Withheld, pages

app = typer.Typer(no_args_is_help=True, help="Hospitals: sources, pulls, quarantine, codes, proof.")
app.command()(his_operations.add)
app.command()(his_operations.parse)
app.command("test")(his_operations.try_source)
app.command()(his_pull.pull)
app.command()(his_operations.unmapped)
app.command()(his_replay.replay)
app.command()(his_offer.offer)
app.command("map")(his_operations.map_codes)
app.command()(his_reconcile.reconcile)
app.command()(his_refused.refused)
_PAGE = 500


@app.command()
def status(hospital: Hospital, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Count released bills by where they stand, and records by what became of them.

    Pending, taken, refused, withheld and erased add up to released. Withheld is what was released
    once, was not taken and belongs to people without a consent in force, held what never left for
    want of one: `lipei his held` lists both, and what was taken before its consent ended. What the
    insurer refused lists `lipei his refused`.
    Of records, bills and readings apart, all below arrived add up to it: one bill may be of many
    records, and one record may say many. Parked is what takes back what has not come yet. What the
    profile keeps out as it comes is not stored and not among them. Reads no bill.
    Also says how the last pulls went, since when the first parked record waits, how many files a
    drop folder had, and why bills were refused that `lipei his offer` can offer again.

    Exit code 1 when the last pull of bills or of readings failed, nobody can listen for a
    hospital that pushes, or the insurer's service fails at a bill.
    """
    with calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel:
        stub = HisBridgeServiceStub(channel)
        asked = pb.GetSourceStatusRequest(hospital=parent_of(hospital), count_records=True)
        answer = stub.GetSourceStatus(asked, timeout=CALL_S)
    channels, bills = answer.channels, answer.bills
    stands = {
        "pending": bills.pending_count,
        "taken": bills.taken_count,
        "refused": bills.refused_count,
        "withheld": bills.withheld_count,
        "erased": bills.erased_count,
    }
    counts = {"released": sum(stands.values()), **stands}
    if as_json:
        said = {
            **counts,
            # Of all channels.
            "quarantined": sum(c.quarantined_count for c in channels),
            "parked": sum(c.parked_count for c in channels),
            "held": sum(c.held_count for c in channels),
            "source": [plain(channel) for channel in channels],
        }
        said["refusals"] = {one.reason: one.bill_count for one in bills.refusals}
        said["failing"] = {one.reason: one.bill_count for one in bills.failing}
        if answer.HasField("listen_failure"):
            said["listen_failure"] = plain(answer.listen_failure)
        print_json(said)
    else:
        made = table("bills", "count", right=("count",))
        print_table(rows(made, ((name, str(count)) for name, count in counts.items())))
        print_table(_records(channels))
        print_table(_pulls(channels))
        for c in channels:
            for line in _of_the_source(c):
                say(line)
        if bills.refusals:
            say(f"refused: {his_offer.why(bills.refusals)}")
            example = f"lipei his offer {id_of(hospital)} --reason {bills.refusals[0].reason}"
            say(f"once the insurer has put that right: `{example}`")
            if bills.withheld_count:
                held = f"lipei his held {id_of(hospital)}"
                say(f"those withheld among them need a consent too: `{held}`")
    failed = [
        f"the last pull of {c.channel} failed: {c.last_failure_reason}"
        for c in channels
        if c.last_failure_reason
    ]
    if answer.HasField("listen_failure"):
        closed = answer.listen_failure
        failed.append(f"does not listen: {closed.place}: {closed.text} [{closed.reason}]")
    failed += [
        f"the insurer's service fails at {counted(one.bill_count, 'pending bill')}: {one.reason}; "
        "tried again and again, the insurer has to mend it (`bill_fails` in the worker's log)"
        for one in bills.failing
    ]
    if failed:
        raise Failed(*failed)


@app.command()
def quarantine(hospital: Hospital, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """List the records that wait for a person, with every fault. Releases nothing."""
    with calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel:
        records, withheld = _quarantine(HisBridgeServiceStub(channel), hospital)
    if as_json:
        print_json({"records": [withheld.marked(plain(record)) for record in records]})
        return
    made = table(
        *("record", "source record", "version", "stage", "since (UTC)", "total"),
        *("place", "fault"),
        right=("total",),
        prose=("fault",),
    )
    for record in records:
        head = (
            record.name.rpartition("/")[2],
            withheld.shown("source_record", record.source_record),
            withheld.shown("source_version", record.source_version),
            record.stage,
            when(record.quarantine_time),
            withheld.shown("total", money(record.total)),
        )
        for place, fault in enumerate(record.faults):
            said = f"{fault.text} [{fault.reason}]"
            rows(made, [(*(head if place == 0 else [""] * len(head)), fault.path, said)])
        if not record.faults:
            rows(made, [(*head, "", "")])
    print_list(made, "nothing is in quarantine")
    if records:
        say(f"{len(records)} in quarantine")


@app.command()
def held(hospital: Hospital, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """List what no active consent covers: since when, why, and what would release it.

    By the source's own id. First what never left the hospital; then bills that were released once
    and are shown to nobody now, with those that the insurer has taken already. Shows nothing of
    what they say, and releases nothing.
    """
    records: list[pb.HeldRecord] = []
    paths: set[str] = set()
    with calling(state, "his_bridge", "hospital_records", id_of(hospital)) as channel:
        stub = HisBridgeServiceStub(channel)
        for released in (False, True):
            request = pb.ListHeldRecordsRequest(
                parent=parent_of(hospital), page_size=_PAGE, released=released
            )
            for page, some in pages(stub.ListHeldRecords, request):
                records.extend(page.records)
                paths |= some.paths
    withheld = Withheld(frozenset(paths)).below("records")
    if as_json:
        print_json({"records": [withheld.marked(plain(record)) for record in records]})
        return
    made = table(
        *("record", "of", "since (UTC)", "why", "what releases it"),
        prose=("why", "what releases it"),
    )
    for record in records:
        rows(
            made,
            [
                (
                    withheld.shown("source_record", record.source_record),
                    record.channel,
                    when(record.hold_time),
                    _why(record),
                    _what_releases(record),
                )
            ],
        )
    print_list(made, "nothing is held or withheld for want of a consent")
    if records:
        say(counted(len(records), "record"))


def _why(record: pb.HeldRecord) -> str:
    """The reason, with the consents that it speaks of."""
    said = {
        pb.HOLD_REASON_NO_CONSENT: "no consent",
        pb.HOLD_REASON_NOT_YET: "the consent begins later",
        pb.HOLD_REASON_RUN_OUT: "the consent has run out",
        pb.HOLD_REASON_WITHDRAWN: "the consent was withdrawn",
        pb.HOLD_REASON_OUTSIDE_SCOPE: "outside the scope of the consents",
        pb.HOLD_REASON_RELEASE_DUE: "a consent covers it now",
    }
    why = said.get(record.reason, word(pb.HoldReason, record.reason))
    return f"{why}: {' '.join(record.consents)}" if record.consents else why


def _what_releases(record: pb.HeldRecord) -> str:
    """What somebody has to do, or wait for."""
    if record.delivery_state == pb.DELIVERY_STATE_TAKEN:
        return "nothing is to be done: the insurer took it while a consent was in force"
    purpose = word(consent_pb2.ConsentPurpose, record.purpose)
    grant = f"consent to {purpose} for {record.channel} to {record.recipient}"
    said = {
        pb.HOLD_REASON_NOT_YET: "its first moment; nothing is to be done",
        pb.HOLD_REASON_OUTSIDE_SCOPE: f"a {grant} that takes this care and its days in",
        pb.HOLD_REASON_RELEASE_DUE: "the next pull",
    }
    return said.get(record.reason, f"a new {grant}: `lipei consent grant`")


@app.command()
def features(hospital: Hospital, state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Print the hospital's bills as pricing and research may know them: codes and amounts.

    Without name, token, bill number and dates; by groups of 20, so that up to 19 of the newest
    wait. Acts as actuary; --as partner as a partner, whom no consent names yet.
    """
    found: list[pb.ClinicalFeatures] = []
    with calling(state, "his_bridge", "actuary", id_of(hospital)) as channel:
        stub = HisBridgeServiceStub(channel)
        request = pb.ListClinicalFeaturesRequest(parent=parent_of(hospital), page_size=_PAGE)
        for page, _ in pages(stub.ListClinicalFeatures, request):
            found.extend(page.features)
    if as_json:
        print_json({"features": [plain(one) for one in found]})
        return
    made = table(
        *("care", "tier", "year", "days", "diagnoses", "services", "total"),
        right=("year", "days", "services", "total"),
    )
    for one in found:
        total = Money(currency_code=one.currency_code, minor_units=one.total_minor_units)
        care = (
            word(bill_pb2.CareType, one.care_type),
            word(bill_pb2.HospitalTier, one.hospital_tier),
        )
        days = (str(one.care_year), str(one.days_of_stay))
        codes = " ".join(entry.code for entry in one.diagnoses)
        rows(made, [(*care, *days, codes, str(len(one.services)), money(total))])
    print_list(made, "no bills; of fewer than 20 that may be studied none is shown")
    if found:
        say(counted(len(found), "bill"))


# What became of a record, in the order of the sum.
BECAME = (
    ("arrived", "arrived_count"),
    ("read", "read_count"),
    ("unread", "unread_count"),
    ("held", "held_count"),
    ("quarantined", "quarantined_count"),
    ("parked", "parked_count"),
    ("said nothing new", "unchanged_count"),
    ("kept out", "kept_out_count"),
    ("superseded", "superseded_count"),
    ("erased", "erased_count"),
    ("conflicts among those quarantined", "conflict_count"),
)


def _records(channels: Sequence[pb.ChannelStatus]) -> Table:
    """One column a channel."""
    names = [c.channel for c in channels]
    made = table("records", *names, right=names)
    lines = ((said, *(str(getattr(c.records, of)) for c in channels)) for said, of in BECAME)
    return rows(made, lines)


def _of_the_source(c: pb.ChannelStatus) -> Iterator[str]:
    """How far the source is caught up with, what it gave, and the files of a drop folder."""
    found = c.catch_up
    if not c.HasField("catch_up"):
        return
    if not found.HasField("caught_up_time"):
        yield f"catching up with {c.channel}: {his_pull.reached(c)}"
    elif found.seen_count:
        others = found.seen_count - found.received_count
        yield (
            f"{c.channel}: the last catching up was given {counted(found.seen_count, 'record')}, "
            f"{found.received_count} of them new; {others} were known or are kept out"
        )
    if found.taken_file_count:
        yield f"{c.channel}: {counted(found.taken_file_count, 'file')} taken, in the folder done/"
    if found.unsettled_count and found.HasField("caught_up_time"):
        yield f"{c.channel}: {his_pull.unsettled(found)}"
    if found.refused_file_count:
        yield f"{c.channel}: {his_pull.refused_files(found)}"


def _pulls(channels: Iterable[pb.ChannelStatus]) -> Table:
    columns = ("pull of", "last success (UTC)", "last attempt (UTC)", "failure")
    made = table(*columns, "parked since (UTC)")
    for c in channels:
        times = (when(c.last_success_time), when(c.last_attempt_time))
        failure = c.last_failure_reason
        if c.HasField("left_alone_until_time"):
            failure += f", {c.failure_count} times; not asked until {when(c.left_alone_until_time)}"
        since = when(c.oldest_parked_time) if c.parked_count else ""
        rows(made, [(c.channel, *times, failure, since)])
    return made


def _quarantine(
    stub: HisBridgeServiceStub, hospital: str
) -> tuple[list[pb.QuarantinedRecord], Withheld]:
    request = pb.ListQuarantineRequest(parent=parent_of(hospital), page_size=_PAGE)
    records: list[pb.QuarantinedRecord] = []
    paths: set[str] = set()
    for page, withheld in pages(stub.ListQuarantine, request):
        records.extend(page.records)
        paths |= withheld.paths
    return records, Withheld(frozenset(paths)).below("records")
