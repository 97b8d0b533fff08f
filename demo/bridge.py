"""The hospital's side as the demo uses it: what the bridge released, handed over and set aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from demo.wire import call, pages
from lipei.his_bridge.v1 import his_bridge_pb2, his_bridge_pb2_grpc
from lipei.type.v1 import reading_pb2
from services.common.transport.certificates import Identity
from services.common.transport.channels import sync_channel

_PAGE = 200
_READINGS = 1000


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """How far the pull has come, in bills."""

    released: int
    refused: int
    quarantined: int
    # Stay at the hospital for want of a consent.
    held: int = 0
    # Some released bills are not yet answered for by the insurer.
    pending: bool = False

    @property
    def bills(self) -> int:
        """Everything that was pulled and lies in the period."""
        return self.released + self.quarantined + self.held


class Bridge:
    """A connection to the bridge of one hospital, as its records office has it."""

    def __init__(self, target: str, hospital: str, identity: Identity) -> None:
        self._channel = sync_channel(target, identity, "his_bridge")
        self._stub = his_bridge_pb2_grpc.HisBridgeServiceStub(self._channel)
        self._parent = f"hospitals/{hospital}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def pulled(self) -> Pulled:
        """Counts as of now; reads no bill."""
        request = his_bridge_pb2.GetSourceStatusRequest(hospital=self._parent)
        status = call(self._stub.GetSourceStatus, request, what="counting the bills")
        bills, channel = status.bills, status.channels[0]
        return Pulled(
            released=bills.pending_count
            + bills.taken_count
            + bills.refused_count
            + bills.withheld_count,
            refused=bills.refused_count,
            quarantined=channel.quarantined_count,
            held=channel.held_count,
            pending=bool(bills.pending_count),
        )

    def held(self) -> list[his_bridge_pb2.HeldRecord]:
        """Records that stay at the hospital for want of a consent, with the reason."""
        request = his_bridge_pb2.ListHeldRecordsRequest(parent=self._parent, page_size=_PAGE)
        listed = pages(self._stub.ListHeldRecords, request, what="listing what is held")
        return [record for page in listed for record in page.records]

    def quarantine(self) -> list[his_bridge_pb2.QuarantinedRecord]:
        """Records that wait for a person, with their reasons."""
        request = his_bridge_pb2.ListQuarantineRequest(parent=self._parent, page_size=_PAGE)
        listed = pages(self._stub.ListQuarantine, request, what="listing the quarantine")
        return [record for page in listed for record in page.records]

    def bills(self) -> list[his_bridge_pb2.ReleasedBill]:
        """Every released bill, in the order of release."""
        return self._bills(his_bridge_pb2.DELIVERY_STATE_UNSPECIFIED)

    def refusals(self) -> list[his_bridge_pb2.ReleasedBill]:
        """Released bills that the insurer refused, with its reasons."""
        return self._bills(his_bridge_pb2.DELIVERY_STATE_REFUSED)

    def _bills(
        self, state: his_bridge_pb2.DeliveryState.ValueType
    ) -> list[his_bridge_pb2.ReleasedBill]:
        request = his_bridge_pb2.ListBillsRequest(
            parent=self._parent, page_size=_PAGE, delivery_state=state
        )
        listed = pages(self._stub.ListBills, request, what="listing the bills")
        return [bill for page in listed for bill in page.bills]

    def readings(self) -> list[reading_pb2.Reading]:
        """Every released reading, in the order of release."""
        request = his_bridge_pb2.ListReadingsRequest(parent="members/-", page_size=_READINGS)
        listed = pages(self._stub.ListReadings, request, what="listing the readings")
        return [reading for page in listed for reading in page.readings]
