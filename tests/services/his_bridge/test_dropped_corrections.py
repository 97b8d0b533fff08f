"""Of a bill that is dropped again, what was dropped last counts: for every bill, not for half."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from services.common.database import Database
from services.his_bridge.profiles.loader import parse_profile
from services.his_bridge.storage.tables import released_bill
from services.his_bridge.wiring import hospital_of
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.his_bridge.consenting import INSURER, all_of, everybody, record
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import BASE_URL, PROFILE, tokens

FAR = 1 << 62
BILLS = 12  # by chance, all of them would be right once in four thousand times
CSV_HOSPITAL, NUMBER = "csv-hospital", "11010119900307002X"
CSV_PROFILE = """
hospital: csv-hospital
dialect: sql_rows
zone: Asia/Shanghai
currency: CNY
source:
  kind: files
  folder: FOLDER
  format: csv
  charset: utf-8
  settle_s: 0
  csv: {key: BILL_NO, lines: [LINE_NO, CODE, QTY, AMT], version: REV}
sql_rows:
  bill: {identity: ID_NO, number: BILL_NO, care_type: T, begin: B, end: E, total: TOTAL}
  line: {id: LINE_NO, code: CODE, quantity: QTY, amount: AMT}
  systems: {lines: "urn:nhsa:catalogue"}
  care_types: {"1": outpatient}
identities: [{system: "01", kind: CN-ID}]
provider: {id: H1, tier: tertiary}
codes:
  lines: {accepted: [{system: "urn:nhsa:catalogue", public_displays: false}]}
  diagnoses: {accepted: [{system: "http://hl7.org/fhir/sid/icd-10", public_displays: true}]}
social_insurance: unknown
"""
ROW = "B{bill},{number},1,2026-03-01 09:00:00,2026-03-01 10:00:00,{amount},{rev},1,C1,1,{amount}\n"
HEADER = "BILL_NO,ID_NO,T,B,E,TOTAL,REV,LINE_NO,CODE,QTY,AMT\n"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = with_tables(f"sqlite:///{tmp_path / 'test.db'}", "services.his_bridge")
    yield found
    found.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path.resolve() / "drop"
    for kind in ("Claim", "Bill"):
        (found / kind).mkdir(parents=True, mode=0o750)
    return found


def dropped(database: Database, text: str, place: Path, files: Sequence[tuple[str, str]]) -> None:
    """Each file is dropped and pulled before the next one is."""

    async def work() -> None:
        profile = parse_profile(text, "test")
        keys = subject_keys(database)
        found = hospital_of(profile, database, keys, tokens, lambda: 1_000_000_000, INSURER)
        assert found.source is not None
        for name, content in files:
            (place / name).write_text(content, "utf-8")
            await found.bills.pull(5000, FAR)
        await found.source.close()

    asyncio.run(work())


def last(database: Database) -> list[tuple[str, int]]:
    """Of every bill what was released last: its kind and total."""
    bill = released_bill.c
    with database.reading() as connection:
        columns = select(bill.external_index, bill.kind, bill.total_minor)
        rows = connection.execute(columns.order_by(bill.seq)).all()
    return list({row.external_index: (row.kind, row.total_minor) for row in rows}.values())


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        ("", "", 5_000),
        ("v9", "v10", 5_000),
        ("9:59", "10:01", 5_000),
        ("9", "10", 5_000),
        ("009", "10", 5_000),
        ("10", "9", 50_000),  # an older version that comes late changes nothing
    ],
)
def test_every_bill_of_a_second_table_is_corrected(
    database: Database, folder: Path, first: str, second: str, counts: int
) -> None:
    record(database, CSV_HOSPITAL, all_of(tokens("CN-ID", NUMBER)), now_us=0)

    def table(amount: str, rev: str) -> str:
        rows = (ROW.format(bill=n, number=NUMBER, amount=amount, rev=rev) for n in range(BILLS))
        return HEADER + "".join(rows)

    files = [("1.csv", table("500.00", first)), ("2.csv", table("50.00", second))]
    # The same bytes once more change nothing.
    files.append(("3.csv", files[0][1]))
    dropped(database, CSV_PROFILE.replace("FOLDER", str(folder)), folder / "Bill", files)
    assert Counter(total for _, total in last(database)) == {counts: BILLS}


def test_every_fhir_bill_without_a_time_of_its_own_is_taken_back(
    database: Database, folder: Path
) -> None:
    for member in everybody():
        record(database, "demo-hospital", all_of(member), now_us=0)
    around, claims, _ = good(BILLS)
    bare = [{k: v for k, v in claim.items() if k != "meta"} for claim in claims]

    def lines(status: str) -> str:
        changed = ({**claim, "status": status} for claim in bare)
        return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in (*around, *changed))

    source = f"source: {{kind: files, folder: {folder}, format: ndjson, settle_s: 0}}"
    text = PROFILE.replace(f"base_url: {BASE_URL}", source)
    files = [("1.ndjson", lines("active")), ("2.ndjson", lines("cancelled"))]
    dropped(database, text, folder / "Claim", files)
    assert Counter(kind for kind, _ in last(database)) == {"REVERSAL": BILLS}
