"""The bridge as a real process with a real gRPC port, to be stopped, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc

from demo.consents import grant
from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from lipei.his_bridge.v1.his_bridge_pb2_grpc import HisBridgeServiceStub
from services.common.grpc_edge import error_of
from tests.forked import Forked
from tests.identities import ANOTHER, equip, everybody
from tests.services.his_bridge.records import KEY

ROOT = Path(__file__).parents[3]
HOSPITAL = "hospitals/demo-hospital"
LONGEST_S = 60.0  # only so that a broken bridge fails instead of hanging
CALL_S = 50.0
# What httpx imports with its first client and its first call, in each process anew.
_IMPORTED_LATE = ("anyio._backends._asyncio", "httpcore")


class Bridge:
    """One running bridge. Its state directory outlives it."""

    def __init__(self, state: Path, environ: dict[str, str]) -> None:
        self.state = state
        self.log = state / "bridge.log"
        run = state / "run.json"
        run.unlink(missing_ok=True)
        self.process = Forked(
            "services.his_bridge.main",
            environ=environ,
            out=self.log,
            err=self.log,
            cwd=state,
            imported=_IMPORTED_LATE,
        )
        deadline = time.monotonic() + LONGEST_S
        while not run.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(self.log.read_text("utf-8"))
            time.sleep(0.02)
        self.address = json.loads(run.read_text("utf-8"))["his_bridge"]
        self.channel = everybody(self.address, "his_bridge")
        self.stub = HisBridgeServiceStub(self.channel)
        self.anothers_channel = everybody(self.address, "his_bridge", ANOTHER)
        self.anothers = HisBridgeServiceStub(self.anothers_channel)

    def consented(self, members: Iterable[str], hospital: str = HOSPITAL) -> None:
        """Each of these people consents to everything that the bridge does."""
        grant(self.channel, hospital.removeprefix("hospitals/"), members)

    def pull(self, max_records: int = 0, hospital: str = HOSPITAL) -> pb.PullBillsResponse:
        """One call."""
        request = pb.PullBillsRequest(hospital=hospital, max_records=max_records)
        return self.stub.PullBills(request, timeout=CALL_S)

    def pull_all(self) -> pb.PullBillsResponse:
        """Calls until there is no more, waiting when told to; the sums of their reports."""
        whole = pb.PullBillsResponse(more=True)
        deadline = time.monotonic() + LONGEST_S
        while whole.more and time.monotonic() < deadline:
            try:
                part = self.pull()
            except grpc.RpcError as error:
                fault = error_of(error)
                if fault.retry_after_s is None:
                    raise
                time.sleep(fault.retry_after_s)
                continue
            for name in ("received", "released", "quarantined", "filtered", "held"):
                setattr(whole, name, getattr(whole, name) + getattr(part, name))
            whole.more = part.more
        return whole

    def bills(
        self,
        page_size: int = 0,
        hospital: str = HOSPITAL,
        state: pb.DeliveryState.ValueType = pb.DELIVERY_STATE_UNSPECIFIED,
    ) -> list[pb.ReleasedBill]:
        """All released bills, page by page."""
        found: list[pb.ReleasedBill] = []
        token = ""
        while True:
            request = pb.ListBillsRequest(
                parent=hospital, page_size=page_size, page_token=token, delivery_state=state
            )
            page = self.stub.ListBills(request, timeout=CALL_S)
            found += page.bills
            token = page.next_page_token
            if not token:
                return found

    def quarantine(self) -> list[pb.QuarantinedRecord]:
        """All records that wait for a person."""
        request = pb.ListQuarantineRequest(parent=HOSPITAL, page_size=500)
        return list(self.stub.ListQuarantine(request, timeout=CALL_S).records)

    def stop(self) -> int:
        """As an operator would; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> int:
        self.channel.close()
        self.anothers_channel.close()
        return self.process.wait(LONGEST_S)


def environ_for(state: Path, profiles: Path, database_url: str = "") -> dict[str, str]:
    keys = equip(state) / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    (keys / "member_token.key").write_text(KEY.hex(), "utf-8")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LIPEI_")}
    return {
        **inherited,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}",
        "LIPEI_STATE": str(state),
        "LIPEI_HIS_BRIDGE_PROFILES": str(profiles),
        "LIPEI_HIS_BRIDGE_DATABASE_URL": database_url,
    }


@contextmanager
def running_bridge(
    state: Path,
    profiles: Path,
    database_url: str = "",
    environ: Mapping[str, str] | None = None,
) -> Iterator[Bridge]:
    bridge = Bridge(state, {**environ_for(state, profiles, database_url), **(environ or {})})
    try:
        yield bridge
    finally:
        if bridge.process.poll() is None:
            bridge.stop()
