"""`lipei his status` and `offer`: what the insurer refused, as the hospital's IT types it."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lipei.his_bridge.v1 import his_bridge_pb2 as pb
from services.common.transport.certificates import FOLDER
from stack.commands import his_offer
from tests.identities import equip
from tests.services.his_bridge.fhir_server import fhir_server
from tests.services.his_bridge.records import TOKEN, around, claim, write_profile
from tests.services.his_bridge.running import CALL_S, HOSPITAL, Bridge, running_bridge
from tests.stack.typed import lipei

ID = HOSPITAL.removeprefix("hospitals/")
BILLS = 5


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    """Five bills; the insurer has taken one and refused four."""
    with fhir_server(tmp_path / "his") as his:
        numbered = [claim(f"b{n}") for n in range(BILLS)]
        for one in numbered[3:]:
            one["identifier"][0]["value"] = "NO-TWICE"
        his.put([*around(), *numbered])
        write_profile(tmp_path / "profiles", his.base_url)
        with running_bridge(tmp_path / "state", tmp_path / "profiles") as running:
            state = equip(running.state, sandbox=True)
            for kind in ("pem", "key"):  # the tests' one desk, as the sandbox names it
                desk = state / FOLDER / f"desk-hospital.{kind}"
                shutil.copy2(desk, desk.with_stem(f"desk-hospital-{ID}"))
            running.consented([TOKEN])
            running.pull_all()
            names = [one.bill.name for one in running.bills()]
            refused = [("UNKNOWN_MEMBER",)] * 3 + [("BILL_CONFLICT",)]
            answers = [pb.Delivery(state=pb.DELIVERY_STATE_TAKEN, claims=["policies/P/claims/1"])]
            answers += [
                pb.Delivery(state=pb.DELIVERY_STATE_REFUSED, refusal_reasons=reasons)
                for reasons in refused
            ]
            told = [
                pb.Acknowledgement(bill=name, delivery=answer)
                for name, answer in zip(names, answers, strict=True)
            ]
            request = pb.AcknowledgeBillsRequest(
                parent=HOSPITAL, acknowledgements=told, request_id=uuid.uuid4().hex
            )
            running.stub.AcknowledgeBills(request, timeout=CALL_S)
            yield running


def refused(bridge: Bridge) -> list[str]:
    return [one.bill.name for one in bridge.bills(state=pb.DELIVERY_STATE_REFUSED)]


def test_refused_bills_are_counted_by_reason_and_offered_again(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ("--state", bridge.state)
    shown = lipei("his", "status", ID, *state)
    assert shown.code == 0
    assert shown.out.splitlines()[-2:] == [
        "refused: 3 UNKNOWN_MEMBER, 1 BILL_CONFLICT",
        f"once the insurer has put that right: `lipei his offer {ID} --reason UNKNOWN_MEMBER`",
    ]
    of_reason = ("his", "offer", ID, "--reason", "UNKNOWN_MEMBER")
    trial = lipei(*of_reason, "--dry-run", *state)
    assert trial.out == "3 refused bills would be offered again: 3 UNKNOWN_MEMBER\n"
    assert len(refused(bridge)) == 4
    # In portions: two calls, said as one.
    monkeypatch.setattr(his_offer, "AT_ONCE", 2)
    trial = lipei(*of_reason, "--dry-run", *state)
    assert trial.out.splitlines() == [
        "2 refused bills would be offered again: 2 UNKNOWN_MEMBER",
        "and 1 bill after these, in further portions",
    ]
    (conflict,) = refused(bridge)[3:]
    done = lipei(*of_reason, "--since", "2026-03-01", *state)
    assert done.out.splitlines() == [
        "3 refused bills are offered again: 3 UNKNOWN_MEMBER",
        f"next: `lipei his pull {ID}` hands them to the insurer",
    ]
    assert refused(bridge) == [conflict]
    again = lipei(*of_reason, *state)
    assert again.out == f"no refused bill fits; `lipei his status {ID}` counts them by reason\n"
    # By its name, or its last part; one that is not refused is told.
    told = lipei("his", "offer", ID, "--bill", conflict.rpartition("/")[2], "--json", *state)
    assert json.loads(told.out)["offered_count"] == 1
    assert refused(bridge) == []
    twice = lipei("his", "offer", ID, "--bill", conflict, *state)
    assert twice.code == 1
    assert "it is not refused" in twice.said[0]
    counted = json.loads(lipei("his", "status", ID, "--json", *state).out)
    assert (counted["pending"], counted["refused"], counted["refusals"]) == (4, 0, {})


def told_of(bridge: Bridge, *bills: str, **delivery: Any) -> None:
    answer = pb.Delivery(**delivery)
    told = [pb.Acknowledgement(bill=bill, delivery=answer) for bill in bills]
    request = pb.AcknowledgeBillsRequest(
        parent=HOSPITAL, acknowledgements=told, request_id=uuid.uuid4().hex
    )
    bridge.stub.AcknowledgeBills(request, timeout=CALL_S)


def test_a_bill_at_which_the_insurer_s_service_fails_is_loud_and_stays_pending(
    bridge: Bridge,
) -> None:
    status = ("his", "status", ID, "--state", bridge.state)
    lipei("his", "offer", ID, "--reason", "BILL_CONFLICT", "--state", bridge.state)
    assert lipei(*status).code == 0  # the control: it waits, and nothing failed
    (pending,) = [one.bill.name for one in bridge.bills(state=pb.DELIVERY_STATE_PENDING)]
    others = [one.bill.name for one in bridge.bills() if one.bill.name != pending]
    before = [one for one in bridge.bills() if one.bill.name != pending]
    failed = {"state": pb.DELIVERY_STATE_PENDING, "refusal_reasons": ["UNEXPECTED_FAULT"]}
    told_of(bridge, pending, *others, **failed)
    shown = lipei(*status)
    assert shown.code == 1
    assert "fails at 1 pending bill: UNEXPECTED_FAULT" in shown.said[0]
    # What was answered is not pending again.
    assert [one for one in bridge.bills() if one.bill.name != pending] == before
    counted = json.loads(lipei(*status, "--json").out)
    assert (counted["pending"], counted["failing"]) == (1, {"UNEXPECTED_FAULT": 1})
    told_of(bridge, pending, state=pb.DELIVERY_STATE_TAKEN, claims=["policies/P/claims/2"])
    counted = json.loads(lipei(*status, "--json").out)
    assert (counted["pending"], counted["failing"]) == (0, {})


def test_a_reason_that_is_none_is_told_with_those_that_there_are(bridge: Bridge) -> None:
    state = ("--state", bridge.state)
    misspelt = lipei("his", "offer", ID, "--reason", "UNKNOWN_MEMBR", *state)
    assert misspelt.code == 2
    assert misspelt.out == ""
    assert misspelt.said[0] == (
        "--reason UNKNOWN_MEMBR: no bill is refused for that; did you mean UNKNOWN_MEMBER?"
    )
    assert misspelt.said[1].startswith("refused are 3 UNKNOWN_MEMBER, 1 BILL_CONFLICT; the reasons")
    assert all(reason in misspelt.said[1] for reason in his_offer.REASONS)
    small = lipei("his", "offer", ID, "--reason", "bill_conflict", "--json", *state)
    assert (small.code, small.out) == (2, "")
    assert "did you mean BILL_CONFLICT?" in small.said[0]
    # The control: a reason that is one, and that no bill has now, is no fault.
    assert lipei("his", "offer", ID, "--reason", "UNKNOWN_PROVIDER", *state).code == 0
    assert len(refused(bridge)) == 4


def test_a_bill_is_offered_by_its_own_number_and_never_one_of_two(bridge: Bridge) -> None:
    state = ("--state", bridge.state)
    shown = json.loads(lipei("his", "refused", ID, "--json", *state).out)["bills"]
    by_number: dict[str, list[str]] = {}
    for one in shown:
        by_number.setdefault(one["bill_number"], []).append(one["name"])
    single = next(number for number, names in by_number.items() if len(names) == 1)
    twice = by_number["NO-TWICE"]
    assert len(twice) == 2
    both = lipei("his", "offer", ID, "--bill", single, "--bill", "NO-TWICE", *state)
    assert both.code == 2
    assert both.said[0].startswith("--bill NO-TWICE: 2 refused bills have it: say --bill ")
    assert all(name.rpartition("/")[2] in both.said[0] for name in twice)
    assert len(refused(bridge)) == 4
    near = lipei("his", "offer", ID, "--bill", f"{single}0", *state)
    assert near.code == 2
    assert f"did you mean {single}?" in near.said[0]
    done = lipei("his", "offer", ID, "--bill", single, *state)
    assert done.code == 0
    assert by_number[single][0] not in refused(bridge)
    assert len(refused(bridge)) == 3
    # A newer release of the same bill is no second one.
    assert his_offer._newest(["h/a", "h/a.10", "h/a.9", "h/b"]) == ["h/a.10", "h/b"]
