"""ProviderService: whom an insurer knows; prices and accounts that it has agreed with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import grpc
import msgspec
from sqlalchemy import Row

from lipei.claims.v1 import provider_pb2 as pb
from lipei.claims.v1 import provider_pb2_grpc
from services.claims import second_word
from services.claims.desk import Desk
from services.claims.known_providers import PROVIDER_ID, registered
from services.claims.messages import timestamp
from services.claims.payouts.iso20022 import Party, party_faults
from services.claims.plans.price_list import (
    ProviderPrices,
    load_price_list,
    price_list_bytes,
    price_list_hash,
)
from services.claims.policy_intake import POSSIBLE_DAYS, possible_day
from services.claims.serving import ClaimsParts, Context, key_of, once
from services.claims.storage import known_providers as register
from services.claims.storage import providers as store
from services.claims.storage.known_providers import Period
from services.claims.storage.request_log import RequestKey
from services.claims.storage.sweeping import retry_provider
from services.common.access.caller import current_caller
from services.common.access.tenant import current_tenant
from services.common.database import take_turns
from services.common.grpc_edge import (
    Refused,
    Violation,
    invalid,
    not_found,
)
from services.common.page_tokens import number_in, page_token
from services.common.request_id import request_id_faults
from services.common.strict_yaml import MAX_BYTES, StrictYamlError

DEFAULT_PAGE, LARGEST_PAGE = 100, 500
MOST_NOTE = 500
_NAME = re.compile(r"providerAccounts/([0-9a-f]{32})", re.ASCII)
_DAY = timedelta(days=1)
# Beyond every row's number.
_NEWEST = 10**18 - 1
_STATES = {
    None: pb.PROVIDER_ACCOUNT_STATE_PROPOSED,
    1: pb.PROVIDER_ACCOUNT_STATE_CONFIRMED,
    0: pb.PROVIDER_ACCOUNT_STATE_REJECTED,
}


class ProviderServicer(provider_pb2_grpc.ProviderServiceServicer):
    """Each call is one transaction that is safe to repeat. Opens no account."""

    def __init__(self, parts: ClaimsParts) -> None:
        self._parts = parts
        self._database = parts.database

    async def RegisterProviders(
        self, request: pb.RegisterProvidersRequest, context: Context
    ) -> pb.RegisterProvidersResponse:
        """Providers with the days on which the insurer knows them."""
        faults = request_id_faults(request.request_id)
        told = registered(request)
        if isinstance(told, list):
            faults += told
        if faults or isinstance(told, list):
            raise invalid(faults)
        return await self._database.run(self._register, request, told)

    def _register(
        self, request: pb.RegisterProvidersRequest, told: dict[str, list[Period]]
    ) -> pb.RegisterProvidersResponse:
        insurer = current_tenant().required_insurer()

        def answer(desk: Desk) -> pb.RegisterProvidersResponse:
            first = not register.keeps_register(desk.connection, insurer)
            return pb.RegisterProvidersResponse(provider_count=len(told), first=first)

        def work(desk: Desk) -> pb.RegisterProvidersResponse:
            take_turns(desk.connection, f"register of providers {insurer}")
            made = answer(desk)
            register.register(desk.connection, insurer, told, desk.at_us)
            return made

        if request.dry_run:
            with self._parts.reading() as desk:
                return answer(desk)
        with self._parts.writing() as desk:
            key = key_of("RegisterProviders", request)
            return once(desk, key, work, pb.RegisterProvidersResponse)

    async def ListProviders(
        self, request: pb.ListProvidersRequest, context: Context
    ) -> pb.ListProvidersResponse:
        """A page of the register, what was said last first."""
        kind = f"providers {current_tenant().key} {request.provider_id}"
        before, most = _page(request, kind)
        rows = await self._database.run(
            self._page_of, register.list_register, request.provider_id, before, most
        )
        answer = pb.ListProvidersResponse(providers=map(_known, rows))
        if len(rows) == most:
            answer.next_page_token = page_token(kind, str(rows[-1].seq))
        return answer

    async def ImportPriceList(
        self, request: pb.ImportPriceListRequest, context: Context
    ) -> pb.ImportPriceListResponse:
        """A provider's prices in the place of those before."""
        faults = request_id_faults(request.request_id)
        if len(request.yaml) > MAX_BYTES:
            faults.append(Violation("yaml", "TOO_LONG", f"at most {MAX_BYTES} bytes"))
            raise invalid(faults)
        try:
            made = await self._database.run(load_price_list, request.yaml, "yaml")
        except StrictYamlError as error:
            faults += [Violation(f"yaml:{f.line} {f.path}", f.reason, f.text) for f in error.faults]
            raise invalid(faults) from None
        if not PROVIDER_ID.fullmatch(made.provider_id):
            text = "must be 1 to 128 visible ASCII characters"
            faults.append(Violation("yaml provider", "MALFORMED", text))
        if faults:
            raise invalid(faults)
        return await self._database.run(self._import, request, made)

    def _import(
        self, request: pb.ImportPriceListRequest, made: ProviderPrices
    ) -> pb.ImportPriceListResponse:
        digest, insurer = price_list_hash(made), current_tenant().required_insurer()
        answer = pb.ImportPriceListResponse(
            provider_id=made.provider_id, price_count=len(made.prices), price_list_hash=digest
        )
        if request.dry_run:
            return answer

        def work(desk: Desk) -> pb.ImportPriceListResponse:
            take_turns(desk.connection, f"price list {insurer} {made.provider_id}")
            store.store_price_list(
                desk.connection,
                insurer=insurer,
                provider_id=made.provider_id,
                currency=made.currency,
                digest=digest,
                content=price_list_bytes(made),
                at_us=desk.at_us,
            )
            return answer

        key = RequestKey("ImportPriceList", request.request_id, digest)
        with self._parts.writing() as desk:
            return once(desk, key, work, pb.ImportPriceListResponse)

    async def ProposeProviderAccount(
        self, request: pb.ProposeProviderAccountRequest, context: Context
    ) -> pb.ProposeProviderAccountResponse:
        """An account for a second person to confirm."""
        faults = request_id_faults(request.request_id)
        if not PROVIDER_ID.fullmatch(request.provider_id):
            text = "must be 1 to 128 visible ASCII characters"
            faults.append(Violation("provider_id", "MALFORMED", text))
        for fault in party_faults(_party(request), "account"):
            faults.append(Violation(fault.path, fault.reason, fault.text))
        if possible_day(request.account.valid_from) is None:
            faults.append(Violation("account.valid_from", "IMPOSSIBLE_DATE", POSSIBLE_DAYS))
        if faults:
            raise invalid(faults)
        return await self._database.run(self._propose, request)

    def _propose(
        self, request: pb.ProposeProviderAccountRequest
    ) -> pb.ProposeProviderAccountResponse:
        insurer = current_tenant().required_insurer()
        valid_from = possible_day(request.account.valid_from)
        assert valid_from is not None  # noqa: S101 - it was checked before

        def work(desk: Desk) -> pb.ProposeProviderAccountResponse:
            account_id = store.propose_account(
                desk.connection,
                desk.sealer,
                insurer=insurer,
                provider_id=request.provider_id,
                valid_from=valid_from,
                plain=msgspec.json.encode(_party(request)),
                actor=current_caller().subject,
                at_us=desk.at_us,
            )
            row = store.find_account(desk.connection, insurer, account_id)
            return pb.ProposeProviderAccountResponse(account=_message(row))

        key = key_of("ProposeProviderAccount", request)
        with self._parts.writing() as desk:
            return once(desk, key, work, pb.ProposeProviderAccountResponse)

    async def ConfirmProviderAccount(
        self, request: pb.ConfirmProviderAccountRequest, context: Context
    ) -> pb.ConfirmProviderAccountResponse:
        """A second person's word on an account."""
        faults = request_id_faults(request.request_id)
        if not _NAME.fullmatch(request.name):
            faults.append(Violation("name", "MALFORMED", 'must be "providerAccounts/{account}"'))
        if len(request.note) > MOST_NOTE:
            faults.append(Violation("note", "TOO_LONG", f"at most {MOST_NOTE} characters"))
        if request.note and not request.reject:
            faults.append(Violation("note", "UNEXPECTED", "only a rejection says why"))
        if not request.reject and not request.account_number.strip():
            text = "state the account's number as the provider told it to you"
            faults.append(Violation("account_number", "MISSING", text))
        if faults:
            raise invalid(faults)
        return await self._database.run(self._confirm, request)

    def _confirm(
        self, request: pb.ConfirmProviderAccountRequest
    ) -> pb.ConfirmProviderAccountResponse:
        insurer = current_tenant().required_insurer()
        account_id, person = request.name.removeprefix(_PREFIX), current_caller().subject

        def work(desk: Desk) -> pb.ConfirmProviderAccountResponse:
            connection, at_us = desk.connection, desk.at_us
            take_turns(connection, request.name)
            found = store.find_account(connection, insurer, account_id)
            if found is None:
                raise not_found("account", request.name)
            if found.confirmed is not None:
                raise _refused("DECIDED_ALREADY", "it was confirmed, rejected or withdrawn before")
            own = found.actor == person
            if own and not request.reject:
                raise _refused("SAME_PERSON", "somebody else must confirm an account")
            if not own:
                second_word.check_role(second_word.OF_ACCOUNTS)
                second_word.check_why(reject=request.reject, note=request.note)
            if not request.reject:
                _compare(store.opened(desk.sealer, found, insurer), request.account_number)
            store.say_of_account(
                connection,
                account_id,
                confirmed=not request.reject,
                actor=person,
                note=request.note,
                at_us=at_us,
            )
            if not request.reject:
                retry_provider(connection, insurer, found.provider_id, at_us)
            row = store.find_account(connection, insurer, account_id)
            return pb.ConfirmProviderAccountResponse(account=_message(row))

        key = key_of("ConfirmProviderAccount", request)
        with self._parts.writing() as desk:
            return once(desk, key, work, pb.ConfirmProviderAccountResponse)

    async def ListProviderAccounts(
        self, request: pb.ListProviderAccountsRequest, context: Context
    ) -> pb.ListProviderAccountsResponse:
        """A page of accounts, newest first."""
        kind = f"provider accounts {current_tenant().key} {request.provider_id}"
        before, most = _page(request, kind)
        rows = await self._database.run(
            self._page_of, store.list_accounts, request.provider_id, before, most
        )
        answer = pb.ListProviderAccountsResponse(accounts=map(_message, rows))
        if len(rows) == most:
            answer.next_page_token = page_token(kind, str(rows[-1].seq))
        return answer

    def _page_of(
        self, rows: Callable[..., Sequence[Row[Any]]], provider_id: str, before: int, most: int
    ) -> list[Row[Any]]:
        tenant = current_tenant()
        with self._database.reading() as connection:
            return list(rows(connection, tenant.insurer, provider_id, before=before, most=most))


_PREFIX = "providerAccounts/"


def _page(
    request: pb.ListProvidersRequest | pb.ListProviderAccountsRequest, kind: str
) -> tuple[int, int]:
    """The row before which a page begins, and how many rows it has."""
    faults = []
    if request.provider_id and not PROVIDER_ID.fullmatch(request.provider_id):
        text = "must be 1 to 128 visible ASCII characters, or empty for all"
        faults.append(Violation("provider_id", "MALFORMED", text))
    if request.page_size < 0:
        faults.append(Violation("page_size", "NEGATIVE", "must not be negative"))
    if faults:
        raise invalid(faults)
    most = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
    return number_in(request.page_token, kind, first=_NEWEST), most


def _known(row: Any) -> pb.KnownProvider:
    end = "" if row.end_day is None else (date.fromisoformat(row.end_day) - _DAY).isoformat()
    return pb.KnownProvider(provider_id=row.provider_id, first_day=row.start_day, last_day=end)


def _party(request: pb.ProposeProviderAccountRequest) -> Party:
    account = request.account
    return Party(
        holder_name=account.holder_name.strip(),
        account_number=account.account_number,
        bank_code=account.bank_code,
    )


def _compare(plain: bytes, number: str) -> None:
    """Raises: Refused when an account has another number, which is told to nobody."""
    if msgspec.json.decode(plain, type=Party).account_number != "".join(number.split()):
        text = "the account has another number than you have; find out whose it is, and reject it"
        raise _refused("ACCOUNT_DIFFERS", text)


def _message(row: Any) -> pb.ProviderAccount:
    withdrawn = row.confirmed == 0 and row.decider == row.actor
    return pb.ProviderAccount(
        name=_PREFIX + row.id,
        provider_id=row.provider_id,
        valid_from=row.valid_from,
        state=pb.PROVIDER_ACCOUNT_STATE_WITHDRAWN if withdrawn else _STATES[row.confirmed],
        propose_time=timestamp(row.at_us),
        proposer=row.actor,
        decider=row.decider or "",
        note=row.note or "",
    )


def _refused(reason: str, text: str) -> Refused:
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, reason, text)
