"""The hospital's side as the demo uses it: what the bridge released, handed over and set aside."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from demo.wire import call
from lipei.his_bridge.v1 import his_bridge_pb2, his_bridge_pb2_grpc
from services.common.grpc_edge import sync_channel

_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """How far the pull has come, in bills."""

    released: int
    refused: int
    quarantined: int
    # Some released bills are not yet answered for by the insurer.
    pending: bool

    @property
    def bills(self) -> int:
        """Everything that was pulled and lies in the period."""
        return self.released + self.quarantined


class Bridge:
    """A connection to the bridge of one hospital."""

    def __init__(self, target: str, hospital: str) -> None:
        self._channel = sync_channel(target)
        self._stub = his_bridge_pb2_grpc.HisBridgeServiceStub(self._channel)
        self._parent = f"hospitals/{hospital}"
        # Bills on full pages, and where the next page begins.
        self._seen = 0
        self._place = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def pulled(self) -> Pulled:
        """Counts as of now. A full page of released bills is asked for once only."""
        pending = his_bridge_pb2.ListBillsRequest(
            parent=self._parent,
            page_size=1,
            delivery_state=his_bridge_pb2.DELIVERY_STATE_PENDING,
        )
        return Pulled(
            released=self._released(),
            refused=len(self.refusals()),
            quarantined=len(self.quarantine()),
            pending=bool(call(self._stub.ListBills, pending, what="listing the bills").bills),
        )

    def _released(self) -> int:
        while True:
            request = his_bridge_pb2.ListBillsRequest(
                parent=self._parent, page_size=_PAGE, page_token=self._place
            )
            page = call(self._stub.ListBills, request, what="listing the bills")
            if not page.next_page_token:
                return self._seen + len(page.bills)
            self._seen += len(page.bills)
            self._place = page.next_page_token

    def quarantine(self) -> list[his_bridge_pb2.QuarantinedRecord]:
        """Records that wait for a person, with their reasons."""
        records: list[his_bridge_pb2.QuarantinedRecord] = []
        place = ""
        while True:
            request = his_bridge_pb2.ListQuarantineRequest(
                parent=self._parent, page_size=_PAGE, page_token=place
            )
            page = call(self._stub.ListQuarantine, request, what="listing the quarantine")
            records.extend(page.records)
            place = page.next_page_token
            if not place:
                return records

    def bills(self) -> list[his_bridge_pb2.ReleasedBill]:
        """Every released bill, in the order of release."""
        bills: list[his_bridge_pb2.ReleasedBill] = []
        place = ""
        while True:
            request = his_bridge_pb2.ListBillsRequest(
                parent=self._parent, page_size=_PAGE, page_token=place
            )
            page = call(self._stub.ListBills, request, what="listing the bills")
            bills.extend(page.bills)
            place = page.next_page_token
            if not place:
                return bills

    def refusals(self) -> list[his_bridge_pb2.ReleasedBill]:
        """Released bills that the insurer refused, with its reasons."""
        request = his_bridge_pb2.ListBillsRequest(
            parent=self._parent,
            page_size=_PAGE,
            delivery_state=his_bridge_pb2.DELIVERY_STATE_REFUSED,
        )
        return list(call(self._stub.ListBills, request, what="listing the refusals").bills)
