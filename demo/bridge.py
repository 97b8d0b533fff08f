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
    taken: int
    refused: int
    quarantined: int

    @property
    def bills(self) -> int:
        """Everything that was pulled and lies in the period."""
        return self.released + self.quarantined

    @property
    def pending(self) -> int:
        """Released, but not yet answered for by the insurer."""
        return self.released - self.taken - self.refused


class Bridge:
    """A connection to the bridge of one hospital."""

    def __init__(self, target: str, hospital: str) -> None:
        self._channel = sync_channel(target)
        self._stub = his_bridge_pb2_grpc.HisBridgeServiceStub(self._channel)
        self._parent = f"hospitals/{hospital}"
        # Bills on full pages that were all answered for, and where the next page begins.
        self._answered = Pulled(released=0, taken=0, refused=0, quarantined=0)
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
        """Counts as of now. Pages whose bills were all answered for are not asked for again."""
        counts = self._answered
        place = self._place
        while True:
            request = his_bridge_pb2.ListBillsRequest(
                parent=self._parent, page_size=_PAGE, page_token=place
            )
            page = call(self._stub.ListBills, request, what="listing the bills")
            states = [one.delivery.state for one in page.bills]
            counts = Pulled(
                released=counts.released + len(states),
                taken=counts.taken + states.count(his_bridge_pb2.DELIVERY_STATE_TAKEN),
                refused=counts.refused + states.count(his_bridge_pb2.DELIVERY_STATE_REFUSED),
                quarantined=0,
            )
            place = page.next_page_token
            if not place:
                break
            if not counts.pending:
                self._answered, self._place = counts, place
        return Pulled(
            released=counts.released,
            taken=counts.taken,
            refused=counts.refused,
            quarantined=len(self.quarantine()),
        )

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

    def refusals(self) -> list[his_bridge_pb2.ReleasedBill]:
        """Released bills that the insurer refused, with its reasons."""
        request = his_bridge_pb2.ListBillsRequest(
            parent=self._parent,
            page_size=_PAGE,
            delivery_state=his_bridge_pb2.DELIVERY_STATE_REFUSED,
        )
        return list(call(self._stub.ListBills, request, what="listing the refusals").bills)
