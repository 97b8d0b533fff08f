"""TariffService over gRPC: reads requests, has the gates judged here, moves tariffs through life.

Trusts no client: content and evidence are judged anew at every step that leads to a price.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, ParamSpec, TypeVar

import grpc

from lipei.pricing.v1 import registry_pb2 as pb
from lipei.pricing.v1 import registry_pb2_grpc
from services.common.access.caller import current_caller
from services.common.access.tenant import Tenant, current_tenant
from services.common.database import Database
from services.common.grpc_edge import (
    Refused,
    Violation,
    invalid,
    not_found,
)
from services.common.page_tokens import number_in, page_token
from services.pricing import tariff_messages as messages
from services.pricing.core.evidence import Evidence, evidence_digest, evidence_from
from services.pricing.core.gates import Gate, all_passed, judge
from services.pricing.core.life_cycle import Event, NotAllowed, SamePerson, State
from services.pricing.core.rates import Rates
from services.pricing.core.routing import comparable
from services.pricing.core.tariff import (
    Tariff,
    canonical_bytes,
    tariff_from,
    version_of,
)
from services.pricing.judging import Shelf
from services.pricing.own_tariffs import OwnTariffs, TariffEdited, book_with
from services.pricing.serving import edited, microseconds, run
from services.pricing.storage.registry import (
    Act,
    NoSuchTariff,
    Proposed,
    Registered,
    RegistryStore,
    Routing,
    VersionsOverlap,
)
from services.pricing.tariff_requests import (
    act_faults,
    fingerprint,
    first_day_of,
    id_faults,
    name_faults,
    proposal_of,
    routing_faults,
)
from services.pricing.tariffs.loader import TariffRefused

P = ParamSpec("P")
R = TypeVar("R")
Context = grpc.aio.ServicerContext[Any, Any]
_Moving = (
    pb.ApproveTariffRequest
    | pb.RejectTariffRequest
    | pb.ActivateTariffRequest
    | pb.RetireTariffRequest
)

FULL_NAME = pb.DESCRIPTOR.services_by_name["TariffService"].full_name
USUAL_PAGE, MOST_ON_PAGE = 100, 1_000


class TariffServicer(registry_pb2_grpc.TariffServiceServicer):
    """Keeps insurers' tariffs and judges their gates. `now` is the only clock."""

    def __init__(
        self,
        shelf: Shelf,
        database: Database,
        store: RegistryStore,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._shelf = shelf
        self._database = database
        self._store = store
        self._own = OwnTariffs(store)
        self._now = now

    async def ProposeTariff(
        self, request: pb.ProposeTariffRequest, context: Context
    ) -> pb.ProposeTariffResponse:
        """Judge the gates and keep the tariff with its evidence; see the proto for every answer."""
        insurer = current_tenant().required_insurer()
        proposal, violations = proposal_of(request)
        if proposal is None:
            raise invalid(violations)
        if self._shelf.cap is None:
            raise _no_legal_cap()
        tariff, evidence = proposal.tariff, proposal.evidence
        gates = await self._run(self._judge, tariff, evidence)
        digest = evidence_digest(evidence)
        if request.dry_run:
            said = messages.described(tariff, version_of(tariff), digest)
            return pb.ProposeTariffResponse(tariff=said, gates=messages.gates(gates))
        _check_gates(gates)
        proposed = Proposed(
            version=version_of(tariff),
            tariff_id=tariff.id,
            content=canonical_bytes(tariff),
            evidence_sha256=digest,
            evidence=canonical_bytes(evidence),
        )
        try:
            kept = await self._run(self._store.propose, insurer, proposed, self._act(request))
        except SamePerson as same:
            raise _same_person(same) from None
        return pb.ProposeTariffResponse(
            tariff=messages.registered(kept), gates=messages.gates(gates)
        )

    async def GetTariff(
        self, request: pb.GetTariffRequest, context: Context
    ) -> pb.GetTariffResponse:
        """A tariff with everything that is kept of it."""
        kept, tariff, content = await self._kept(current_tenant(), request.name)
        evidence = evidence_from(content)
        gates = await self._run(self._judge, tariff, evidence)
        return pb.GetTariffResponse(
            tariff=messages.registered(kept),
            content=kept.content,
            evidence=content,
            gates=messages.gates(gates),
        )

    async def ListTariffs(
        self, request: pb.ListTariffsRequest, context: Context
    ) -> pb.ListTariffsResponse:
        """The insurer's tariffs, oldest first."""
        tenant = current_tenant()
        kind, position, size = _page(request, f"tariffs {tenant.key} {request.tariff_id}")
        page = await self._run(self._store.page, tenant, request.tariff_id, position, size)
        return pb.ListTariffsResponse(
            tariffs=[messages.registered(one) for one in page],
            next_page_token=page_token(kind, str(page[-1].id)) if page.more else "",
        )

    async def ApproveTariff(
        self, request: pb.ApproveTariffRequest, context: Context
    ) -> pb.ApproveTariffResponse:
        """One of two approvals, by somebody who has not proposed it."""
        kept = await self._moved(request, Event.APPROVE, judged=True)
        return pb.ApproveTariffResponse(tariff=messages.registered(kept))

    async def RejectTariff(
        self, request: pb.RejectTariffRequest, context: Context
    ) -> pb.RejectTariffResponse:
        """End a tariff that is not active."""
        kept = await self._moved(request, Event.REJECT, judged=False)
        return pb.RejectTariffResponse(tariff=messages.registered(kept))

    async def ActivateTariff(
        self, request: pb.ActivateTariffRequest, context: Context
    ) -> pb.ActivateTariffResponse:
        """Let an approved tariff price from a day on."""
        kept = await self._moved(request, Event.ACTIVATE, judged=True)
        return pb.ActivateTariffResponse(tariff=messages.registered(kept))

    async def RetireTariff(
        self, request: pb.RetireTariffRequest, context: Context
    ) -> pb.RetireTariffResponse:
        """Take an active tariff out of use at once."""
        kept = await self._moved(request, Event.RETIRE, judged=False)
        return pb.RetireTariffResponse(tariff=messages.registered(kept))

    async def SetRouting(
        self, request: pb.SetRoutingRequest, context: Context
    ) -> pb.SetRoutingResponse:
        """Set or end the experiment under an id."""
        insurer = current_tenant().required_insurer()
        violations = routing_faults(request)
        if violations:
            raise invalid(violations)
        if request.challenger:
            kept, challenger, _ = await self._kept(current_tenant(), request.challenger)
            champion = await self._champion(insurer, request.tariff_id)
            _check_challenger(kept, request.tariff_id)
            if champion.version == kept.version or not comparable(champion.tariff, challenger):
                raise Refused(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    "FEATURES_DIFFER",
                    "a challenger is another tariff that asks for the same features, with the same "
                    "outcomes, in the same currency",
                )
        wanted = Routing(
            tariff_id=request.tariff_id,
            challenger=request.challenger or None,
            share_millionths=request.share_millionths,
            salt=request.salt,
            shadow=request.shadow,
            actor=current_caller().subject,
            reason=request.reason,
            at_us=0,
        )
        made = await self._run(self._store.route, insurer, wanted, self._act(request))
        return pb.SetRoutingResponse(routing=messages.routing(made))

    async def GetRouting(
        self, request: pb.GetRoutingRequest, context: Context
    ) -> pb.GetRoutingResponse:
        """The experiments under an id, the one that holds first."""
        if violations := id_faults(request.tariff_id):
            raise invalid(violations)
        found = await self._run(self._store.routings, current_tenant(), request.tariff_id)
        if not found:
            raise not_found("routing", request.tariff_id)
        return pb.GetRoutingResponse(routings=[messages.routing(one) for one in found])

    async def ListShadowQuotes(
        self, request: pb.ListShadowQuotesRequest, context: Context
    ) -> pb.ListShadowQuotesResponse:
        """What a challenger would have charged beside what was charged."""
        tenant = current_tenant()
        insurer = tenant.required_insurer()
        kind, position, size = _page(request, f"shadow quotes {tenant.key} {request.tariff_id}")
        page = await self._run(self._store.shadows, insurer, request.tariff_id, position, size)
        return pb.ListShadowQuotesResponse(
            quotes=[messages.shadow_quote(one) for one in page],
            next_page_token=page_token(kind, str(page[-1].id)) if page.more else "",
        )

    async def _moved(self, request: _Moving, event: Event, *, judged: bool) -> Registered:
        insurer = current_tenant().required_insurer()
        violations = act_faults(request)
        first = None
        if isinstance(request, pb.ActivateTariffRequest):
            first, faults = first_day_of(request, self._now().date())
            violations += faults
        if violations:
            raise invalid(violations)
        act = self._act(request)
        earlier = await self._run(self._store.done, insurer, act)
        if earlier is not None:
            return earlier
        kept, tariff, evidence = await self._kept(current_tenant(), request.name)
        try:
            days = None if first is None else _days(tariff, first)
            if judged:
                _check_gates(await self._run(self._judge, tariff, evidence_from(evidence)))
            return await self._run(self._store.move, insurer, kept.version, event, act, days)
        except NotAllowed as not_now:
            raise _wrong_state(str(not_now)) from None
        except SamePerson as same:
            raise _same_person(same) from None
        except VersionsOverlap as overlap:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                "VERSIONS_OVERLAP",
                "a version of this id begins on that day or later; retire it, or name a later day",
                metadata={"version": overlap.version},
            ) from None

    async def _kept(self, tenant: Tenant, name: str) -> tuple[Registered, Tariff, bytes]:
        """A tariff of the tenant's, whose content is what its name says, and its evidence.

        Raises: Refused.
        """
        if faults := name_faults("name", name):
            raise invalid(faults)
        found = await self._run(self._store.named, tenant, name)
        if found is None:
            raise not_found("tariff", name)
        kept, evidence = found
        try:
            tariff = tariff_from(kept.content)
            if version_of(tariff) != name:
                raise edited()
            if evidence_digest(evidence_from(evidence)) != kept.evidence_sha256:
                raise edited()
        except ValueError:  # msgspec's are
            raise edited() from None
        return kept, tariff, evidence

    async def _champion(self, insurer: str, tariff_id: str) -> Rates:
        try:
            own = await self._run(self._own.of, insurer, tariff_id)
        except (TariffEdited, TariffRefused):
            raise edited() from None
        today = self._now().date()
        book = book_with(self._shelf.book, own)
        try:
            return book.on(tariff_id, today)
        except LookupError:
            raise _wrong_state("no tariff of this id is active today") from None

    def _judge(self, tariff: Tariff, evidence: Evidence) -> tuple[Gate, ...]:
        return judge(tariff, evidence, self._shelf.bans, self._shelf.cap)

    def _act(self, request: _Moving | pb.ProposeTariffRequest | pb.SetRoutingRequest) -> Act:
        return Act(
            actor=current_caller().subject,
            reason=request.reason,
            request_id=current_tenant().own(request.request_id),
            fingerprint=fingerprint(request),
            at_us=microseconds(self._now()),
        )

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await run(self._database, work, *args, **kwargs)
        except NoSuchTariff as missing:
            raise not_found("tariff", str(missing)) from None


def _days(tariff: Tariff, first: date) -> tuple[date, date | None]:
    """The days of an activation, which the tariff itself must allow.

    Raises: Refused.
    """
    last = tariff.valid_last
    if first < tariff.valid_first or (last is not None and last < first):
        until = "" if last is None else f" to {last}"
        text = f"the tariff is valid from {tariff.valid_first}{until}; name a day of it"
        raise invalid([Violation("first_date", "OUT_OF_RANGE", text)])
    return first, last


def _check_gates(gates: tuple[Gate, ...]) -> None:
    """Raises: Refused when one is not passed."""
    if all_passed(gates):
        return
    violations = messages.gate_violations(gates)
    raise Refused(
        grpc.StatusCode.FAILED_PRECONDITION,
        "GATES_FAILED",
        "; ".join(f"{one.field}: {one.text}" for one in violations[:5]),
        violations=violations,
    )


def _check_challenger(kept: Registered, tariff_id: str) -> None:
    """Raises: Refused unless two people have approved it, and it is no active one of this id."""
    if kept.state is State.APPROVED:
        return
    if kept.state is State.ACTIVE and kept.tariff_id != tariff_id:
        return
    text = "a challenger is approved, or active under another id"
    raise _wrong_state(text)


def _same_person(same: SamePerson) -> Refused:
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, "SAME_PERSON", str(same))


def _wrong_state(text: str) -> Refused:
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE", text)


def _no_legal_cap() -> Refused:
    return Refused(
        grpc.StatusCode.FAILED_PRECONDITION,
        "NO_LEGAL_CAP",
        "no legal cap for credits is set; have the operator set LIPEI_PRICING_CREDIT_CAP and "
        "LIPEI_PRICING_CREDIT_CAP_SOURCE",
    )


def _page(
    request: pb.ListTariffsRequest | pb.ListShadowQuotesRequest, kind: str
) -> tuple[str, int, int]:
    """The list's kind, the number after which it goes on, and the page's size.

    Raises: Refused.
    """
    violations = id_faults(request.tariff_id) if request.tariff_id else []
    if request.page_size < 0:
        violations.append(Violation("page_size", "OUT_OF_RANGE", "must not be negative"))
    if violations:
        raise invalid(violations)
    after = number_in(request.page_token, kind)
    return kind, after, min(request.page_size or USUAL_PAGE, MOST_ON_PAGE)
