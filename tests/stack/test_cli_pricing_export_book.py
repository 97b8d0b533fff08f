"""`lipei pricing export-book`, from real services to a study: who is told of, and nothing more."""

from __future__ import annotations

import atexit
import json
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pandas as pd
import pytest

from lipei.claims.v1 import policy_pb2, study_pb2
from lipei.pricing.v1 import pricing_pb2
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from lipei.pricing.v1.study_pb2 import (
    ExportReadingsRequest,
    ExportReadingsResponse,
    StudyReading,
)
from lipei.pricing.v1.study_pb2_grpc import StudyServiceStub
from lipei.type.v1 import access_pb2, bill_pb2
from services.common.access.caller import Caller
from services.common.access.studies import PURPOSE
from services.common.access.study_tokens import StudySeal
from services.common.refusals import error_of
from services.common.state import record_address
from services.common.transport.channels import sync_channel
from services.pricing.fitting.book_settings import BookSettings
from services.pricing.fitting.exported import (
    BookWriter,
    Foreign,
    few_alike,
    is_finished,
    put_in_place,
)
from services.pricing.fitting.models.settings import FitSettings
from services.pricing.fitting.pricing_file import read_pricing_file
from stack.commands.acting import identity_for
from stack.commands.pricing_export_book import COLUMNS, add_readings, days, follow
from stack.study_parts import StudyParts, alone
from tests.callers import Reads
from tests.identities import equip, everybody
from tests.services.claims.given import bill, id_number, imported, policy, publish, submission
from tests.services.claims.serving import STUDY_KEY, Served, served, token
from tests.services.pricing.at_hand import DEMO, WOMAN_52
from tests.services.pricing.process import serving
from tests.services.pricing.reading_requests import part, recording, weeks
from tests.stack.typed import Typed, environ, lipei
from tests.tenants import of_hospital, of_insurer

CAP = {"LIPEI_PRICING_CREDIT_CAP": "0.05", "LIPEI_PRICING_CREDIT_CAP_SOURCE": "a regulation"}
FACTS = {name: value for name, value in WOMAN_52.items() if name != "hba1c_percent"}
CHIEF = frozenset({access_pb2.ROLE_CHIEF_ACTUARY})
CLAIMED_US, EXPORTED_US = (
    int(datetime(2026, month, 10, tzinfo=UTC).timestamp()) * 1_000_000 for month in (6, 7)
)
MEASURED = ("2025-03", "2025-04")
BATCH = 7


@dataclass
class Office:
    """An insurer's services, who calls claims, and what its log holds."""

    state: Path
    claims: Served
    pricing: str
    caller: list[Caller]  # the last one calls
    clock: list[int]  # of claims: the last one is now
    log: Reads

    def leaves_of_pricing(self) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.state / "pricing.db")) as database:
            rows = database.execute("SELECT body FROM evidence_leaf ORDER BY leaf_index").fetchall()
        leaves = [json.loads(body) for (body,) in rows]
        return [one for one in leaves if one["purpose"] == PURPOSE]


def born(policy_number: int, index: int) -> str:
    """Of the first dozen all in one month, of the second in one year, of the third in five."""
    if policy_number == 1:
        return f"1980-03-{index + 10}"
    if policy_number == 2:
        return f"1990-{index + 1:02d}-17"
    return f"{1960 + index % 5}-07-23"


def person(number: int) -> str:
    return token("CN-ID", id_number(number))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """36 people and one who stands out; eight claims; two people who measure, one not insured."""
    state = equip(tmp_path_factory.mktemp("state"), sandbox=True)
    (state / "keys").mkdir(mode=0o700, exist_ok=True)
    (state / "keys" / "study_pseudonym.key").write_text(STUDY_KEY.hex())
    log, caller, clock = Reads(), [of_insurer()], [CLAIMED_US]
    how: dict[str, Any] = {"append": log.append, "caller": lambda: caller[-1], "batch": BATCH}
    with (
        served(f"sqlite:///{state / 'claims.db'}", clock=lambda: clock[-1], **how) as claims,
        serving(state, CAP) as pricing,
    ):
        record_address(state, "claims", claims.address)
        publish(claims)
        for number in (1, 2, 3):
            family = policy(number, people=12)
            for index, member in enumerate(family.members):
                member.birth_date = born(number, index)
            disclosed = policy_pb2.DisclosedCondition(
                code_prefix="E11", terms=policy_pb2.PRE_EXISTING_TERMS_COVERED
            )
            family.members[0].disclosed_conditions.append(disclosed)
            imported(claims, family)
        alone = policy(4)
        alone.members[0].birth_date = "1931-12-24"
        imported(claims, alone)
        for number in range(100, 108):
            care = bill_pb2.CARE_TYPE_INPATIENT if number % 2 else bill_pb2.CARE_TYPE_OUTPATIENT
            claims.claims.SubmitClaim(
                submission(bill(f"bill-{number}", person=number, care_type=care))
            )
        with everybody(pricing.address, "pricing") as channel:
            _measure(PricingServiceStub(channel))
        clock.append(EXPORTED_US)
        yield Office(state, claims, pricing.address, caller, clock, log)


def _measure(stub: PricingServiceStub) -> None:
    for number in (100, 200, 999):
        readings = [one for month in MEASURED for one in weeks(person(number), month, "6.4")]
        for one in readings:
            one.device = "shared-meter"
        stub.RecordReadings(recording(f"r{number}", readings), timeout=60)
        stub.QuotePremium(
            pricing_pb2.QuotePremiumRequest(
                request_id=f"q{number}",
                parent=f"policies/q{number}",
                tariff=DEMO,
                start_date="2026-01-01",
                features=FACTS,
                participation=part(person(number), expiring_start_date="2025-01-01"),
            ),
            timeout=60,
        )


def pricing_folder(folder: Path, *words: str) -> Path:
    made = folder_once(words)
    shutil.copytree(made, folder)
    return folder / "pricing.yaml"


@cache
def folder_once(words: tuple[str, ...]) -> Path:
    """A folder as `lipei pricing init` makes it, for the export's valuation day; to be copied."""
    parent = tempfile.mkdtemp(prefix="lipei-pricing-")
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    folder = Path(parent) / "p"
    assert lipei("pricing", "init", folder, *words).code == 0
    file = folder / "pricing.yaml"
    text = file.read_text("utf-8")
    for old, new in (
        ("valuation_day: 2026-01-01", "valuation_day: 2026-07-01"),
        ("after_day: 2026-01-01", "after_day: 2026-07-01"),
        ("rating_factors: [coinsurance_percent]", "rating_factors: []"),
        ("last_year: true", "last_year: false"),
    ):
        assert old in text
        text = text.replace(old, new)
    file.write_text(text, "utf-8")
    return folder


def export(office: Office, file: Path, *words: str, insurer: str = "insurer") -> Typed:
    office.caller.append(replace(of_insurer(insurer), roles=CHIEF, purpose=PURPOSE))
    try:
        return lipei("pricing", "export-book", "-f", file, "--state", office.state, *words)
    finally:
        office.caller.pop()


@dataclass
class Exported:
    """A pricing folder with an exported book, and the leaves that this has left."""

    folder: Path
    of_claims: list[str]
    of_pricing: list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(office: Office, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    file = pricing_folder(tmp_path_factory.mktemp("pricing") / "p")
    before = len(office.log.kept), len(office.leaves_of_pricing())
    done = export(office, file)
    assert done.code == 0, done.err
    assert "people 36, policies 36, readings 12" in done.out
    assert "who share birth and sex with fewer than four others: 1\n" in done.out
    assert "people whose birth is told by five years: 12\n" in done.out
    assert "birth, sex and conditions with fewer than four others: 3\n" in done.out
    assert "no claims" not in done.out
    assert not (file.parent / "exporting").exists()
    of_claims = [one.record for one in office.log.kept[before[0] :]]
    return Exported(file.parent, of_claims, office.leaves_of_pricing()[before[1] :])


@pytest.fixture
def exported(made: Exported) -> Path:
    return made.folder


def test_it_is_checked_and_studied(exported: Path) -> None:
    done = lipei("pricing", "check", "-f", exported / "pricing.yaml")
    assert done.code == 0, done.err
    assert "NO_PREMIUM: 36 rows" in done.out
    assert "NO_CLAIMS" not in done.out
    done = lipei("pricing", "study", "-f", exported / "pricing.yaml")
    assert done.code == 0, done.err
    assert "warning: trend: that of the template" in done.out
    experience = pd.read_parquet(exported / "study" / "experience.parquet")
    assert experience["person_id"].nunique() == 36
    assert experience["claims_inpatient"].sum() == 4
    assert experience["exposure_days"].sum() == 36 * 181
    assert set(experience["condition"]) == {"none", "type2_diabetes"}


def test_the_tables_join_and_tell_births_no_more_exactly_than_others_share(exported: Path) -> None:
    tables = {
        name: pd.read_parquet(exported / "book" / f"{name}.parquet")
        for name in ("people", "policies", "claims", "readings")
    }
    people = tables["people"]
    assert people["birth_date"].value_counts().to_dict() == {
        date(1980, 3, 1): 12,
        date(1990, 7, 1): 12,
        date(1962, 7, 1): 12,
    }
    for table in ("policies", "claims", "readings"):
        assert set(tables[table]["person_id"]) <= set(people["person_id"])
    assert tables["claims"]["cause"].value_counts().to_dict() == {"outpatient": 4, "inpatient": 4}
    assert (tables["claims"]["amount_minor"] <= tables["claims"]["ground_up_minor"]).all()
    readers = tables["readings"].groupby("person_id")["value"].agg(list)
    assert readers.tolist() == [[6.4] * 6, [6.4] * 6]
    meters = tables["readings"].groupby("person_id")["device"].agg(set)
    assert [len(one) for one in meters] == [1, 1]
    assert not set.intersection(*meters)  # of one device two people are not seen to share it
    claimed = set(tables["claims"]["person_id"])
    assert len(claimed & set(readers.index)) == 1  # person 100 both measures and claims


def test_nothing_that_leads_to_a_person_is_in_any_file(exported: Path) -> None:
    files = [one for one in exported.rglob("*") if one.is_file()]
    held = b"".join(_plain(one) for one in files)
    tokens = [person(100 * number + index) for number in (1, 2, 3) for index in range(12)]
    births = [born(number, index) for number in (1, 2, 3) for index in range(12)]
    secrets = [*tokens, *(one[3:] for one in tokens), *births, "1931-12-24", "王小明"]
    secrets += [
        "H99000100001",
        "J18.9",
        "bill-100",
        "m11",
        "shared-meter",
        id_number(100),
        "6222000000000001",
    ]
    assert not [one for one in secrets if one.encode() in held]
    for told in ("1980-03-01", "1962-07-01", "inpatient", "6.4"):  # the same search finds these
        assert told.encode() in held


def _plain(file: Path) -> bytes:
    """A file as text: of a table every value."""
    if file.suffix == ".parquet":
        return pd.read_parquet(file).to_csv().encode()
    return file.read_bytes()


def test_every_person_told_of_is_a_leaf_of_both_logs(made: Exported) -> None:
    manifest = json.loads((made.folder / "book" / "manifest.json").read_bytes())
    records = made.of_claims
    assert len(records) == len(set(records)) == manifest["tables"]["people"]["rows"] == 36
    assert {one.rsplit("/", 1)[1] for one in records} == {manifest["study"]}
    assert len(made.of_pricing) == len({one["record"] for one in made.of_pricing}) == 2
    for one in made.of_pricing:
        assert one["record"].endswith(f"/studies/{manifest['study']}")
        assert (one["role"], one["owner"]) == ("chief_actuary", "insurer/insurer")
        assert person(100)[3:] not in one["record"]


def test_a_rerun_gives_the_same_bytes_and_a_new_study_other_names(
    office: Office, exported: Path
) -> None:
    office.caller.append(replace(of_insurer(), roles=CHIEF, purpose=PURPOSE))
    env = {"LIPEI_STATE": str(office.state)}
    done = lipei("pricing", "rerun", exported / "runs" / "0001-export-book.json", env=env)
    office.caller.pop()
    assert done.code == 0, done.err
    assert "the same bytes" in done.out
    before = set(pd.read_parquet(exported / "book" / "people.parquet")["person_id"])
    file = pricing_folder(exported.parent / "other")
    assert export(office, file).code == 0
    after = set(pd.read_parquet(file.parent / "book" / "people.parquet")["person_id"])
    assert len(after) == 36
    assert not before & after


def test_rows_stand_in_the_order_of_names_that_another_study_does_not_share(
    exported: Path, office: Office, tmp_path: Path
) -> None:
    file = pricing_folder(tmp_path / "p")
    assert export(office, file).code == 0
    births = []
    for folder in (exported, file.parent):
        for name, order in (
            ("people", ["person_id"]),
            ("policies", ["policy_id"]),
            ("claims", ["claim_id"]),
            ("readings", ["person_id", "effective_time", "reading_id"]),
        ):
            table = pd.read_parquet(folder / "book" / f"{name}.parquet")
            assert table.equals(table.sort_values(order, ignore_index=True))
            assert len(table) > 1
        births.append(pd.read_parquet(folder / "book" / "people.parquet")["birth_date"].tolist())
    assert sorted(births[0]) == sorted(births[1])
    assert births[0] != births[1]  # one in 10^15 of two orders that are independent


def test_what_tells_of_people_is_its_owner_s_alone(office: Office, tmp_path: Path) -> None:
    file = pricing_folder(tmp_path / "p")
    study = file.parent / "study"
    study.mkdir()
    (study / "study.json").write_text("of before, for everybody to read")
    study.chmod(0o755)
    (study / "study.json").chmod(0o644)
    assert export(office, file).code == 0
    assert lipei("pricing", "study", "-f", file).code == 0
    modes = {
        one.relative_to(file.parent): one.stat().st_mode & 0o777
        for name in ("book", "study", "runs")
        for one in (file.parent / name, *(file.parent / name).iterdir())
    }
    assert len(modes) == 3 + 5 + 3 + 2
    assert {mode for path, mode in modes.items() if len(path.parts) == 1} == {0o700}
    assert {mode for path, mode in modes.items() if len(path.parts) == 2} == {0o600}


def test_readings_are_told_to_the_day_and_check_counts_days_as_the_export_does(
    exported: Path, office: Office, tmp_path: Path
) -> None:
    readings = pd.read_parquet(exported / "book" / "readings.parquet")
    measured = readings["effective_time"].dt.tz_convert("Asia/Shanghai")
    received = readings["receive_time"].dt.tz_convert("Asia/Shanghai")
    assert (measured == measured.dt.normalize()).all()  # one reading a day
    assert {str(one) for one in received.dt.time} == {"23:59:59"}
    done = lipei("pricing", "check", "-f", exported / "pricing.yaml")
    assert "AFTER_VALUATION" not in done.out


def test_times_of_a_day_keep_their_order_and_what_was_measured_together() -> None:
    def read(measured: datetime, received: datetime) -> StudyReading:
        made = StudyReading()
        made.effective_time.FromDatetime(measured)
        made.receive_time.FromDatetime(received)
        return made

    zone = ZoneInfo("Asia/Shanghai")
    evening = datetime(2025, 3, 1, 15, 59, 7, tzinfo=UTC)  # 23:59:07 there, on 1 March
    after = datetime(2025, 3, 1, 16, 0, 9, tzinfo=UTC)  # 2 March there
    morning = datetime(2025, 3, 1, 1, 2, 3, tzinfo=UTC)
    times = (evening, morning, evening, after)
    told = days([read(one, after) for one in times], zone)
    assert [str(measured)[:19] for measured, _ in told] == [
        "2025-03-01 00:00:01",
        "2025-03-01 00:00:00",
        "2025-03-01 00:00:01",
        "2025-03-02 00:00:00",
    ]
    assert {str(received)[:19] for _, received in told} == {"2025-03-02 23:59:59"}


def test_a_reading_received_on_the_valuation_day_there_is_not_in_the_book(
    tmp_path: Path,
) -> None:
    zone, before = ZoneInfo("Asia/Shanghai"), date(2026, 7, 1)
    part = ExportReadingsResponse()
    person = part.people.add(person="p")
    for minute in (59, 61):  # of 23 hours: the day before, and the valuation day
        received = datetime(2026, 6, 30, 15, tzinfo=UTC) + timedelta(minutes=minute)
        made = person.readings.add(
            reading=str(minute), value="6.4", provenance="READING_PROVENANCE_DEVICE"
        )
        made.effective_time.FromDatetime(received)
        made.receive_time.FromDatetime(received)
    with BookWriter(tmp_path / "book", {"readings": COLUMNS["readings"]}) as book:
        add_readings(book, part, zone, before)
    assert pd.read_parquet(tmp_path / "book" / "readings.parquet")["reading_id"].tolist() == ["59"]


def test_a_valuation_day_to_come_is_refused_and_one_before_all_claims_says_so(
    office: Office, exported: Path, tmp_path: Path
) -> None:
    file = pricing_folder(tmp_path / "p")
    text = file.read_text("utf-8")
    file.write_text(text.replace("valuation_day: 2026-07-01", "valuation_day: 9000-01-01"), "utf-8")
    before = len(office.log.kept)
    done = export(office, file)
    assert (done.code, len(office.log.kept)) == (2, before)
    assert "9000-01-01 has not come" in done.err
    file.write_text(text.replace("valuation_day: 2026-07-01", "valuation_day: 2026-04-01"), "utf-8")
    done = export(office, file)
    assert done.code == 0, done.err
    assert (
        "not there: claims that came in, and readings received, on 2026-04-01 or later" in done.out
    )
    assert "no claims: none was decided and came in before 2026-04-01" in done.out
    assert "NO_CLAIMS: no claims at all" in lipei("pricing", "check", "-f", file).out
    file.write_text(text.replace("valuation_day: 2026-07-01", "valuation_day: 9000-01-01"), "utf-8")
    done = lipei("pricing", "check", "-f", file)
    assert done.code == 1
    assert "VALUATION_AHEAD" in done.err


def test_a_folder_for_ones_own_book_leaves_the_trend_open(office: Office, tmp_path: Path) -> None:
    file = pricing_folder(tmp_path / "p", "--own")
    assert export(office, file).code == 0
    done = lipei("pricing", "study", "-f", file)
    assert done.code == 0, done.err
    assert "trend: none applied" in done.out
    assert "trend: that of the template" not in done.out


def test_an_interrupted_export_goes_on_and_leaves_no_half_book(
    office: Office, tmp_path: Path
) -> None:
    file = pricing_folder(tmp_path / "p")
    record_address(office.state, "pricing", "127.0.0.1:9")  # dies after claims has told all
    done = export(office, file)
    record_address(office.state, "pricing", office.pricing)
    assert done.code == 1
    assert not list((file.parent / "book").glob("*"))
    parts = sorted((file.parent / "exporting").glob("people-*.pb"))
    assert len(parts) == -(-37 // BATCH)
    for late in parts[2:]:  # as if claims had died after two batches
        late.unlink()
    told = [study_pb2.ExportPeopleResponse.FromString(one.read_bytes()) for one in parts[:2]]
    before = len(office.log.kept)
    assert export(office, file, "--study", "f" * 32).code == 1  # another is under way
    assert export(office, file, "--study", "mine").code == 2
    assert export(office, file).code == 0
    assert len(office.log.kept) - before == 36 - sum(len(one.people) for one in told)
    assert len(pd.read_parquet(file.parent / "book" / "people.parquet")) == 36


def test_another_insurer_gets_an_empty_book(office: Office, tmp_path: Path) -> None:
    file = pricing_folder(tmp_path / "p")
    before = len(office.log.kept)
    done = export(office, file, insurer="another")
    assert done.code == 0, done.err
    assert pd.read_parquet(file.parent / "book" / "people.parquet").empty
    assert "no readings: nobody has any\n" in done.out
    assert len(office.log.kept) == before


def test_a_book_of_ones_own_is_not_replaced(office: Office, tmp_path: Path) -> None:
    file = pricing_folder(tmp_path / "p")
    own = file.parent / "book" / "regions.csv"
    own.write_text("person_id,region\n")
    done = export(office, file)
    assert done.code == 1
    assert "holds what no export has made (regions.csv); name another book.folder" in done.err
    own.unlink()
    assert export(office, file).code == 0
    own.write_text("person_id,region\n")  # beside an exported book it is not lost either
    assert export(office, file).code == 1
    assert own.exists()


def test_who_withdraws_before_the_book_is_there_is_not_in_it(
    office: Office, made: Exported, tmp_path: Path
) -> None:
    office.caller.append(of_insurer("third"))  # whose people no other test knows
    publish(office.claims)
    family = policy(5, people=9)
    for index, member in enumerate(family.members):
        member.birth_date = f"1980-03-{index + 10}"
    imported(office.claims, family)
    file = pricing_folder(tmp_path / "p")
    exporting, book = file.parent / "exporting", file.parent / "book"
    halted(office, file, "third")
    another = policy(6)  # insured after it began: not in this study, which goes on
    another.members[0].birth_date = "1980-08-08"
    imported(office.claims, another)
    _as_if_ready(made.folder / "book", exporting)
    assert export(office, file, insurer="third").code == 0
    assert is_finished(book)
    shutil.rmtree(book)

    for ready in (False, True):
        halted(office, file, "third")
        if ready:
            _as_if_ready(made.folder / "book", exporting)
        office.caller.append(of_hospital())
        office.claims.studies.LeaveOutMembers(
            study_pb2.LeaveOutMembersRequest(
                request_id=f"l{ready}", members=[f"members/{person(500 + ready)}"]
            ),
            timeout=60,
        )
        office.caller.pop()
        done = export(office, file, insurer="third")
        assert done.code == 1
        assert "begin anew" in done.err
        assert not exporting.exists()
        assert not book.exists()
    office.caller.pop()


def _as_if_ready(book: Path, exporting: Path) -> None:
    """Another book stands there as that of the study under way."""
    shutil.copytree(book, exporting / "book")
    manifest = json.loads((book / "manifest.json").read_bytes())
    manifest["study"] = json.loads((exporting / "study.json").read_bytes())["study"]
    (exporting / "book" / "manifest.json").write_text(json.dumps(manifest))


def halted(office: Office, file: Path, insurer: str = "insurer") -> None:
    """Pricing dies after claims has told all."""
    record_address(office.state, "pricing", "127.0.0.1:9")
    assert export(office, file, insurer=insurer).code == 1
    record_address(office.state, "pricing", office.pricing)


def test_two_exports_of_one_folder_refuse_each_other(office: Office, tmp_path: Path) -> None:
    file = pricing_folder(tmp_path / "p")
    with alone(file.parent):
        done = export(office, file)
        assert done.code == 1
        assert "another export works in" in done.err
    assert export(office, file).code == 0


def test_a_second_process_is_refused_until_the_first_is_killed(
    office: Office, tmp_path: Path
) -> None:
    file = pricing_folder(tmp_path / "p")
    parts = file.parent / "exporting"
    office.caller.append(replace(of_insurer(), roles=CHIEF, purpose=PURPOSE))
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # pricing never answers
        record_address(office.state, "pricing", f"127.0.0.1:{deaf.getsockname()[1]}")
        words = ["pricing", "export-book", "-f", str(file), "--state", str(office.state)]
        code = "from stack.cli import main; main()"
        with subprocess.Popen([sys.executable, "-c", code, *words], env=environ()) as first:
            try:
                _until(lambda: len(list(parts.glob("people-*.pb"))) == -(-37 // BATCH))
                second = export(office, file)
            finally:
                first.kill()
                office.caller.pop()
                record_address(office.state, "pricing", office.pricing)
    assert second.code == 1
    assert "another export works in" in second.err
    before = len(office.log.kept)
    assert export(office, file).code == 0
    assert len(office.log.kept) == before  # claims told all to the first
    assert is_finished(file.parent / "book")
    assert not parts.exists()


def _until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("fault", ["gone", "cut", "no study"])
def test_a_part_that_is_lost_is_told(office: Office, tmp_path: Path, fault: str) -> None:
    file = pricing_folder(tmp_path / "p")
    halted(office, file)
    exporting = file.parent / "exporting"
    part = sorted(exporting.glob("people-*.pb"))[1]
    if fault == "gone":
        part.unlink()
    elif fault == "cut":
        part.write_bytes(b"\xff\xff")
    else:
        (exporting / "study.json").write_text("")
    done = export(office, file)
    assert done.code == 1
    assert "remove the folder and begin anew" in done.err
    assert not list((file.parent / "book").glob("*"))


def test_parts_made_under_another_key_begin_anew(office: Office, tmp_path: Path) -> None:
    file = pricing_folder(tmp_path / "p")
    halted(office, file)
    exporting = file.parent / "exporting"
    last = max(exporting.glob("people-*.pb"))
    told = study_pb2.ExportPeopleResponse.FromString(last.read_bytes())
    study = json.loads((exporting / "study.json").read_bytes())["study"]
    sealed_for = f"insurer/insurer {study} 2026-07-01"
    told.confirm_token = StudySeal(bytes([9]) * 32).page_token(sealed_for, "x/0/")
    last.write_bytes(told.SerializeToString())
    done = export(office, file)
    assert done.code == 1
    assert "under this key" in done.err
    assert "the same command begins anew" in done.err
    assert not exporting.exists()
    assert export(office, file).code == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("exporting", "not for books"),
        ("exporting/book", "not for books"),
        ("runs", "not for books"),
        ("../elsewhere/x", "outside the pricing folder"),
        (".", "outside the pricing folder, or is it"),
        ("pricing.yaml", "is a file"),
        ("pricing.yaml/x", "is a file"),
    ],
)
def test_where_no_book_can_be_is_refused_before_anything_is_asked(
    office: Office, tmp_path: Path, name: str, told: str
) -> None:
    file = pricing_folder(tmp_path / "p")
    text = file.read_text("utf-8")
    assert "folder: book" in text
    file.write_text(text.replace("folder: book", f"folder: {name}", 1), "utf-8")
    before = len(office.log.kept), sorted(tmp_path.rglob("*"))
    done = export(office, file)
    assert done.code == 2, done.err
    assert told in done.err
    assert (len(office.log.kept), sorted(tmp_path.rglob("*"))) == before


def test_neither_a_link_nor_a_book_with_a_manifest_of_ones_own_is_replaced(
    office: Office, tmp_path: Path
) -> None:
    file = pricing_folder(tmp_path / "p")
    book = file.parent / "book"
    (book / "people.parquet").write_bytes(b"mine")
    (book / "manifest.json").write_text('{"mine": true}')
    done = export(office, file)
    assert done.code == 1
    assert "holds what no export has made (manifest.json, people.parquet)" in done.err
    assert (book / "people.parquet").read_bytes() == b"mine"
    book.rename(tmp_path / "mine")
    book.symlink_to(tmp_path / "mine")
    assert "is a link" in export(office, file).err
    book.unlink()
    assert export(office, file).code == 0


def test_a_book_cut_while_it_was_made_is_made_again(office: Office, tmp_path: Path) -> None:
    file = pricing_folder(tmp_path / "p")
    halted(office, file)
    made = file.parent / "exporting" / "book"
    made.mkdir()
    (made / "manifest.json").write_text('{"format": 1, "study": "')
    assert export(office, file).code == 0
    assert is_finished(file.parent / "book")
    (file.parent / "book" / "people.parquet").write_bytes(b"another")
    assert not is_finished(file.parent / "book")


def test_what_the_system_refuses_is_told_in_words(office: Office, tmp_path: Path) -> None:
    file = pricing_folder(tmp_path / "p")
    (file.parent / "exporting").write_text("in the way")
    done = export(office, file)
    assert done.code == 1
    assert "exporting: File exists; once that is mended, the same command goes on" in done.err
    (file.parent / "exporting").unlink()
    assert export(office, file).code == 0


def test_what_is_put_beside_the_old_book_meanwhile_is_not_lost(
    made: Exported, tmp_path: Path
) -> None:
    folder, fresh, aside = tmp_path / "book", tmp_path / "fresh", tmp_path / "before"
    shutil.copytree(made.folder / "book", folder)
    shutil.copytree(made.folder / "book", fresh)
    own = folder / "regions.csv"
    own.write_text("mine")
    with pytest.raises(Foreign, match=r"regions\.csv"):
        put_in_place(fresh, folder, aside)
    assert own.read_text() == "mine"
    assert is_finished(folder)
    assert is_finished(fresh)
    own.unlink()
    put_in_place(fresh, folder, aside)
    assert not fresh.exists()
    assert not aside.exists()


def test_a_replacement_cut_between_its_renames_does_not_cost_the_old_book(
    office: Office, made: Exported, tmp_path: Path
) -> None:
    file = pricing_folder(tmp_path / "p")
    book, exporting = file.parent / "book", file.parent / "exporting"
    halted(office, file)
    book.rmdir()
    shutil.copytree(made.folder / "book", exporting / "before")  # killed after the first rename
    (exporting / "study.json").write_text("")  # and nothing can go on
    assert export(office, file).code == 1
    assert is_finished(book)
    assert not (exporting / "before").exists()


@pytest.mark.parametrize(
    "left", ["study.json.new", "people-0000001.pb", "people-0000002.pb.new", "book", "before"]
)
def test_what_a_killed_beginning_or_end_has_left_is_in_no_one_s_way(
    office: Office, tmp_path: Path, left: str
) -> None:
    file = pricing_folder(tmp_path / "p")
    exporting = file.parent / "exporting"
    exporting.mkdir(mode=0o755)
    if "." in left:
        (exporting / left).write_bytes(b"\xff")
    else:
        (exporting / left).mkdir()
        (exporting / left / "people.parquet").write_bytes(b"\xff")
    own = exporting / "mine.csv"
    own.write_text("mine")
    assert "or holds others" in export(office, file).err
    assert exporting.stat().st_mode & 0o777 == 0o700
    own.unlink()
    done = export(office, file)
    assert done.code == 0, done.err
    assert not exporting.exists()
    assert is_finished(file.parent / "book")


def test_parts_are_kept_nowhere_else(office: Office, tmp_path: Path) -> None:
    file = pricing_folder(tmp_path / "p")
    (tmp_path / "elsewhere").mkdir()
    (file.parent / "exporting").symlink_to(tmp_path / "elsewhere")
    before = len(office.log.kept)
    done = export(office, file)
    assert done.code == 1
    assert "exporting: is a link" in done.err
    assert len(office.log.kept) == before
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_study_that_cannot_be_dropped_is_not_said_to_be(tmp_path: Path) -> None:
    parts = StudyParts(tmp_path / "exporting")
    parts.begin("0" * 32, date(2026, 7, 1))
    (tmp_path / "exporting").rename(tmp_path / "moved")
    (tmp_path / "exporting").symlink_to(tmp_path / "moved")
    with pytest.raises(OSError, match="symbolic link"):
        parts.drop()
    assert not (tmp_path / "moved" / "study.json").exists()


def test_a_finished_book_of_another_study_or_zone_is_made_anew(
    office: Office, made: Exported, tmp_path: Path
) -> None:
    file = pricing_folder(tmp_path / "p")
    halted(office, file)
    exporting = file.parent / "exporting"
    study = json.loads((exporting / "study.json").read_bytes())["study"]
    shutil.copytree(made.folder / "book", exporting / "book")  # of another study
    assert export(office, file).code == 0
    told = json.loads((file.parent / "book" / "manifest.json").read_bytes())
    assert told["study"] == study
    assert is_finished(file.parent / "book", {"study": study, "zone": "Asia/Shanghai"})
    assert not is_finished(file.parent / "book", {"study": study, "zone": "Asia/Tokyo"})


@pytest.mark.parametrize("most", [60, 1_000, 3_000])
def test_on_a_full_disk_it_says_so_and_then_goes_on(
    office: Office, made: Exported, tmp_path: Path, most: int
) -> None:
    """No file may grow beyond: a beginning, a part, and a table while it is sorted."""
    file = pricing_folder(tmp_path / "p")
    book = file.parent / "book"
    shutil.rmtree(book)
    shutil.copytree(made.folder / "book", book)
    before = (book / "manifest.json").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        done = export(office, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.code == 1, done.out
    assert "once that is mended, the same command goes on" in done.err
    assert "File too large" in done.err
    assert (book / "manifest.json").read_bytes() == before
    done = export(office, file)
    assert done.code == 0, done.err
    assert (book / "manifest.json").read_bytes() != before
    assert is_finished(book)


def test_a_grant_that_ends_under_way_is_asked_for_anew(office: Office, tmp_path: Path) -> None:
    parts = StudyParts(tmp_path / "exporting")
    parts.begin("0" * 32, date(2026, 7, 1))
    asked: list[str] = []

    def ask(token: str) -> Iterator[ExportReadingsResponse]:
        asked.append(token)
        if len(asked) == 2:  # without a grant from the first answer on
            yield ExportReadingsResponse()
            return
        if len(asked) == 1:
            yield ExportReadingsResponse(next_page_token="1")
        raise _not_granted(office)

    follow(parts, "readings-000", ExportReadingsResponse, "readings", ask)
    assert asked == ["", "1"]
    with pytest.raises(grpc.RpcError):  # never granted: it does not ask for ever
        follow(parts, "readings-001", ExportReadingsResponse, "readings", ask)
    assert len(asked) == 3


def _not_granted(office: Office) -> grpc.RpcError:
    request = ExportReadingsRequest(study="0" * 32, before_date="2026-07-01", people=[bytes(16)])
    identity = identity_for(office.state, "chief_actuary", purpose=PURPOSE)
    with (
        closing(sync_channel(office.pricing, identity, "pricing")) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        list(StudyServiceStub(channel).ExportReadings(request, timeout=60))
    assert error_of(caught.value).reason == "STUDY_NOT_GRANTED"
    return caught.value


def test_it_says_how_many_people_their_days_of_cover_tell(tmp_path: Path) -> None:
    """Ten people are alike but for days of cover: of five one has another last day."""
    day = date(2025, 1, 1)
    with BookWriter(tmp_path, {name: COLUMNS[name] for name in ("people", "policies")}) as book:
        book.add(
            "people",
            {
                "person_id": [f"p{number}" for number in range(10)],
                "birth_date": [date(1980, 3, 1)] * 10,
                "sex": ["F"] * 10,
                "conditions": ["none"] * 10,
            },
        )
        book.add(
            "policies",
            {
                "policy_id": [f"y{number}" for number in range(10)],
                "person_id": [f"p{number}" for number in range(10)],
                "first_day": [day + timedelta(days=number // 5) for number in range(10)],
                "after_day": [date(2026, 1, 1)] * 9 + [date(2025, 6, 1)],
                "deductible_minor": [0] * 10,
                "limit_minor": [None] * 10,
                "premium_minor": [0] * 10,
                "currency": ["CNY"] * 10,
            },
        )
    found = few_alike(tmp_path)
    assert (found.conditions, found.cover) == (0, 5)


def test_a_folder_for_an_exported_book_needs_no_factor_taken_out(tmp_path: Path) -> None:
    assert lipei("pricing", "init", tmp_path / "own", "--own").code == 0
    assert "coinsurance" in (tmp_path / "own" / "pricing.yaml").read_text("utf-8")
    assert lipei("pricing", "init", tmp_path / "p", "--exported").code == 0
    text = (tmp_path / "p" / "pricing.yaml").read_text("utf-8")
    assert "coinsurance" not in text
    file = read_pricing_file(tmp_path / "p" / "pricing.yaml")
    assert file.of(BookSettings).rating_factors == ()
    assert set(file.of(FitSettings).factors) == {"age", "sex", "condition", "hba1c", "systolic"}
    assert "{2000-01-01" not in text  # no trend of the simulated book
