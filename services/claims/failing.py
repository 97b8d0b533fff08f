"""Keeps account of the bills at which claims itself failed, so that the insurer's team sees them.

The hospital's worker tries such a bill again and again and tells its hospital; whoever mends claims
would have nothing but a line of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from lipei.claims.v1 import claims_pb2 as pb
from lipei.type.v1 import bill_pb2
from services.claims.desk import Desk
from services.claims.intake import hospital_of
from services.claims.messages import timestamp
from services.claims.serving import ClaimsParts, Context
from services.claims.storage import failing_bills as store
from services.common.access.tenant import Tenant, current_tenant
from services.common.grpc_edge import Refused, Violation, invalid, remaining_s
from services.common.log import logger
from services.common.page_tokens import number_in, page_token

DEFAULT_PAGE, LARGEST_PAGE = 100, 500
# Says nothing of the bill: it comes again, and may fail as before.
_COMES_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}
_LONGEST_FAULT = 80
_ON_ITS_WAY_S = 0.5
HANGS = grpc.StatusCode.DEADLINE_EXCEEDED.name
# Who gives a call less time than this says nothing of the bill; a hospital's worker gives 4.5 s.
HANGS_AFTER_S = 3.0


class Failures:
    """What becomes of bills while claims works on them, for one server process."""

    def __init__(self, parts: ClaimsParts) -> None:
        self._parts = parts
        self._hung: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def noting(self, bill: bill_pb2.Bill, context: Context) -> AsyncIterator[None]:
        """Note when the block fails or hangs at a hospital's bill; forget it once it is refused.

        One that is taken in is forgotten once its answer is made (`failed`, `answered`): it may be
        stored and fail after that.
        """
        parts, tenant = self._parts, current_tenant()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        given_s = remaining_s(context, float("inf"))
        try:
            yield
        except asyncio.CancelledError:
            # Their clock and ours differ by the way of the call; who hung up early had time left.
            long = loop.time() - began_s >= max(HANGS_AFTER_S, given_s - _ON_ITS_WAY_S)
            if long and _is_named(tenant, bill):
                self._note_hung(tenant, bill)
            raise
        except Refused as refused:
            if refused.code not in _COMES_AGAIN and await parts.database.run(_failed, parts, bill):
                await parts.database.run(answered, parts, tenant, bill)
            raise
        except Exception as fault:
            if _is_named(tenant, bill):
                await _note(parts, tenant, bill, type(fault).__name__[:_LONGEST_FAULT])
            raise

    def _note_hung(self, tenant: Tenant, bill: bill_pb2.Bill) -> None:
        """Note it beside the call, which is over.

        On SQLite what hangs may hold the one writer, and the note waits for its end. So one waits
        at a time, and takes one thread; another bill's note is made at its next try.
        """
        logger().error("bill_hangs", bill=bill.name)
        if self._hung is None or self._hung.done():
            self._hung = asyncio.create_task(_note(self._parts, tenant, bill, HANGS))


def failed(desk: Desk, tenant: Tenant, bill: bill_pb2.Bill) -> bool:
    """Whether the bill stands among those that fail, and this caller's answer ends that."""
    return _is_named(tenant, bill) and store.fails(desk.connection, bill.name)


def answered(parts: ClaimsParts, tenant: Tenant, bill: bill_pb2.Bill) -> None:
    """The bill is taken in or refused, and fails no more."""
    with parts.writing() as desk:
        store.forget(desk.connection, bill.name, tenant.insurer)


def _is_named(tenant: Tenant, bill: bill_pb2.Bill) -> bool:
    """Whether the bill has a hospital's name, of which another hospital says nothing."""
    hospital = hospital_of(bill)
    return hospital is not None and tenant.hospital in (None, hospital)


async def _note(parts: ClaimsParts, tenant: Tenant, bill: bill_pb2.Bill, fault: str) -> None:
    """Note it; where that fails as well, the caller hears of the fault that was first."""
    insurers: list[str] = []
    try:
        insurers = await parts.database.run(_insurers, parts, tenant, bill.member_token)
    except Exception as second:  # noqa: BLE001 - it may be what the bill failed at
        logger().warning("failing_bill_of_nobody", fault=type(second).__name__)
    try:
        await parts.database.run(_record, parts, bill.name, insurers, fault)
    except Exception as second:  # noqa: BLE001 - the list is no reason to hide the first fault
        logger().warning("failing_bill_not_kept", fault=type(second).__name__)


def _insurers(parts: ClaimsParts, tenant: Tenant, member_token: str) -> list[str]:
    if tenant.insurer is not None:
        return [tenant.insurer]
    with parts.reading() as desk:
        return list(store.insurers_of(desk.connection, desk.sealer, member_token))


def _record(parts: ClaimsParts, bill: str, insurers: list[str], fault: str) -> None:
    with parts.writing() as desk:
        store.record(desk.connection, bill, insurers, fault, desk.at_us)


def _failed(parts: ClaimsParts, bill: bill_pb2.Bill) -> bool:
    with parts.reading() as desk:
        return failed(desk, current_tenant(), bill)


async def listed(
    parts: ClaimsParts, request: pb.ListFailingBillsRequest
) -> pb.ListFailingBillsResponse:
    """A page of the tenant's failing bills, those that fail longest first.

    Raises: Refused for a page that there is not.
    """
    if request.page_size < 0:
        raise invalid([Violation("page_size", "NEGATIVE", "must not be negative")])
    tenant = current_tenant()
    kind = f"failing bills {tenant.key}"
    after = number_in(request.page_token, kind)
    most = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)

    def page() -> pb.ListFailingBillsResponse:
        with parts.reading() as desk:
            rows = store.list_failing(
                desk.connection, tenant.insurer, desk.at_us, after=after, most=most
            )
        answer = pb.ListFailingBillsResponse(
            failing_bills=[
                pb.FailingBill(
                    bill=row.bill,
                    fault=row.fault,
                    first_time=timestamp(row.first_us),
                    last_time=timestamp(row.last_us),
                    try_count=row.tries,
                )
                for row in rows
            ]
        )
        if len(rows) == most:
            answer.next_page_token = page_token(kind, str(rows[-1].seq))
        return answer

    return await parts.database.run(page)
