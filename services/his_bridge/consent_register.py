"""ConsentService: the hospital's register of consents. Docs and status codes stand in the proto."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Any

import grpc
from sqlalchemy import Connection

from lipei.his_bridge.v1 import consent_pb2 as pb
from lipei.his_bridge.v1.consent_pb2_grpc import ConsentServiceServicer
from services.common.access.tenant import Kind, current_tenant
from services.common.database import Database
from services.common.grpc_edge import Refused, Violation, invalid, not_found
from services.common.identity import is_member_token
from services.common.page_tokens import number_in
from services.common.refusals import request_id_reused
from services.common.request_id import request_id_faults
from services.common.sealing import Sealer, SubjectKeys
from services.his_bridge import consent_messages as messages
from services.his_bridge.consent_requests import (
    CONSENT,
    MOST_TOLD,
    evidence_of,
    granted_many,
    granted_one,
    withdrawn_when,
)
from services.his_bridge.core.consent import Consent, Terms, Withdrawn, ended_with
from services.his_bridge.queries import Queries
from services.his_bridge.requests import (
    HOSPITAL,
    below,
    next_token,
    not_a_name,
    page_size,
    page_size_faults,
)
from services.his_bridge.storage import consents as store
from services.his_bridge.storage import holding
from services.his_bridge.storage.consents import KeptConsent
from services.his_bridge.storage.sealed import known_members

MOST_ON_PAGE = 500
Context = grpc.aio.ServicerContext[Any, Any]


class ConsentServicer(ConsentServiceServicer):
    """Records what people did with their consents, and lets it have its effect at once."""

    def __init__(
        self,
        database: Database,
        keys: SubjectKeys,
        hospitals: Collection[str],
        now_us: Callable[[], int],
    ) -> None:
        self._database = database
        self._keys = keys
        self._queries = Queries(database, keys)
        self._hospitals = hospitals
        self._now_us = now_us

    async def GrantConsent(
        self, request: pb.GrantConsentRequest, context: Context
    ) -> pb.GrantConsentResponse:
        """Record one consent; what waited for it is read by the next pull."""
        terms, faults = granted_one(request, uuid.uuid4().hex)
        member = current_tenant().member
        if member is not None and request.consent_id:
            text = "must be left out: names are the hospital's to give"
            faults.append(Violation("consent_id", "NOT_ALLOWED", text))
        hospital = self._parent(request.parent, faults)
        if member is not None and terms.member_token != member:
            raise not_found("member", request.parent)
        return await self._database.run(self._grant_one, hospital, terms, request)

    def _grant_one(
        self, hospital: str, terms: Terms, request: pb.GrantConsentRequest
    ) -> pb.GrantConsentResponse:
        now_us = self._now_us()

        def work(connection: Connection) -> bytes:
            self._record(connection, hospital, [terms], ("consent_id",), now_us)
            return terms.consent_id.encode()

        with self._database.writing() as connection:
            consent_id = self._once(connection, hospital, "GrantConsent", request, work).decode()
            kept = store.consent_named(
                connection, self._keys.sealer(connection), hospital, consent_id
            )
            assert kept is not None  # noqa: S101 - recorded just now, or before under this request
            return pb.GrantConsentResponse(consent=messages.consent(kept, now_us))

    async def GrantConsents(
        self, request: pb.GrantConsentsRequest, context: Context
    ) -> pb.GrantConsentsResponse:
        """Record many, all or none."""
        given, faults = granted_many(request)
        hospital = self._parent(request.parent, faults)
        return await self._database.run(self._grant_many, hospital, given, request)

    def _grant_many(
        self, hospital: str, given: list[Terms], request: pb.GrantConsentsRequest
    ) -> pb.GrantConsentsResponse:
        places = [f"consents[{index}].name" for index in range(len(given))]

        def work(connection: Connection) -> bytes:
            new = self._record(connection, hospital, given, places, self._now_us())
            answer = pb.GrantConsentsResponse(
                granted_count=len(new), known_count=len(given) - len(new)
            )
            return answer.SerializeToString()

        try:
            with self._database.writing() as connection:
                if request.dry_run:
                    holding.one_at_a_time(connection, hospital)
                    raise _DryRun(work(connection))
                answer = self._once(connection, hospital, "GrantConsents", request, work)
        except _DryRun as would:
            answer = would.answer
        return pb.GrantConsentsResponse.FromString(answer)

    def _record(
        self,
        connection: Connection,
        hospital: str,
        given: Sequence[Terms],
        places: Sequence[str],
        now_us: int,
    ) -> list[Terms]:
        try:
            sealer = self._keys.sealer(connection)
            new = store.grant(connection, sealer, hospital, given, now_us=now_us)
        except store.OtherContent as known:
            text = "was given to another consent; use a new one"
            by_id = {terms.consent_id: place for terms, place in zip(given, places, strict=True)}
            raise Refused(
                grpc.StatusCode.ALREADY_EXISTS,
                "CONSENT_DIFFERS",
                "a consent of this id was recorded with other content; nothing is recorded",
                violations=[
                    Violation(by_id[consent_id], "CONSENT_DIFFERS", text)
                    for consent_id in known.consent_ids
                ],
            ) from None
        _take_effect(connection, sealer, hospital, new, now_us)
        return new

    async def WithdrawConsent(
        self, request: pb.WithdrawConsentRequest, context: Context
    ) -> pb.WithdrawConsentResponse:
        """Record a withdrawal; nothing that rests on it alone is handed out from here on."""
        when_us, faults = withdrawn_when(request, self._now_us())
        hospital, consent_id = self._named(request.name, faults)
        event = Withdrawn(
            consent_id=consent_id,
            withdrawn_us=when_us,
            evidence=evidence_of(request.evidence) if request.HasField("evidence") else None,
        )
        return await self._database.run(self._withdraw, hospital, event, request)

    def _withdraw(
        self, hospital: str, event: Withdrawn, request: pb.WithdrawConsentRequest
    ) -> pb.WithdrawConsentResponse:
        now_us = self._now_us()

        def work(connection: Connection) -> bytes:
            # What nobody knows yet is nobody's: a person cannot withdraw it, the hospital can.
            may_miss = request.allow_missing and current_tenant().member is None
            sealer = self._keys.sealer(connection)
            if _found(connection, sealer, hospital, event.consent_id) is None and not may_miss:
                raise not_found("consent", request.name)
            kept = store.withdraw(connection, sealer, hospital, event, now_us=now_us)
            if kept is not None and kept.consent is not None:
                _take_effect(connection, sealer, hospital, [kept.consent.terms], now_us)
            return b""

        with self._database.writing() as connection:
            self._once(connection, hospital, "WithdrawConsent", request, work)
            kept = _found(connection, self._keys.sealer(connection), hospital, event.consent_id)
            if kept is None:
                return pb.WithdrawConsentResponse(consent=pb.Consent(name=request.name))
            return pb.WithdrawConsentResponse(consent=messages.consent(kept, now_us))

    async def GetConsent(
        self, request: pb.GetConsentRequest, context: Context
    ) -> pb.GetConsentResponse:
        """One consent with its history."""
        hospital, consent_id = self._named(request.name, [])
        found = await self._queries.opened(_with_history, hospital, consent_id)
        if found is None:
            raise not_found("consent", request.name)
        kept, history = found
        return pb.GetConsentResponse(consent=messages.consent(kept, self._now_us(), history))

    async def ListConsents(
        self, request: pb.ListConsentsRequest, context: Context
    ) -> pb.ListConsentsResponse:
        """Consents, oldest record first."""
        faults = page_size_faults(request.page_size)
        if request.member_token and not is_member_token(request.member_token):
            text = 'must be "{key version}.{64 hex digits}", or left out'
            faults.append(Violation("member_token", "MALFORMED", text))
        hospital = self._parent(request.parent, faults)
        tenant = current_tenant()
        kind = f"consents {tenant.key} {request.parent} {request.member_token}"
        size = page_size(request.page_size, MOST_ON_PAGE)
        after = number_in(request.page_token, kind)
        member = request.member_token or tenant.member
        if tenant.member not in (None, member):
            return pb.ListConsentsResponse()  # as of somebody who has given none
        rows = await self._queries.opened(store.consents_after, hospital, after, size, member)
        now_us = self._now_us()
        return pb.ListConsentsResponse(
            consents=[messages.consent(row, now_us) for row in rows],
            next_page_token=next_token(rows, kind, more=rows.more),
        )

    async def ListWithdrawals(
        self, request: pb.ListWithdrawalsRequest, context: Context
    ) -> pb.ListWithdrawalsResponse:
        """Withdrawals that the recipient was not told of."""
        hospital = self._parent(request.parent, page_size_faults(request.page_size))
        most = page_size(request.page_size, MOST_ON_PAGE)
        found = await self._queries.opened(_to_tell, hospital, most, self._now_us())
        return pb.ListWithdrawalsResponse(
            withdrawals=[messages.withdrawal(kept, ended) for kept, ended in found]
        )

    async def AcknowledgeWithdrawals(
        self, request: pb.AcknowledgeWithdrawalsRequest, context: Context
    ) -> pb.AcknowledgeWithdrawalsResponse:
        """Record that the recipient knows, all or none."""
        faults = request_id_faults(request.request_id)
        if not 1 <= len(request.consents) <= MOST_TOLD:
            faults.append(Violation("consents", "COUNT", f"must hold 1 to {MOST_TOLD}"))
        ids = []
        for index, name in enumerate(request.consents[:MOST_TOLD]):
            named = CONSENT.fullmatch(name)
            if named is None or f"hospitals/{named[1]}" != request.parent:
                form = below(request.parent, "consents/{consent}")
                faults.append(not_a_name(f"consents[{index}]", form))
            else:
                ids.append(named[2])
        hospital = self._parent(request.parent, faults)
        unknown = await self._database.run(self._told, hospital, ids)
        if unknown:
            raise not_found("withdrawal", f"hospitals/{hospital}/consents/{unknown[0]}")
        return pb.AcknowledgeWithdrawalsResponse()

    def _told(self, hospital: str, consent_ids: list[str]) -> list[str]:
        with self._database.writing() as connection:
            return store.told(connection, hospital, consent_ids, now_us=self._now_us())

    def _once(
        self,
        connection: Connection,
        hospital: str,
        method: str,
        request: Any,
        work: Callable[[Connection], bytes],
    ) -> bytes:
        """Do the work, or answer as it was answered before to the same request."""
        request_id = current_tenant().own(request.request_id)
        body = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        try:
            sealer = self._keys.sealer(connection)
            known = store.answered(connection, sealer, hospital, method, request_id, body)
        except store.OtherContent:
            raise request_id_reused() from None
        if known is not None:
            return known
        answer = work(connection)
        store.remember_answer(
            connection,
            sealer,
            hospital,
            method,
            request_id,
            body,
            answer,
            now_us=self._now_us(),
        )
        return answer

    def _parent(self, name: str, faults: list[Violation]) -> str:
        named = HOSPITAL.fullmatch(name)
        if named is None:
            faults.append(not_a_name("parent", "hospitals/{hospital}"))
        if faults or named is None:
            raise invalid(faults)
        if not self._is_mine(named[1]):
            raise not_found("hospital", name)
        return named[1]

    def _is_mine(self, hospital: str) -> bool:
        """Whether the hospital exists for the caller: a hospital knows itself, a person each."""
        tenant = current_tenant()
        # A member looks for their own consents at any hospital of this bridge.
        anywhere = tenant.kind in (Kind.INSTALLATION, Kind.MEMBER)
        return hospital in self._hospitals and (anywhere or tenant.hospital == hospital)

    def _named(self, name: str, faults: list[Violation]) -> tuple[str, str]:
        named = CONSENT.fullmatch(name)
        if named is None and not faults:
            faults.append(not_a_name("name", "hospitals/{hospital}/consents/{consent}"))
        if faults or named is None:
            raise invalid(faults)
        if not self._is_mine(named[1]):
            raise not_found("hospital", f"hospitals/{named[1]}")
        return named[1], named[2]


class _DryRun(Exception):
    """Ends the transaction of a dry run; `answer` is what it would have answered."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("dry run")
        self.answer = answer


def _take_effect(
    connection: Connection, sealer: Sealer, hospital: str, changed: Sequence[Terms], now_us: int
) -> None:
    for channel, purpose in holding.PURPOSES.items():
        mine = [terms for terms in changed if terms.purpose is purpose]
        for recipient in {terms.recipient for terms in mine}:
            tokens = {terms.member_token for terms in mine if terms.recipient == recipient}
            people = known_members(connection, sealer, hospital, tokens).values()
            holding.apply(
                connection, sealer, hospital, recipient, channel, set(people), now_us=now_us
            )


def _found(
    connection: Connection, sealer: Sealer, hospital: str, consent_id: str
) -> KeptConsent | None:
    """A consent, as far as it exists for the caller: a person sees their own."""
    kept = store.consent_named(connection, sealer, hospital, consent_id)
    member = current_tenant().member
    if kept is None or member is None:
        return kept
    return kept if kept.consent and kept.consent.terms.member_token == member else None


def _with_history(connection: Connection, sealer: Sealer, hospital: str, consent_id: str) -> Any:
    kept = _found(connection, sealer, hospital, consent_id)
    if kept is None:
        return None
    return kept, store.history_of(connection, sealer, hospital, consent_id)


def _to_tell(
    connection: Connection, sealer: Sealer, hospital: str, most: int, now_us: int
) -> list[tuple[KeptConsent, tuple[str, ...]]]:
    known: dict[str, list[Consent]] = {}
    found = []
    for kept in store.withdrawals_to_tell(connection, sealer, hospital, most):
        member = kept.row.member
        if member not in known:
            known[member] = store.consents_of(connection, sealer, hospital, member)
        found.append((kept, ended_with(known[member], kept.row.consent_id, now_us)))
    return found
