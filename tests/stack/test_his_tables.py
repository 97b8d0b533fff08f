"""`lipei his reconcile` against a hospital's own tables, which change behind the bridge's back."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lipei.his_bridge.v1 import consent_pb2, his_bridge_pb2
from lipei.his_bridge.v1.consent_pb2_grpc import ConsentServiceStub
from services.common.transport.certificates import FOLDER
from stack.commands import his_reconcile, withheld
from stack.commands.calling import CALL_S
from tests.identities import equip
from tests.services.his_bridge.records import TOKEN
from tests.services.his_bridge.running import Bridge, running_bridge
from tests.services.his_bridge.test_register import withdraw
from tests.stack.typed import Typed, lipei

H = "demo-hospital"
PROFILE = """
hospital: demo-hospital
dialect: sql_rows
zone: America/New_York
currency: CNY
source:
  kind: sql
  bills: {table: 结算主表, key: 结算号, updated: 更新时间}
  lines: {table: 结算明细, bill_key: 结算号, order: 序号}
sql_rows:
  bill:
    {identity: 证件号, care_type: 类别, begin: 就诊时间, end: 结束时间, total: 总金额, status: 状态,
     reverses: 原结算号}
  line: {id: 序号, code: 医保编码, quantity: 数量, amount: 金额, reverses: 原序号}
  systems: {lines: "urn:yb"}
  care_types: {"1": outpatient}
  statuses: {"1": final, "2": reversed}
identities: [{system: "01", kind: CN-ID}]
provider: {id: H1, tier: tertiary}
codes:
  lines: {accepted: [{system: "urn:yb"}]}
  diagnoses: {accepted: [{system: "urn:icd"}]}
social_insurance: not_used
pull: {page_size: 20, overlap_s: 600, timeout_s: 5, attempts: 1}
"""
TABLES = """
CREATE TABLE 结算主表 (结算号 TEXT, 更新时间 TEXT, 证件号 TEXT, 类别 TEXT, 就诊时间 TEXT,
 结束时间 TEXT, 总金额 TEXT, 状态 TEXT, 原结算号 TEXT);
CREATE TABLE 结算明细 (结算号 TEXT, 序号 TEXT, 医保编码 TEXT, 数量 TEXT, 金额 TEXT, 原序号 TEXT)
"""
DAYS = ("--from", "2026-03-01", "--to", "2026-03-31")


class Tables:
    """The hospital's database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run(TABLES)

    def run(self, statements: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(statements)

    def add(self, number: str, at: str, *, end: str = "", total: str = "50.00") -> None:
        ended = f"'{end}'" if end else "NULL"
        self.run(
            f"INSERT INTO 结算主表 VALUES ('{number}', '{at}', '11010119900307002X', '1', '{at}',"
            f" {ended}, '{total}', '1', NULL);"
            f"INSERT INTO 结算明细 VALUES ('{number}', '1', '250101001', '2', '{total}', NULL)"
        )


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[tuple[Tables, Bridge, Path]]:
    tables = Tables(tmp_path / "his.db")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / f"{H}.yaml").write_text(PROFILE, "utf-8")
    url = {"LIPEI_HIS_BRIDGE_SQL_URL_DEMO_HOSPITAL": f"sqlite:///{tables.path}"}
    with running_bridge(tmp_path / "state", tmp_path / "profiles", environ=url) as bridge:
        state = equip(bridge.state, sandbox=True)
        for kind in ("pem", "key"):  # the tests' one desk of a hospital, as the sandbox names it
            desk = state / FOLDER / f"desk-hospital.{kind}"
            shutil.copy2(desk, desk.with_stem(f"desk-hospital-{H}"))
        bridge.consented([TOKEN], f"hospitals/{H}")
        yield tables, bridge, state


def pulled(bridge: Bridge) -> int:
    return int(bridge.pull(hospital=f"hospitals/{H}").received)


def reconciled(state: Path, *words: str) -> Typed:
    return lipei("his", "reconcile", H, *(words or DAYS), "--state", state)


def test_days_without_bills_prove_nothing_and_are_named(
    hospital: tuple[Tables, Bridge, Path],
) -> None:
    tables, bridge, state = hospital
    tables.add("b1", "2026-03-01 10:00:00")
    assert pulled(bridge) == 1
    empty = reconciled(state, "--from", "2026-01-01", "--to", "2026-01-31")
    said = "nothing was compared: no bill from 2026-01-01 to 2026-01-31"
    assert empty.code == 1
    assert empty.out.splitlines() == [
        "no bills from 2026-01-01 to 2026-01-31, neither there nor here"
    ]
    assert said in " ".join(empty.err.split())
    as_json = reconciled(state, "--from", "2026-01-01", "--to", "2026-01-31", "--json")
    assert as_json.code == 1
    assert said in " ".join(as_json.err.split())
    assert json.loads(as_json.out)["reconciliation"]["agrees"] is True
    assert reconciled(state).code == 0  # the control


def test_how_far_a_pull_is_tells_the_hospital_s_day_and_not_ours(
    hospital: tuple[Tables, Bridge, Path],
) -> None:
    tables, bridge, _ = hospital
    tables.add("b1", "2026-03-01 23:30:00")
    assert pulled(bridge) == 1
    asked = his_bridge_pb2.GetSourceStatusRequest(hospital=f"hospitals/{H}")
    channel = bridge.stub.GetSourceStatus(asked, timeout=CALL_S).channels[0]
    assert channel.catch_up.reached_day == "2026-03-01"


def test_bills_that_wait_are_accounted_for_and_said_to_wait(
    hospital: tuple[Tables, Bridge, Path],
) -> None:
    tables, bridge, state = hospital
    tables.add("b1", "2026-03-01 10:00:00")
    tables.add("b2", "2026-03-02 10:00:00")
    tables.run("UPDATE 结算主表 SET 总金额 = '51.00' WHERE 结算号 = 'b2'")
    assert pulled(bridge) == 2
    waits = f"`lipei his quarantine {H}` and `lipei his held {H}` say why"
    assert reconciled(state).out.splitlines()[-2:] == [
        f"1 bill of these not released: {waits}",
        "every bill of the source is accounted for",
    ]


def test_a_bill_that_the_insurer_took_and_its_held_correction_are_told_apart(
    hospital: tuple[Tables, Bridge, Path],
) -> None:
    tables, bridge, state = hospital
    for number in ("b1", "b2"):
        tables.add(number, "2026-03-01 10:00:00")
    assert pulled(bridge) == 2
    parent = f"hospitals/{H}"
    listed = bridge.stub.ListBills(his_bridge_pb2.ListBillsRequest(parent=parent), timeout=CALL_S)
    taken = next(one.bill.name for one in listed.bills if one.bill.bill_number == "b1")
    answer = his_bridge_pb2.Delivery(
        state=his_bridge_pb2.DELIVERY_STATE_TAKEN, claims=["policies/P/claims/1"]
    )
    acknowledged = [his_bridge_pb2.Acknowledgement(bill=taken, delivery=answer)]
    bridge.stub.AcknowledgeBills(
        his_bridge_pb2.AcknowledgeBillsRequest(
            parent=parent, acknowledgements=acknowledged, request_id="taken-1"
        ),
        timeout=CALL_S,
    )
    register = ConsentServiceStub(bridge.channel)
    given = register.ListConsents(consent_pb2.ListConsentsRequest(parent=parent), timeout=CALL_S)
    for consent in given.consents:
        withdraw(register, consent.name)
    tables.run(
        "UPDATE 结算主表 SET 总金额 = '70.00', 更新时间 = '2026-03-02' WHERE 结算号 = 'b1';"
        "UPDATE 结算明细 SET 金额 = '70.00' WHERE 结算号 = 'b1'"
    )
    assert pulled(bridge) == 1
    shown = lipei("his", "held", H, "--state", state).out.splitlines()
    rows = [(line.split()[0], "the insurer took it" in line) for line in shown if "Bill/" in line]
    assert rows == [("Bill/b1", False), ("Bill/b1", True), ("Bill/b2", False)]
    differs = reconciled(state)
    assert differs.code == 1
    assert differs.err.splitlines()[-1].startswith("other total: the insurer has the bill as it")
    assert f"`lipei his held {H}` says why it waits" in differs.err


def test_what_changed_behind_our_back_is_found_mended_or_named(
    hospital: tuple[Tables, Bridge, Path],
) -> None:
    tables, bridge, state = hospital
    for number in range(6):
        tables.add(f"b{number}", f"2026-03-0{1 + number} 10:00:00")
    tables.add("night", "2026-03-07 10:00:00", end="2026-03-07 23:59:59")
    assert pulled(bridge) == 7
    agreed = reconciled(state)
    assert agreed.code == 0
    assert agreed.out.endswith("every bill of the source is accounted for\n")
    # Changed, deleted and added late, all without a mark that a sweep would see.
    tables.run(
        "UPDATE 结算主表 SET 总金额 = '70.00' WHERE 结算号 = 'b1';"
        "UPDATE 结算明细 SET 金额 = '70.00' WHERE 结算号 = 'b1';"
        "DELETE FROM 结算主表 WHERE 结算号 = 'b2'"
    )
    tables.add("late", "2026-03-03 10:00:00")
    tables.run("UPDATE 结算主表 SET 总金额 = NULL WHERE 结算号 = 'b3'")
    assert pulled(bridge) == 0
    differs = reconciled(state)
    assert differs.code == 1
    assert "3 bills fetched again" in differs.out
    assert differs.err.splitlines()[-1].startswith("extra: a bill that is gone at the source")
    named = [line.split() for line in differs.out.splitlines() if "Bill/" in line]
    assert [(row[0], row[-1]) for row in named] == [
        ("2026-03-03", "Bill/b2"),
        ("2026-03-04", "Bill/b3"),
    ]
    assert differs.said[0] == "source and bridge differ from 2026-03-01 to 2026-03-31"
    tables.run(
        "UPDATE 结算主表 SET 总金额 = '50.00', 更新时间 = '2026-03-09 10:00:00' WHERE 结算号 = 'b3'"
    )
    assert pulled(bridge) == 1
    tables.run(
        "INSERT INTO 结算主表 SELECT 'b2', 更新时间, 证件号, 类别, '2026-03-03 10:00:00',"
        " NULL, 总金额, 状态, NULL FROM 结算主表 WHERE 结算号 = 'b0'"
    )
    again = reconciled(state)
    assert (again.code, again.said) == (0, [])
    assert {bill.bill.total.minor_units for bill in bridge.bills(hospital=f"hospitals/{H}")} == {
        5_000,
        7_000,
    }


def test_a_source_that_is_away_replaced_or_emptied_is_named_and_nothing_is_taken_back(
    hospital: tuple[Tables, Bridge, Path],
) -> None:
    tables, bridge, state = hospital
    for number in range(3):
        tables.add(f"b{number}", f"2026-03-0{1 + number} 10:00:00")
    assert pulled(bridge) == 3
    away = tables.path.with_suffix(".away")
    tables.path.rename(away)
    down = reconciled(state)
    assert down.code == 1
    assert down.said[0] == (
        "his_bridge: the database cannot be reached; what was fetched is kept [SOURCE_AWAY]"
    )
    assert not tables.path.exists()  # looking for it made none
    # Put back as another file, as whoever exports the tables anew does: that one is read.
    shutil.copyfile(away, tables.path)
    tables.run("DELETE FROM 结算主表 WHERE 结算号 = 'b2'")
    assert reconciled(state).code == 1
    away.replace(tables.path)
    assert reconciled(state).code == 0
    # A table that was emptied is an alarm, and takes nothing back.
    tables.run("DELETE FROM 结算主表")
    emptied = reconciled(state)
    assert emptied.code == 1
    assert [line.split()[-1] for line in emptied.out.splitlines() if "Bill/" in line] == [
        f"Bill/b{number}" for number in range(3)
    ]
    assert len(bridge.bills(hospital=f"hospitals/{H}")) == 3


def test_a_source_that_goes_down_between_two_steps_says_where_to_go_on(
    hospital: tuple[Tables, Bridge, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, bridge, state = hospital
    tables.add("b1", "2026-03-01 10:00:00")
    assert pulled(bridge) == 1
    asked, ask = [], withheld.ask

    def asking(*words: Any) -> Any:
        asked.append(words)
        if len(asked) == 2:
            tables.path.rename(tables.path.with_suffix(".away"))
        return ask(*words)

    monkeypatch.setattr(his_reconcile, "ask", asking)
    down = reconciled(state, *DAYS, "--step", "10")
    assert down.code == 1
    assert "2026-03-01" in down.out
    assert down.said[-3:] == [
        "his_bridge: the database cannot be reached; what was fetched is kept [SOURCE_AWAY]",
        "  try again in 30.0 s",
        "what was compared is kept: go on with --from 2026-03-11",
    ]
