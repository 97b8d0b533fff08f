"""`lipei his refused` names the bills that the insurer refused, and shows no more of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from services.common.transport.certificates import FOLDER
from tests.identities import equip
from tests.services.his_bridge.consenting import everybody
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, PROFILE
from tests.services.his_bridge.running import CALL_S, HOSPITAL, Bridge, running_bridge
from tests.services.his_bridge.sources.odd_server import OddServer, odd_server
from tests.stack import typed
from tests.stack.typed import lipei

H = "demo-hospital"
BILLS = 3


@pytest.fixture
def server() -> Iterator[OddServer]:
    around, claims, _ = good(BILLS)
    with odd_server() as found:
        for one in around:
            found.put(one)
        for one in claims:
            found.now += timedelta(seconds=1)
            found.write(one["id"], **{key: value for key, value in one.items() if key != "id"})
        yield found


@pytest.fixture
def bridge(server: OddServer, tmp_path: Path) -> Iterator[Bridge]:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / f"{H}.yaml").write_text(PROFILE.replace(BASE_URL, server.base_url))
    with running_bridge(tmp_path / "state", tmp_path / "profiles") as found:
        state = equip(found.state, sandbox=True)
        for kind in ("pem", "key"):  # the tests' one desk of a hospital, as the sandbox names it
            desk = state / FOLDER / f"desk-hospital.{kind}"
            shutil.copy2(desk, desk.with_stem(f"desk-hospital-{H}"))
        yield found


def refused(bridge: Bridge, *words: str) -> typed.Typed:
    return lipei("his", "refused", H, *words, "--state", bridge.state)


def test_a_refused_bill_is_named_with_its_reasons_and_nothing_of_the_patient(
    bridge: Bridge,
) -> None:
    bridge.consented(everybody())
    assert bridge.pull_all().released == BILLS
    assert refused(bridge).out == "the insurer refused no bill\n"
    first, second, _ = (one.bill for one in bridge.bills())
    taken = pb.Delivery(state=pb.DELIVERY_STATE_TAKEN, claims=["policies/p/claims/c"])
    why = ["UNKNOWN_MEMBER", "IN_THE_FUTURE"]
    no = pb.Delivery(state=pb.DELIVERY_STATE_REFUSED, refusal_reasons=why)
    request = pb.AcknowledgeBillsRequest(
        parent=HOSPITAL,
        request_id="ack-1",
        acknowledgements=[
            pb.Acknowledgement(bill=first.name, delivery=taken),
            pb.Acknowledgement(bill=second.name, delivery=no),
        ],
    )
    bridge.stub.AcknowledgeBills(request, timeout=CALL_S)
    told = refused(bridge)
    assert told.code == 0
    lines = [line for line in told.out.splitlines() if second.bill_number in line]
    assert len(lines) == 1
    assert all(reason in lines[0] for reason in why)
    assert second.name.rpartition("/")[2] in lines[0]
    assert told.out.splitlines()[-1].startswith("1 bill; ")
    assert first.name.rpartition("/")[2] not in told.out
    found = json.loads(refused(bridge, "--json").out)["bills"]
    assert [(one["name"], one["refusal_reasons"]) for one in found] == [(second.name, why)]
    assert found[0]["bill_number"] == second.bill_number
    assert (second.member_token in bridge.log.read_text("utf-8")) is False
    for shown in (told.out, json.dumps(found)):
        assert second.member_token not in shown
        assert all(line.code.code not in shown for line in second.lines)
