"""OperationsService: what a hospital's own people do with the bridge. Checks requests whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import grpc

from lipei.his_bridge.v1 import operations_pb2 as pb
from lipei.his_bridge.v1.operations_pb2_grpc import OperationsServiceServicer
from services.common.access.tenant import current_tenant
from services.common.database import Database
from services.common.grpc_edge import Refused, Violation, not_found
from services.common.page_tokens import number_in
from services.common.refusals import request_id_reused
from services.common.request_id import request_id_faults
from services.common.sealing import SubjectKeys
from services.common.sealing.erasures import By, done_by
from services.his_bridge import operation_messages as messages
from services.his_bridge.callers import hospital_named, mine
from services.his_bridge.core.faults import Stage
from services.his_bridge.core.mapping import StoredMap
from services.his_bridge.core.outcomes import KeptOut, SetAside
from services.his_bridge.intake import Intake, PullReport
from services.his_bridge.leasing import LeaseHeld, NowUs
from services.his_bridge.messages import refusal_counts
from services.his_bridge.operation_requests import (
    code_map_faults,
    day_of,
    loaded_map,
    named_systems,
    offer_asked,
    offer_faults,
)
from services.his_bridge.pull_refusals import refused_by, under_way
from services.his_bridge.queries import Queries
from services.his_bridge.reconciling import Pushes, Reconciler
from services.his_bridge.requests import (
    below,
    next_token,
    not_a_name,
    page_size,
    page_size_faults,
)
from services.his_bridge.sources.port import Page, Source, SourceFault
from services.his_bridge.storage import code_maps, offers, reconciliations, replays
from services.his_bridge.wiring import Hospital

USUAL_REPLAY, MOST_REPLAY = 100, 500
MOST_ON_PAGE = MOST_DIFFERENCES = 500
MOST_DAYS = 366
MOST_SYSTEMS = 20
_RECORD = re.compile(r"[0-9a-f]{32}", re.ASCII)
Context = grpc.aio.ServicerContext[Any, Any]


class OperationsServicer(OperationsServiceServicer):
    """Answers the hospital's operators; docs and status codes stand in the proto."""

    def __init__(
        self,
        database: Database,
        keys: SubjectKeys,
        hospitals: Mapping[str, Hospital],
        reconciler: Reconciler,
        now_us: NowUs,
    ) -> None:
        self._database = database
        self._keys = keys
        self._queries = Queries(database, keys)
        self._hospitals = hospitals
        self._reconciler = reconciler
        self._now_us = now_us

    async def TestSource(
        self, request: pb.TestSourceRequest, context: Context
    ) -> pb.TestSourceResponse:
        """Read the first page of each channel, and keep nothing."""
        _, hospital = self._hospital(request.hospital, [], "hospital")
        if hospital.source is None:
            raise _pushes()
        pullers = [one for one in (hospital.bills, hospital.readings) if one is not None]
        return pb.TestSourceResponse(
            channels=[await _tried(hospital.source, puller.intake) for puller in pullers]
        )

    async def ImportCodeMap(
        self, request: pb.ImportCodeMapRequest, context: Context
    ) -> pb.ImportCodeMapResponse:
        """Put a map of codes into force, and resume what waits for it."""
        faults = request_id_faults(request.request_id)
        known = mine(self._hospitals).get(request.parent.removeprefix("hospitals/"))
        faults += code_map_faults(request, None if known is None else known.profile.terms)
        name, hospital = self._hospital(request.parent, faults)
        unknown, waiting = await self._unknown_system(name, hospital, loaded_map(request))
        done = await self._database.run(
            self._load,
            name,
            current_tenant().own(request.request_id),
            request.version,
            loaded_map(request),
            request.dry_run,
        )
        if done.resumed and not request.dry_run:
            await _read_now(hospital)
        return pb.ImportCodeMapResponse(
            added_count=done.added,
            changed_count=done.changed,
            removed_count=done.removed,
            resumed_count=done.resumed,
            from_system_unknown=unknown,
            waiting_systems=waiting if unknown else [],
        )

    async def _unknown_system(
        self, name: str, hospital: Hospital, loaded: StoredMap
    ) -> tuple[bool, list[str]]:
        """Whether nothing here has heard of a map's system, and of which systems codes wait."""
        codes = await self._queries.opened(code_maps.waiting_codes, name, 0, MOST_ON_PAGE)
        waiting = {one.system for one in codes if one.side is loaded.side}
        maps = await self._queries.plain(code_maps.in_force, name)
        known = {one.from_system for one in maps} | named_systems(hospital.profile) | waiting
        return loaded.from_system not in known, sorted(waiting)[:MOST_SYSTEMS]

    async def ListUnmappedCodes(
        self, request: pb.ListUnmappedCodesRequest, context: Context
    ) -> pb.ListUnmappedCodesResponse:
        """Codes that records in quarantine wait for."""
        name, hospital = self._hospital(request.parent, page_size_faults(request.page_size))
        kind = f"unmapped {current_tenant().key} {request.parent}"
        size = page_size(request.page_size, MOST_ON_PAGE)
        after = number_in(request.page_token, kind)
        found = await self._queries.opened(code_maps.waiting_codes, name, after, size)
        currency = hospital.profile.terms.currency
        return pb.ListUnmappedCodesResponse(
            codes=[messages.unmapped(one, currency) for one in found],
            next_page_token=next_token(found, kind, more=found.more),
        )

    async def ReplayQuarantine(
        self, request: pb.ReplayQuarantineRequest, context: Context
    ) -> pb.ReplayQuarantineResponse:
        """Have records in quarantine read once more."""
        faults = [*request_id_faults(request.request_id), *_replay_faults(request)]
        name, hospital = self._hospital(request.parent, faults)
        once = current_tenant().own(request.request_id)
        try:
            replayed = await self._database.run(self._replay, name, once, request)
        except replays.OtherReplay:
            raise request_id_reused("other records") from None
        except replays.OfConflict as conflict:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                "REPLAY_OF_CONFLICT",
                "its version came with two contents and nobody can say which is right; "
                "have the HIS send a new version, which resolves it by itself",
                metadata={"name": f"hospitals/{name}/quarantine/{conflict.names[0]}"},
            ) from None
        except replays.Unreplayable as unknown:
            record = f"hospitals/{name}/quarantine/{unknown.names[0]}"
            raise not_found("record that can be replayed", record) from None
        report = await _read_now(hospital) if replayed else PullReport()
        left = replays.LeftOut(conflicts=0, bytes_gone=0)
        if not request.records:
            stage = Stage(request.stage) if request.stage else None
            left = await self._queries.plain(replays.left_out, name, stage)
        return pb.ReplayQuarantineResponse(
            replayed_count=replayed,
            released_count=report.released if report else 0,
            quarantined_count=report.quarantined if report else 0,
            held_count=report.held if report else 0,
            reading_later=report is None,
            conflict_count=left.conflicts,
            bytes_gone_count=left.bytes_gone,
        )

    async def OfferRefusedBills(
        self, request: pb.OfferRefusedBillsRequest, context: Context
    ) -> pb.OfferRefusedBillsResponse:
        """Put refused bills back to pending."""
        faults = [*request_id_faults(request.request_id), *offer_faults(request)]
        name, _ = self._hospital(request.parent, faults)
        once, by = current_tenant().own(request.request_id), done_by()
        try:
            done = await self._database.run(self._offer, name, once, request, by)
        except offers.OtherOffer:
            raise request_id_reused("another offer") from None
        except offers.NeverReleased as unknown:
            raise not_found("bill", f"hospitals/{name}/bills/{unknown.names[0]}") from None
        except offers.NotOfferable as stays:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                "BILL_NOT_OFFERABLE",
                "it is not refused, a newer version of it was released, or its patient was "
                "erased; leave it out",
                metadata={"name": f"hospitals/{name}/bills/{stays.names[0]}"},
            ) from None
        return pb.OfferRefusedBillsResponse(
            offered_count=done.offered,
            refusals=refusal_counts(done.refusals),
            left_count=done.left,
        )

    async def ReconcileSource(
        self, request: pb.ReconcileSourceRequest, context: Context
    ) -> pb.ReconcileSourceResponse:
        """Compare the source with what is here."""
        faults: list[Violation] = []
        usual = not (request.first_day or request.last_day)
        first = None if usual else day_of(request.first_day, "first_day", faults)
        last = None if usual else day_of(request.last_day, "last_day", faults)
        if first and last and not timedelta(0) <= last - first < timedelta(days=MOST_DAYS):
            text = f"must not be before first_day, nor {MOST_DAYS} days or more after it"
            faults.append(Violation("last_day", "OUT_OF_RANGE", text))
        name, hospital = self._hospital(request.hospital, faults, "hospital")
        if first is None or last is None:
            first, last = self._reconciler.last_week(hospital)
        try:
            done = await self._reconciler.reconcile(hospital, first, last)
        except Pushes:
            raise _pushes() from None
        except LeaseHeld as held:
            raise under_way(held) from None
        except SourceFault as fault:
            raise refused_by(fault) from None
        currency = hospital.profile.terms.currency
        found = messages.reconciliation(name, done.found, currency)
        return pb.ReconcileSourceResponse(
            reconciliation=found,
            repulled_count=done.again,
            differences=messages.differences(found.name, done.differing[:MOST_DIFFERENCES]),
        )

    async def ListReconciliations(
        self, request: pb.ListReconciliationsRequest, context: Context
    ) -> pb.ListReconciliationsResponse:
        """Comparisons that were made."""
        name, hospital = self._hospital(request.parent, page_size_faults(request.page_size))
        kind = f"reconciliations {current_tenant().key} {request.parent}"
        size = page_size(request.page_size, MOST_ON_PAGE)
        after = number_in(request.page_token, kind)
        found = await self._queries.plain(reconciliations.after, name, after, size)
        currency = hospital.profile.terms.currency
        return pb.ListReconciliationsResponse(
            reconciliations=[messages.reconciliation(name, one, currency) for one in found],
            next_page_token=next_token(found, kind, more=found.more),
        )

    def _hospital(
        self, name: str, faults: list[Violation], field: str = "parent"
    ) -> tuple[str, Hospital]:
        return hospital_named(name, faults, field, mine(self._hospitals))

    def _load(
        self, name: str, request_id: str, version: str, loaded: StoredMap, dry_run: bool
    ) -> code_maps.Loaded:
        try:
            with self._database.writing(dry_run=dry_run) as connection:
                sealer = self._keys.sealer(connection)
                now_us = self._now_us()
                return code_maps.load(
                    connection, sealer, name, request_id, version, loaded, now_us=now_us
                )
        except code_maps.OtherMap:
            raise request_id_reused("another map") from None
        except code_maps.OtherVersion:
            text = "another table of this system was loaded by this version; give it its own"
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "VERSION_REUSED", text) from None

    def _offer(
        self, name: str, request_id: str, request: pb.OfferRefusedBillsRequest, by: By
    ) -> offers.Offered:
        with self._database.writing(dry_run=request.dry_run) as connection:
            asked, now_us = offer_asked(request), self._now_us()
            return offers.offer_once(connection, name, request_id, asked, by, now_us=now_us)

    def _replay(self, name: str, request_id: str, request: pb.ReplayQuarantineRequest) -> int:
        with self._database.writing() as connection:
            names = [record.rpartition("/")[2] for record in request.records]
            if not names:
                stage = Stage(request.stage) if request.stage else None
                most = request.max_records or USUAL_REPLAY
                names = replays.waiting_names(connection, name, stage, most)
            asked = [*sorted(request.records), request.stage, str(request.max_records)]
            return replays.replay_once(
                connection, name, request_id, names, asked, now_us=self._now_us()
            )


def _pushes() -> Refused:
    text = (
        "this hospital pushes its records; there is no source to ask: hold its engine's count "
        "against the status"
    )
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, "SOURCE_PUSHES", text)


async def _read_now(hospital: Hospital) -> PullReport | None:
    """Read what lies unread on both channels; None when a pull is under way and does it."""
    whole = PullReport()
    try:
        for puller in (hospital.bills, hospital.readings):
            if puller is not None:
                part = await puller.intake.read_arrived()
                whole.released += part.released
                whole.quarantined += part.quarantined
                whole.held += part.held
    except LeaseHeld:
        return None
    return whole


async def _first_page(source: Source, kind: str) -> Page:
    """The first page with records; of several kinds that are swept in turn any may have none."""
    page = await source.fetch(kind, None)
    for _ in kind.split(",")[1:]:
        if page.records or page.swept:
            break
        page = await source.fetch(kind, page.cursor)
    return page


async def _tried(source: Source, intake: Intake) -> pb.ChannelTest:
    try:
        page = await _first_page(source, intake.reader.kind)
        outcomes = await intake.try_out(page.records)
    except SourceFault as fault:
        return pb.ChannelTest(
            channel=intake.channel, failure_reason=fault.reason, failure_text=fault.text
        )
    aside = [one for one in outcomes if isinstance(one, SetAside)]
    kept_out = sum(1 for one in outcomes if isinstance(one, KeptOut))
    counts = Counter(
        fault.reason for one in aside for fault in {f.reason: f for f in one.faults}.values()
    )
    example = {fault.reason: fault for one in aside for fault in one.faults}
    return pb.ChannelTest(
        channel=intake.channel,
        record_count=len(outcomes),
        good_count=len(outcomes) - len(aside) - kept_out,
        kept_out_count=kept_out,
        faulty_count=len(aside),
        # A source without records has swept; one that goes on without any has shown nothing yet.
        preparing=not page.records and not page.swept,
        faults=[
            pb.FaultCount(
                reason=str(reason),
                path=example[reason].path,
                text=example[reason].text,
                record_count=number,
            )
            for reason, number in counts.most_common()
        ],
    )


def _replay_faults(request: pb.ReplayQuarantineRequest) -> list[Violation]:
    faults = []
    if len(request.records) > MOST_REPLAY:
        faults.append(Violation("records", "COUNT", f"must hold at most {MOST_REPLAY}"))
    names = list(request.records[:MOST_REPLAY])
    for index, record in enumerate(names):
        parent, _, name = record.rpartition("/quarantine/")
        if parent != request.parent or not _RECORD.fullmatch(name):
            form = below(request.parent, "quarantine/{record}")
            faults.append(not_a_name(f"records[{index}]", form))
        elif names.index(record) != index:
            faults.append(Violation(f"records[{index}]", "REPEATED", "stands twice"))
    if names and (request.stage or request.max_records):
        field = "stage" if request.stage else "max_records"
        faults.append(Violation(field, "DOES_NOT_FIT", "only belongs to a replay without records"))
    if request.stage and request.stage not in {str(stage) for stage in Stage}:
        known = ", ".join(str(stage) for stage in Stage)
        faults.append(Violation("stage", "UNKNOWN_VALUE", f"must be one of: {known}"))
    if not 0 <= request.max_records <= MOST_REPLAY:
        text = f"must lie between 0 and {MOST_REPLAY}; 0 means {USUAL_REPLAY}"
        faults.append(Violation("max_records", "OUT_OF_RANGE", text))
    return faults
