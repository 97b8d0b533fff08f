"""HisBridgeService: checks requests whole, pulls and lists."""

from __future__ import annotations

import functools
import gc
import re
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import grpc
from sqlalchemy import Connection

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceServicer
from services.common.access.caller import note_consent, note_owner
from services.common.access.tenant import Kind, Tenant, current_tenant
from services.common.database import Database
from services.common.grpc_edge import (
    Refused,
    Violation,
    invalid,
    not_found,
    remaining_s,
)
from services.common.identity import is_member_token
from services.common.page_tokens import foreign_token, number_in
from services.common.paging import Page
from services.common.refusals import request_id_reused
from services.common.request_id import request_id_faults
from services.common.sealing import Sealer, SubjectKeys
from services.common.sealing.erasures import OtherErasure, done_by
from services.his_bridge import messages
from services.his_bridge.callers import hands_over, hospital_named, mine
from services.his_bridge.intake import BILLS, PullReport
from services.his_bridge.leasing import LeaseHeld
from services.his_bridge.pull_refusals import refused_by, under_way
from services.his_bridge.pulling import Puller
from services.his_bridge.queries import Queries
from services.his_bridge.requests import (
    ALL_HOSPITALS,
    ANSWERS,
    BILL,
    acknowledgement_faults,
    answer,
    next_token,
    not_a_name,
    page_size,
    page_size_faults,
    recipient_of,
    resume_token,
)
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.storage import (
    holding,
    last_pulls,
    lists,
    offers,
    showing,
    taking_back,
    waiting,
    withheld,
)
from services.his_bridge.storage.erasure import (
    NothingKept,
    ReversalNotTold,
    WithdrawalNotTold,
    erase,
)
from services.his_bridge.storage.holding import READINGS
from services.his_bridge.wiring import Hospital

USUAL_RECORDS, MOST_RECORDS = 500, 5_000
MOST_ON_PAGE, MOST_READINGS_ON_PAGE = 500, 1_000
# A pull ends by itself this long before the caller's deadline, so that its report arrives.
SPARE_S = 3.0
LONGEST_PULL_S = 60.0
_MEMBER = re.compile(r"members/(-|[a-z0-9]{1,16}\.[0-9a-f]{64})", re.ASCII)
_STATES = {pb.DELIVERY_STATE_UNSPECIFIED: None, **ANSWERS}
Context = grpc.aio.ServicerContext[Any, Any]
Shown = Page[showing.ShownBill]
Bills = Callable[[Connection, Sealer], Shown]


class HisBridgeServicer(HisBridgeServiceServicer):
    """Answers the insurer's side; docs and status codes stand in the proto."""

    def __init__(
        self,
        database: Database,
        keys: SubjectKeys,
        hospitals: Mapping[str, Hospital],
        recipient: str,
        now_us: Callable[[], int],
    ) -> None:
        self._database = database
        self._keys = keys
        self._queries = Queries(database, keys)
        self._hospitals = hospitals
        self._recipient = recipient
        self._now_us = now_us

    async def PullBills(
        self, request: pb.PullBillsRequest, context: Context
    ) -> pb.PullBillsResponse:
        """Fetch what is new, and release what is good."""
        hospital = self._pulled(request)
        await self._offer_due(hospital.profile.terms.hospital)
        puller = hospital.bills
        report = await self._pull(puller, request.max_records, context)
        return pb.PullBillsResponse(
            received=report.received,
            released=report.released,
            quarantined=report.quarantined,
            filtered=report.filtered,
            more=report.more,
            held=report.held,
        )

    async def PullReadings(
        self, request: pb.PullReadingsRequest, context: Context
    ) -> pb.PullReadingsResponse:
        """The same for readings."""
        puller = self._pulled(request).readings
        if puller is None:
            return pb.PullReadingsResponse()
        report = await self._pull(puller, request.max_records, context)
        return pb.PullReadingsResponse(
            received=report.received,
            released=report.released,
            quarantined=report.quarantined,
            filtered=report.filtered,
            more=report.more,
            held=report.held,
        )

    async def GetBill(self, request: pb.GetBillRequest, context: Context) -> pb.GetBillResponse:
        """One released bill."""
        named = BILL.fullmatch(request.name)
        if named is None:
            raise invalid([not_a_name("name", "hospitals/{hospital}/bills/{bill}")])
        if named[1] not in mine(self._hospitals):
            raise not_found("bill", request.name)
        try:
            shown = await self._bills(
                named[1],
                lambda connection, sealer: showing.bill_named(
                    connection, sealer, named[1], self._recipient, named[2], self._now_us()
                ),
            )
        except showing.NoActiveConsent:
            text = "no active consent covers this bill any more; ask the person, or leave it"
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "NO_ACTIVE_CONSENT", text) from None
        if not shown:
            raise not_found("bill", request.name)
        found = messages.released_bill(shown[0])
        note_consent(found.bill.name, found.bill.consent)
        return pb.GetBillResponse(bill=found)

    async def ListBills(
        self, request: pb.ListBillsRequest, context: Context
    ) -> pb.ListBillsResponse:
        """Released bills, oldest release first."""
        faults = page_size_faults(request.page_size)
        if request.delivery_state not in _STATES:
            faults.append(Violation("delivery_state", "UNKNOWN_VALUE", "not a delivery state"))
        hospital = self._parent(request.parent, faults)
        kind = f"bills {current_tenant().key} {request.parent} {request.delivery_state}"
        size = page_size(request.page_size, MOST_ON_PAGE)
        after = number_in(request.page_token, kind)
        delivery = _STATES[request.delivery_state]
        shown = await self._bills(
            hospital,
            lambda connection, sealer: showing.bills_after(
                connection,
                sealer,
                hospital,
                self._recipient,
                after,
                size,
                delivery,
                self._now_us(),
            ),
            to_answer=delivery == "PENDING",
        )
        bills = [messages.released_bill(one) for one in shown]
        for found in bills:
            note_consent(found.bill.name, found.bill.consent)
        return pb.ListBillsResponse(
            bills=bills,
            next_page_token=next_token(shown, kind, more=shown.more),
        )

    async def AcknowledgeBills(
        self, request: pb.AcknowledgeBillsRequest, context: Context
    ) -> pb.AcknowledgeBillsResponse:
        """Record what the insurer did with bills, all or none."""
        faults = request_id_faults(request.request_id)
        faults += acknowledgement_faults(request)
        hospital = self._parent(request.parent, faults)
        answers = [answer(entry) for entry in request.acknowledgements]
        try:
            await self._database.run(self._acknowledge, hospital, request.request_id, answers)
        except lists.UnknownBills as unknown:
            raise not_found("bill", f"hospitals/{hospital}/bills/{unknown.names[0]}") from None
        except lists.OtherContent:
            raise request_id_reused() from None
        except lists.TakenBefore as taken:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                "BILL_ALREADY_TAKEN",
                "a bill that opened claims cannot be refused afterwards; nothing is recorded",
                metadata={"name": f"hospitals/{hospital}/bills/{taken.names[0]}"},
            ) from None
        return pb.AcknowledgeBillsResponse()

    async def ListReadings(
        self, request: pb.ListReadingsRequest, context: Context
    ) -> pb.ListReadingsResponse:
        """Readings of one member or of all, oldest release first."""
        faults = page_size_faults(request.page_size)
        named = _MEMBER.fullmatch(request.parent)
        if named is None or (named[1] != "-" and not is_member_token(named[1])):
            faults.append(not_a_name("parent", "members/{token} or members/-"))
        tenant = current_tenant()
        # A hospital reads its own; whoever is neither a hospital nor of the installation, no one's.
        hospital = None if tenant.kind is Kind.INSTALLATION else tenant.hospital or ""
        if request.hospital:
            hospital = self._parent(request.hospital, faults, "hospital")
        if faults or named is None:
            raise invalid(faults)
        kind = f"readings {tenant.key} {request.parent} {request.hospital}".rstrip()
        size = page_size(request.page_size, MOST_READINGS_ON_PAGE)
        member = None if named[1] == "-" else named[1]
        after = number_in(request.page_token, kind)
        if after > await self._queries.plain(lists.last_number, READINGS):
            # A token kept from before this database was made anew would hide what is in it.
            raise foreign_token()
        shown = await self._queries.opened(
            showing.readings_after,
            self._recipient,
            member,
            after,
            size,
            self._now_us(),
            list(self._hospitals) if hospital is None else [hospital],
        )
        readings = [messages.reading(one) for one in shown]
        for one, found in zip(shown, readings, strict=True):
            note_consent(found.name, found.consent)
            note_owner(found.name, Tenant(Kind.HOSPITAL, one.row.hospital).key)
        return pb.ListReadingsResponse(
            readings=readings,
            next_page_token=next_token(shown, kind, more=shown.more),
            resume_token=resume_token(shown, kind, after),
        )

    async def ListQuarantine(
        self, request: pb.ListQuarantineRequest, context: Context
    ) -> pb.ListQuarantineResponse:
        """Records that wait for a person, or for their originals."""
        hospital = self._parent(request.parent, page_size_faults(request.page_size))
        kind = f"quarantine {current_tenant().key} {request.parent}"
        if request.parked:
            kind = f"parked {current_tenant().key} {request.parent}"
        size = page_size(request.page_size, MOST_ON_PAGE)
        after = number_in(request.page_token, kind)
        query = waiting.parked_after if request.parked else lists.quarantine_after
        rows = await self._queries.opened(query, hospital, after, size)
        return pb.ListQuarantineResponse(
            records=[messages.quarantined(row, parked=request.parked) for row in rows],
            next_page_token=next_token(rows, kind, more=rows.more),
        )

    async def GetSourceStatus(
        self, request: pb.GetSourceStatusRequest, context: Context
    ) -> pb.GetSourceStatusResponse:
        """How the last pull of each channel went, and how many records stand where."""
        hospital = self._parent(request.hospital, [], "hospital")
        known = self._hospitals[hospital]
        zone = ZoneInfo(known.profile.terms.zone)
        channels = [
            one
            for one in await self._queries.plain(
                functools.partial(last_pulls.status, counts_records=request.count_records), hospital
            )
            if one.channel == BILLS or known.readings is not None
        ]
        counts = await self._queries.plain(
            withheld.counts, hospital, self._recipient, self._now_us()
        )
        return pb.GetSourceStatusResponse(
            channels=[messages.channel_status(one, zone) for one in channels],
            bills=messages.bill_counts(
                counts,
                await self._queries.plain(offers.refusals, hospital),
                await self._queries.plain(
                    withheld.failing, hospital, self._recipient, self._now_us()
                ),
            ),
            listen_failure=messages.listen_failure(known.listener),
        )

    async def ListHeldRecords(
        self, request: pb.ListHeldRecordsRequest, context: Context
    ) -> pb.ListHeldRecordsResponse:
        """What no active consent covers, and why."""
        hospital = self._parent(request.parent, page_size_faults(request.page_size))
        kind = f"held {current_tenant().key} {request.parent} {request.released}"
        found = await self._queries.opened(
            withheld.withheld_after if request.released else withheld.held_after,
            hospital,
            self._recipient,
            number_in(request.page_token, kind),
            page_size(request.page_size, MOST_ON_PAGE),
            self._now_us(),
        )
        return pb.ListHeldRecordsResponse(
            records=[messages.held_record(one, hospital, self._recipient) for one in found],
            next_page_token=next_token(found, kind, more=found.more),
        )

    async def ListClinicalFeatures(
        self, request: pb.ListClinicalFeaturesRequest, context: Context
    ) -> pb.ListClinicalFeaturesResponse:
        """Bills of nobody, for pricing and research."""
        faults = page_size_faults(request.page_size)
        if 0 < request.page_size < showing.STUDY_GROUP:
            text = f"must be 0 or at least {showing.STUDY_GROUP}: few would say which is which"
            faults.append(Violation("page_size", "TOO_FEW", text))
        tenant = current_tenant()
        # They belong to nobody, so that insurers and partners may study every hospital's; another
        # hospital may not.
        among = mine(self._hospitals) if tenant.hospital is not None else self._hospitals
        hospital = self._parent(request.parent, faults, among=among)
        kind = f"features {tenant.key} {request.parent}"
        size = page_size(request.page_size, MOST_ON_PAGE)
        after = number_in(request.page_token, kind)
        student = recipient_of(tenant)
        if student is None:  # no consent can name them
            return pb.ListClinicalFeaturesResponse()
        try:
            shown = await self._queries.opened(
                showing.last_states_after,
                hospital,
                self._recipient,
                student,
                after,
                size,
                self._now_us(),
            )
        except showing.NoBorder:
            raise foreign_token() from None
        features = [messages.clinical_features(one.bill) for one in shown]
        return pb.ListClinicalFeaturesResponse(
            # By content: the order of release would tell the order of the visits.
            features=sorted(features, key=lambda one: one.SerializeToString(deterministic=True)),
            next_page_token=next_token(shown, kind, more=shown.more),
        )

    async def EraseMember(
        self, request: pb.EraseMemberRequest, context: Context
    ) -> pb.EraseMemberResponse:
        """Destroy the key of everything kept about a patient."""
        faults = request_id_faults(request.request_id)
        token = request.member.removeprefix("members/")
        if token == request.member or not is_member_token(token):
            faults.append(not_a_name("member", "members/{token}"))
        if request.hospital == ALL_HOSPITALS:
            hospitals = sorted(mine(self._hospitals))
        else:
            hospitals = [self._parent(request.hospital, faults, "hospital")]
        if faults:
            raise invalid(faults)
        now_us, once = self._now_us(), current_tenant().own(request.request_id)
        try:
            erasing = functools.partial(erase, recipient=self._recipient, dry_run=request.dry_run)
            done = await self._database.run(
                erasing, self._database, self._keys, once, token, hospitals, now_us, done_by()
            )
        except OtherErasure:
            raise request_id_reused() from None
        except WithdrawalNotTold:
            text = "a withdrawal of the patient's has not reached the insurer; pull, then repeat"
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION, "WITHDRAWAL_NOT_TOLD", text
            ) from None
        except ReversalNotTold:
            text = (
                "the insurer has a bill of the patient's that was taken back; pull, then repeat. "
                "While an appeal about it is open that is offered again once a day, for 30 days"
            )
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "REVERSAL_NOT_TOLD", text) from None
        except NothingKept:
            raise not_found("member", "members/-") from None
        return pb.EraseMemberResponse(
            destroyed_key_count=done.keys,
            bill_count=done.bills,
            reading_count=done.readings,
            refused_bill_count=done.refused,
        )

    def _pulled(self, request: pb.PullBillsRequest | pb.PullReadingsRequest) -> Hospital:
        faults = request_id_faults(request.request_id) if request.request_id else []
        if not 0 <= request.max_records <= MOST_RECORDS:
            text = f"must lie between 0 and {MOST_RECORDS}; 0 means {USUAL_RECORDS}"
            faults.append(Violation("max_records", "OUT_OF_RANGE", text))
        return hospital_named(request.hospital, faults, "hospital", mine(self._hospitals))[1]

    def _parent(
        self,
        name: str,
        faults: list[Violation],
        field: str = "parent",
        *,
        among: Mapping[str, Hospital] | None = None,
    ) -> str:
        known = mine(self._hospitals) if among is None else among
        return hospital_named(name, faults, field, known)[0]

    async def _bills(self, hospital: str, query: Bills, *, to_answer: bool = False) -> Shown:
        """What the caller may see of the released bills. What its worker is given is remembered.

        `to_answer`: the worker hands it over, and says what became of it.
        """
        if not hands_over():
            read_only: Shown = await self._queries.opened(query)
            return read_only

        def work() -> Shown:
            with self._database.writing() as connection:
                # No consent comes or goes between the look and what is remembered of it.
                holding.one_at_a_time(connection, hospital, reads=True)
                return taking_back.hand_out(
                    connection,
                    hospital,
                    self._recipient,
                    lambda: query(connection, self._keys.sealer(connection)),
                    to_answer=to_answer,
                )

        return await self._database.run(work)

    async def _offer_due(self, hospital: str) -> None:
        """Refused bills whose time has come go to the insurer with what this pull brings."""

        def work() -> None:
            with self._database.writing() as connection:
                offers.offer_due(connection, hospital, now_us=self._now_us())

        if await self._queries.plain(offers.are_due, hospital, self._now_us()):
            await self._database.run(work)

    async def _pull(self, puller: Puller, max_records: int, context: Context) -> PullReport:
        seconds = min(LONGEST_PULL_S, remaining_s(context, LONGEST_PULL_S + SPARE_S) - SPARE_S)
        until_us = self._now_us() + int(max(seconds, 0.0) * 1e6)
        report = None
        try:
            report = await puller.pull(max_records or USUAL_RECORDS, until_us)
        except LeaseHeld as held:
            raise under_way(held) from None
        except SourceFault as fault:
            raise refused_by(fault) from None
        finally:
            if report is None or report.quarantined:
                # A page's bytes lie in a ring with what refused them, and would stay for many
                # pulls. To look at all that a process holds takes as long as a small pull.
                gc.collect()
        return report

    def _acknowledge(self, hospital: str, request_id: str, answers: list[lists.Answer]) -> None:
        with self._database.writing() as connection:
            lists.acknowledge(
                connection,
                hospital,
                request_id,
                answers,
                recipient=self._recipient,
                now_us=self._now_us(),
            )
