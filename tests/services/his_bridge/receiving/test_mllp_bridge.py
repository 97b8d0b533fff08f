"""The whole way in the bridge's own process: charges and a discharge over MLLP, a bill released."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from services.common.state import read_addresses
from services.his_bridge.receiving.opening import ListenReason
from tests.services.his_bridge.messages_hl7 import (
    DG1,
    FT1,
    NAME,
    NUMBER,
    PID,
    PROFILE,
    PV1,
    TOKEN,
    dft,
    message,
    write_profile,
)
from tests.services.his_bridge.receiving.listening import client
from tests.services.his_bridge.running import LONGEST_S, Bridge, running_bridge

CREDIT = "FT1|1|T3||20260302||CR|110200001^^YB|||1|50|50" + "|" * 19 + "T1"
DAY = [
    dft(FT1[0], control_id="A"),
    dft(FT1[1], control_id="B"),
    dft(CREDIT, control_id="C"),
    message("ADT^A03", PID, PV1 + "20260305", DG1, control_id="D"),
]


def port_of(bridge: Bridge) -> int:
    deadline = time.monotonic() + LONGEST_S
    while "mllp:demo-hospital" not in (known := read_addresses(bridge.state)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(known["mllp:demo-hospital"].rpartition(":")[2])


def send(port: int, texts: list[str]) -> list[str]:
    async def whole() -> list[str]:
        async with client(port) as sender:
            return [(await sender.ask(text))[1][1] for text in texts]

    return asyncio.run(whole())


def released(bridge: Bridge, count: int) -> list[pb.ReleasedBill]:
    """The released bills, once there are so many: they are read on their own after the answer."""
    deadline = time.monotonic() + LONGEST_S
    while len(found := bridge.bills()) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def pull(bridge: Bridge) -> None:
    """What the worker does; while the bridge reads what an earlier process may have left, later."""
    deadline = time.monotonic() + LONGEST_S
    while True:
        try:
            bridge.pull()
            return
        except grpc.RpcError as refused:
            if refused.code() is not grpc.StatusCode.ABORTED or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def status_of(bridge: Bridge) -> pb.ChannelStatus:
    request = pb.GetSourceStatusRequest(hospital="hospitals/demo-hospital")
    return bridge.stub.GetSourceStatus(request, timeout=LONGEST_S).channels[0]


def test_a_stay_is_released_once_whatever_is_sent_again(tmp_path: Path, database_url: str) -> None:
    write_profile(tmp_path / "profiles")
    with running_bridge(tmp_path / "state", tmp_path / "profiles", database_url) as bridge:
        bridge.consented([TOKEN])
        pull(bridge)  # the worker's: there is nobody to ask, so that it is no sign of life
        assert not status_of(bridge).HasField("last_success_time")
        assert send(port_of(bridge), DAY) == ["AA"] * 4
        assert status_of(bridge).HasField("last_success_time")
        (found,) = released(bridge, 1)
        assert found.bill.bill_number == "ACC001"
        assert [line.billed.minor_units for line in found.bill.lines] == [1_001]
        assert found.bill.total.minor_units == 1_001
        assert bridge.stop() == 0
        log = bridge.log.read_text("utf-8")
        for secret in (NAME, "建国", NUMBER, "ACC001"):
            assert secret not in log
    with running_bridge(tmp_path / "state", tmp_path / "profiles", database_url) as bridge:
        assert send(port_of(bridge), DAY[::-1]) == ["AA"] * 4
        late = dft(FT1[0].replace("|T1|", "|T9|"), control_id="E")
        assert send(port_of(bridge), [late]) == ["AA"]
        assert [one.bill.total.minor_units for one in released(bridge, 2)] == [1_001, 6_001]


def test_a_hospital_whose_port_cannot_be_opened_leaves_the_others_alone(tmp_path: Path) -> None:
    profiles, absent = tmp_path / "profiles", str(tmp_path / "absent.pem")
    write_profile(profiles)
    tls = f"{{kind: mllp, tls: {{certificate: {absent}, key: {absent}}}}}"
    text = PROFILE.replace("demo-hospital", "away").replace("{kind: mllp}", tls)
    (profiles / "away.yaml").write_text(text, "utf-8")
    with running_bridge(tmp_path / "state", profiles) as bridge:
        assert send(port_of(bridge), DAY[:1]) == ["AA"]
        request = pb.GetSourceStatusRequest(hospital="hospitals/away")
        found = bridge.anothers.GetSourceStatus(request, timeout=LONGEST_S).listen_failure
        assert (found.reason, found.place) == (ListenReason.CERTIFICATE_UNUSABLE, absent)
        # The control: of the hospital that is listened for there is nothing to mend.
        request = pb.GetSourceStatusRequest(hospital="hospitals/demo-hospital")
        assert not bridge.stub.GetSourceStatus(request).HasField("listen_failure")
        assert bridge.stop() == 0
    assert '"not_listening"' in bridge.log.read_text("utf-8")
