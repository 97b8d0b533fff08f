"""PricingService over gRPC: reads requests, asks the pure core, keeps what it answers.

Decides no price and judges no month itself.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

import grpc
import msgspec

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1 import pricing_pb2_grpc
from lipei.type.v1 import access_pb2
from services.common.access.caller import current_caller
from services.common.access.tenant import current_tenant
from services.common.database import Database
from services.common.grpc_edge import (
    Refused,
    Violation,
    invalid,
    not_found,
)
from services.common.page_tokens import number_in, page_token
from services.common.refusals import request_id_reused
from services.common.request_id import request_id_faults
from services.common.sealing.erasures import OtherErasure, done_by
from services.pricing import messages
from services.pricing.assessing import Assessing
from services.pricing.core.incentive import (
    Incentive,
    LegalCap,
)
from services.pricing.core.outcome import Person
from services.pricing.core.programme import Programme
from services.pricing.core.quote import Asked, Quote, priced_renewal, quoted, shadow_of
from services.pricing.core.rates import Rates
from services.pricing.core.readings import Measured, measure
from services.pricing.core.recording import Incoming
from services.pricing.core.routing import Arm
from services.pricing.core.waterfall import price
from services.pricing.judging import Ground, Shelf, judged, named_programme, refusal
from services.pricing.medication_requests import clearing_of, events_differ, events_of
from services.pricing.own_tariffs import Own, OwnTariffs, TariffEdited, book_with
from services.pricing.renewal_requests import renewal_asked_of, renewal_cap
from services.pricing.requests import (
    MEMBER_OR_ALL,
    QUOTE,
    Part,
    asked_of,
    day_of,
    differing,
    erasure_of,
    incoming_of,
    part_of,
    participation_of,
    target_of,
)
from services.pricing.serving import edited, microseconds, run, time_of
from services.pricing.storage.clearings import ClearingStore, NotTakingPart
from services.pricing.storage.erasure import Erasures, NothingKept
from services.pricing.storage.medication import MedicationStore
from services.pricing.storage.quotes import QuoteStore
from services.pricing.storage.readings import (
    NotTheirs,
    ReadingsDiffer,
    ReadingStore,
    StartsInThePast,
)
from services.pricing.storage.registry import RegistryStore
from services.pricing.tariffs.loader import TariffRefused

P = ParamSpec("P")
R = TypeVar("R")
Context = grpc.aio.ServicerContext[Any, Any]

FULL_NAME = pb.DESCRIPTOR.services_by_name["PricingService"].full_name
# Who may read what a participation's credit rests on, among the roles that quote.
_READS_MONTHS = frozenset({access_pb2.ROLE_INSURER_INTAKE, access_pb2.ROLE_CHIEF_ACTUARY})
# Refusals of one batch of a stream: what is sent is at fault, and not who should take it.
_OF_THE_CONTENT = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.NOT_FOUND,
    }
)
USUAL_PAGE, MOST_ON_PAGE = 100, 1_000


@dataclass(frozen=True, slots=True)
class Stores:
    """What the service keeps, on one database."""

    quotes: QuoteStore
    readings: ReadingStore
    erasures: Erasures
    registry: RegistryStore
    medication: MedicationStore
    clearings: ClearingStore


@dataclass(frozen=True, slots=True)
class _Renewal:
    """Whose renewal, by which programme, on which day."""

    part: Part
    programme: Programme
    day: date


class PricingServicer(pricing_pb2_grpc.PricingServiceServicer):
    """Prices by the shelf's tariffs, keeps every quote and reading. `now` is the only clock."""

    def __init__(
        self,
        shelf: Shelf,
        database: Database,
        stores: Stores,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._shelf = shelf
        self._database = database
        self._quotes = stores.quotes
        self._readings = stores.readings
        self._erasures = stores.erasures
        self._medication = stores.medication
        self._clearings = stores.clearings
        self._assessing = Assessing(shelf, stores.readings, stores.medication, stores.clearings)
        self._own = OwnTariffs(stores.registry)
        self._now = now

    async def QuotePremium(
        self, request: pb.QuotePremiumRequest, context: Context
    ) -> pb.QuotePremiumResponse:
        """Price one person's policy year and store the quote; see the proto for every answer."""
        asked, violations = asked_of(request)
        _check_reads_months(asked)
        tenant = current_tenant()
        insurer, request_id = tenant.required_insurer(), tenant.own(request.request_id)
        earlier = await self._earlier(request.request_id)
        if earlier is not None:
            return pb.QuotePremiumResponse(quote=_same(earlier, asked))
        own = await self._owned(insurer, asked.tariff)
        shelf = replace(self._shelf, book=book_with(self._shelf.book, own))
        ground = judged(shelf, asked, violations)
        start = date.fromisoformat(asked.start_date)
        arm, challenger = own.arm(ground.rates, asked.policy_id, start)
        rates = challenger if challenger and arm is Arm.CHALLENGER else ground.rates
        incentive = await self._earned(ground, rates, start, self._shelf.cap)
        made = quoted(
            asked,
            rates,
            ground.features.values,
            price(rates, ground.features.values),
            quote_id=uuid.uuid4().hex,
            request_id=request_id,
            created_us=microseconds(self._now()),
            incentive=incentive,
        )
        made = msgspec.structs.replace(made, arm=arm)
        shadow = None
        if challenger is not None and arm is Arm.CHAMPION and own.routing and own.routing.shadow:
            shadow = shadow_of(asked.tariff, challenger, made)
        kept = await run(self._database, self._quotes.add, insurer, made, shadow)
        return pb.QuotePremiumResponse(quote=_same(kept, asked))

    async def RenewPolicy(
        self, request: pb.RenewPolicyRequest, context: Context
    ) -> pb.RenewPolicyResponse:
        """Price one expiring policy's next year and store it as a quote; see the proto."""
        asked, violations = renewal_asked_of(request)
        _check_reads_months(asked)
        insurer = current_tenant().required_insurer()
        earlier = await self._earlier(request.request_id)
        if earlier is not None:
            return pb.RenewPolicyResponse(quote=_same(earlier, asked))
        own = await self._owned(insurer, asked.tariff)
        shelf = replace(self._shelf, book=book_with(self._shelf.book, own))
        ground = judged(shelf, asked, violations)
        start, rates = date.fromisoformat(asked.start_date), ground.rates
        cap = renewal_cap(self._shelf.cap, rates.tariff)
        incentive = await self._earned(ground, rates, start, cap)
        tier = ""
        if ground.programme is not None and incentive is not None:
            tier = ground.programme.tier_on(start, incentive.run_months)
        waterfall, renewal = priced_renewal(asked, rates, ground.features.values, tier)
        made = quoted(
            asked,
            rates,
            ground.features.values,
            waterfall,
            quote_id=uuid.uuid4().hex,
            request_id=current_tenant().own(request.request_id),
            created_us=microseconds(self._now()),
            incentive=incentive,
        )
        made = msgspec.structs.replace(made, renewal=renewal)
        kept = await run(self._database, self._quotes.add, insurer, made)
        return pb.RenewPolicyResponse(quote=_same(kept, asked))

    async def GetQuote(self, request: pb.GetQuoteRequest, context: Context) -> pb.GetQuoteResponse:
        """The stored quote, word for word as it was first given."""
        named = QUOTE.fullmatch(request.name)
        if named is None:
            text = "must read policies/{policy}/quotes/{quote}"
            raise invalid([Violation("name", "NOT_A_NAME", text)])
        found = await run(self._database, self._quotes.by_id, current_tenant(), named[1], named[2])
        if found is None:
            raise not_found("quote", request.name)
        return pb.GetQuoteResponse(quote=messages.quote(found))

    async def RecordReadings(
        self, request: pb.RecordReadingsRequest, context: Context
    ) -> pb.RecordReadingsResponse:
        """Keep readings, all or none, and raise a coach's task for each low glucose."""
        return await self._recorded(request, judge=request.validate_only)

    async def StreamReadings(
        self, request_iterator: AsyncIterator[pb.StreamReadingsRequest], context: Context
    ) -> AsyncIterator[pb.StreamReadingsResponse]:
        """Keep batch after batch as `RecordReadings` does, each answered once it is committed."""
        async for batch in request_iterator:
            answer = pb.StreamReadingsResponse(request_id=batch.request_id)
            try:
                answer.recorded.CopyFrom(await self._recorded(batch))
            except Refused as refused:
                if refused.code not in _OF_THE_CONTENT:
                    raise  # nothing that comes later may be recorded before this
                answer.fault.CopyFrom(messages.batch_fault(refused))
            yield answer

    async def SetPersonalTarget(
        self, request: pb.SetPersonalTargetRequest, context: Context
    ) -> pb.SetPersonalTargetResponse:
        """Keep a doctor's target of one measure for one member."""
        token, target, violations = target_of(request)
        if target is None:
            raise invalid(violations)
        _check_member(token)
        tenant = current_tenant()
        now = self._now()  # in UTC; some zone is a day behind
        try:
            await run(
                self._database,
                self._readings.set_target,
                tenant,
                tenant.own(request.request_id),
                token,
                target,
                microseconds(now),
                None if self._shelf.backfill else (now - timedelta(days=1)).date(),
            )
        except NotTheirs:
            raise not_found("member", "members/-") from None
        except StartsInThePast:
            text = "must not lie in the past: months that are over were judged without it"
            raise invalid([Violation("start_date", "IN_THE_PAST", text)]) from None
        return pb.SetPersonalTargetResponse()

    async def AssessMember(
        self, request: pb.AssessMemberRequest, context: Context
    ) -> pb.AssessMemberResponse:
        """Months, run and share by the readings known now. Stores nothing."""
        renewal = self._renewal_of(request.participation, request.renewal_date, [])
        found = await self._assessed(renewal.part, renewal.programme, renewal.day)
        member = request.participation.member
        return pb.AssessMemberResponse(incentive=messages.incentive(found, member))

    async def ClearFlag(
        self, request: pb.ClearFlagRequest, context: Context
    ) -> pb.ClearFlagResponse:
        """Keep what a person says of a flag that stands, and answer how the member stands then."""
        said, violations = clearing_of(request, by=current_caller().subject)
        renewal = self._renewal_of(request.participation, request.renewal_date, violations)
        tenant = current_tenant()
        request_id, token = tenant.own(request.request_id), renewal.part.member_token
        if not await run(self._database, self._clearings.is_known, request_id):
            before = await self._assessed(renewal.part, renewal.programme, renewal.day)
            if said.flag not in {flag.id for flag in before.flags}:
                raise not_found("flag", said.flag)
        try:
            now_us = microseconds(self._now())
            await run(self._database, self._clearings.add, tenant, request_id, token, said, now_us)
        except NotTakingPart:
            raise not_found("flag", said.flag) from None
        found = await self._assessed(renewal.part, renewal.programme, renewal.day)
        member = request.participation.member
        return pb.ClearFlagResponse(incentive=messages.incentive(found, member))

    async def RecordMedication(
        self, request: pb.RecordMedicationRequest, context: Context
    ) -> pb.RecordMedicationResponse:
        """Keep fills, openings and stays, all or none."""
        now, tenant = self._now(), current_tenant()
        events, violations = events_of(request, tenant.kind, now=now, backfill=self._shelf.backfill)
        if violations:
            raise invalid(violations)
        for entry in events:
            _check_member(entry.member_token)
        if request.validate_only:
            return pb.RecordMedicationResponse()
        request_id = tenant.own(request.request_id)
        try:
            done = await run(
                self._database,
                self._medication.record,
                tenant,
                request_id,
                events,
                microseconds(now),
            )
        except ReadingsDiffer as differ:
            raise events_differ(differ.places) from None
        return pb.RecordMedicationResponse(recorded_count=done.recorded, known_count=done.known)

    async def ListCoachTasks(
        self, request: pb.ListCoachTasksRequest, context: Context
    ) -> pb.ListCoachTasksResponse:
        """Coach's tasks of one member or of all, oldest first."""
        member = MEMBER_OR_ALL.fullmatch(request.parent)
        violations = []
        if member is None:
            text = "must read members/{token}, or members/- for all"
            violations.append(Violation("parent", "NOT_A_NAME", text))
        if request.page_size < 0:
            violations.append(Violation("page_size", "OUT_OF_RANGE", "must not be negative"))
        if violations or member is None:
            raise invalid(violations)
        tenant = current_tenant()
        kind = f"coach tasks {tenant.key} {request.parent}"
        after = number_in(request.page_token, kind)
        size = min(request.page_size or USUAL_PAGE, MOST_ON_PAGE)
        tasks = await run(
            self._database, self._readings.tasks_after, tenant, member[1], after, size
        )
        return pb.ListCoachTasksResponse(
            tasks=[messages.coach_task(task) for task in tasks],
            next_page_token=page_token(kind, str(tasks[-1].id)) if tasks.more else "",
        )

    async def EraseMember(
        self, request: pb.EraseMemberRequest, context: Context
    ) -> pb.EraseMemberResponse:
        """Destroy the keys of what the caller may erase of a person."""
        token, policies, violations = erasure_of(request)
        if policies and current_tenant().insurer is None:
            text = "belong to an insurer; leave them out"
            violations.append(Violation("policies", "DOES_NOT_FIT", text))
        if violations:
            raise invalid(violations)
        _check_member(token)
        try:
            erase = functools.partial(self._erasures.erase, dry_run=request.dry_run)
            done = await run(
                self._database,
                erase,
                current_tenant(),
                current_tenant().own(request.request_id),
                token,
                policies,
                microseconds(self._now()),
                done_by(),
            )
        except OtherErasure:
            raise request_id_reused() from None
        except NothingKept:
            raise not_found("member", "members/-") from None
        return pb.EraseMemberResponse(
            destroyed_key_count=done.keys,
            reading_count=done.readings,
            target_count=done.targets,
            coach_task_count=done.tasks,
            quote_count=done.quotes,
            medication_count=done.medications,
            clearing_count=done.clearings,
        )

    async def _recorded(
        self, request: pb.RecordReadingsRequest | pb.StreamReadingsRequest, *, judge: bool = False
    ) -> pb.RecordReadingsResponse:
        """Record the readings, or only judge them.

        Raises: Refused.
        """
        now = self._now()
        tenant = current_tenant()
        readings, violations = incoming_of(
            request, tenant.kind, now=now, backfill=self._shelf.backfill
        )
        if violations:
            raise invalid(violations)
        for entry in readings:
            _check_member(entry.member_token)
        if judge:
            return pb.RecordReadingsResponse()
        try:
            done = await run(
                self._database,
                self._readings.record,
                tenant,
                tenant.own(request.request_id),
                readings,
                self._low_glucose,
                microseconds(now),
            )
        except ReadingsDiffer as differ:
            found = differing(differ.places)
            raise Refused(
                grpc.StatusCode.ALREADY_EXISTS,
                "READING_DIFFERS",
                "; ".join(f"{v.field}: {v.text}" for v in found[:20]),
                violations=found,
            ) from None
        return pb.RecordReadingsResponse(
            recorded_count=done.recorded, known_count=done.known, coach_tasks=done.tasks
        )

    def _renewal_of(
        self, participation: pb.Participation, day: str, violations: list[Violation]
    ) -> _Renewal:
        """Whose renewal is asked about.

        Raises: Refused with every violation, these and those found here.
        """
        said = participation_of(participation)
        part, faults = part_of(said, day, "renewal_date")
        found = [*violations, *faults]
        renewal = day_of(day)
        if renewal is None:
            text = "must be a day of the calendar as YYYY-MM-DD"
            found.append(Violation("renewal_date", "BAD_DATE", text))
        programme = named_programme(self._shelf, said.programme, found)
        if found or part is None or programme is None or renewal is None:
            raise refusal(self._shelf, found)
        return _Renewal(part, programme, renewal)

    async def _earlier(self, request_id: str) -> Quote | None:
        if request_id_faults(request_id):
            return None
        return await run(self._database, self._quotes.by_request, current_tenant().own(request_id))

    async def _earned(
        self, ground: Ground, rates: Rates, start: date, cap: LegalCap | None
    ) -> Incentive | None:
        """What the person's readings earn by this tariff; None without a participation."""
        if ground.part is None or ground.programme is None:
            return None
        token, now_us = ground.part.member_token, microseconds(self._now())
        await run(self._database, self._readings.take_part, current_tenant(), token, now_us)
        person = Person(rates, ground.features.values)
        found = await self._assessed(ground.part, ground.programme, start, person)
        return msgspec.structs.replace(found, cap=cap)

    async def _assessed(
        self, part: Part, programme: Programme, renewal: date, person: Person | None = None
    ) -> Incentive:
        return await run(self._database, self._assessing.assessed, part, programme, renewal, person)

    def _low_glucose(self, incoming: Incoming) -> Measured | None:
        measured = measure(incoming.written)
        if isinstance(measured, list) or incoming.written.withdrawn:
            return None
        day = time_of(incoming.effective_us).date()
        return measured if self._shelf.programmes.is_low_glucose(measured, day) else None

    async def _owned(self, insurer: str, asked: str) -> Own:
        try:
            return await run(self._database, self._own.of, insurer, asked)
        except (TariffEdited, TariffRefused):
            raise edited() from None


def _check_member(token: str) -> None:
    """A member writes about themselves only; anybody else is as unknown as nobody.

    Raises: Refused.
    """
    if current_tenant().member not in (None, token):
        raise not_found("member", f"members/{token}")


def _check_reads_months(asked: Asked) -> None:
    """A premium with a participation tells how the months went.

    Raises: Refused.
    """
    if asked.participation is not None and not current_caller().roles & _READS_MONTHS:
        text = "your role reads no readings; ask as intake or chief actuary, or without one"
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED", text)


def _same(found: Quote, asked: Asked) -> pb.Quote:
    """The stored quote of a request_id, if it was asked for with the same words.

    Raises: Refused.
    """
    if found.asked != asked:
        raise request_id_reused()
    return messages.quote(found)
