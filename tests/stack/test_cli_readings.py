"""`lipei readings` and the credit of `lipei quote`, against a pricing service of their own."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from google.protobuf.json_format import MessageToJson

from lipei.type.v1 import reading_pb2
from tests.identities import equip
from tests.services.pricing.at_hand import DEMO
from tests.services.pricing.fitting.renewal.books import (
    people,
    renewed_book,
    work,
    write_book,
)
from tests.services.pricing.medication_calls import fill
from tests.services.pricing.process import serving
from tests.services.pricing.reading_requests import reading, weeks
from tests.stack.typed import lipei

TOKEN = "k1." + "a" * 64
CAP = {"LIPEI_PRICING_CREDIT_CAP": "0.05", "LIPEI_PRICING_CREDIT_CAP_SOURCE": "a regulation"}
MONTHS = ["readings", "months", TOKEN, "--programme", "diabetes-glucose", "--renewal"]
QUOTE = ["quote", "diabetes-hypertension-demo", "--start-date", "2026-01-01"]
FACTS = ["--feature", "age=52", "--feature", "sex=F", "--feature", "condition=type2_diabetes"]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    found = tmp_path_factory.mktemp("state")
    with serving(found, CAP):
        yield equip(found, sandbox=True)


def lines(*readings: reading_pb2.Reading) -> str:
    return "".join(MessageToJson(entry, indent=None) + "\n" for entry in readings)


def test_flags_and_covered_days_are_shown_and_a_flag_is_cleared(
    state: Path, tmp_path: Path
) -> None:
    token = "k1." + "e" * 64
    readings, events = tmp_path / "gap.jsonl", tmp_path / "fills.jsonl"
    apart = ("2025-03-03 07:00", "2025-05-03 07:00")
    readings.write_text(
        lines(*[reading(token, f"g{n}", "fasting", "6.1", at) for n, at in enumerate(apart)])
    )
    assert lipei("readings", "record", readings, "--state", state).out.strip().startswith("2 rec")
    made = fill(token, "f", "2025-06-01")
    events.write_text(MessageToJson(made, indent=None) + "\n")
    for said in ("1 recorded, 0 known", "0 recorded, 1 known"):
        assert lipei("medication", "record", events, "--state", state).out.strip() == said
    events.write_text("{}}\n")
    broken = lipei("medication", "record", events, "--state", state)
    assert "fills.jsonl:1: is no lipei.pricing.v1.MedicationEvent" in broken.err

    whose: list[str | Path] = ["--programme", "diabetes-glucose", "--state", state]
    when: list[str | Path] = ["--renewal", "2026-01-01"]
    shown = lipei("readings", "months", token, *whose, *when).out
    assert "days covered by drugs not measured, longest run 1 (2025-06 – 2025-06), earns 1 %" in (
        shown
    )
    silent = "no reading of the device came in time between 2025-03-03 and 2025-05-03, 61 days"
    assert f"(noted): {silent} (more than 14)" in shown
    assert "  2025-03, 2025-05; readings 2: g0 g1\n" in shown
    flag = re.search(r"flag ([0-9a-f]{32})", shown)
    assert flag is not None
    lipei(*QUOTE, *FACTS, "--member", token, *whose)  # from here on the member is the insurer's
    why = ["--reason", "was in hospital", "--evidence", "file 9"]
    cleared = lipei("readings", "clear", token, flag[1], *whose, *when, *why)
    assert f"(cleared): {silent}" in cleared.out


def test_a_file_of_readings_is_recorded_once_and_shows_in_months_and_quote(
    state: Path, tmp_path: Path
) -> None:
    file = tmp_path / "readings.jsonl"
    low = reading(TOKEN, "low", "glucose", "3.1", "2025-05-01 09:00")
    file.write_text(lines(*weeks(TOKEN, "2025-03", "6.0"), *weeks(TOKEN, "2025-04", "6.0"), low))
    for said in (
        "7 recorded, 0 known; 1 for a coach, see `lipei readings tasks`",
        "0 recorded, 7 known",
    ):
        told = lipei("readings", "record", file, "--state", state).out.splitlines()
        assert told[0] == said
        assert "`lipei readings months --help`" in told[1]
    counted = json.loads(lipei("readings", "record", file, "--state", state, "--json").out)
    assert (counted["recorded_count"], counted["known_count"]) == (0, 7)

    shown = lipei(*MONTHS, "2026-01-01", "--state", state).out
    march = next(line for line in shown.splitlines() if line.strip().startswith("2025-03"))
    assert "on target" in march
    assert "3 of 4" in march
    assert "fasting glucose 6.0 (4.4-7.0)" in march
    assert "2025-03-03 2025-03-10 2025-03-17" in march
    assert "longest run 2 (2025-03 to 2025-04), earns 6 %" in shown
    assert "credit 5 % (legal cap 5 %: a regulation)" in shown
    found = json.loads(lipei(*MONTHS, "2026-01-01", "--state", state, "--json").out)
    assert found["run_months"] == 2

    part: list[str | Path] = [
        "--member",
        TOKEN,
        "--programme",
        "diabetes-glucose",
        "--state",
        state,
    ]
    quoted = lipei(*QUOTE, *FACTS, *part, "--expiring-start-date", "2025-01-01")
    # 3706.80 less 5 %.
    assert "premium without credit 3,706.80 CNY" in quoted.out
    assert quoted.out.splitlines()[-1].startswith("premium 3,521.46 CNY = sum of the differences")
    assert any(line.strip().startswith("incentive") for line in quoted.out.splitlines())

    tasks = lipei("readings", "tasks", TOKEN, "--state", state)
    assert tasks.out.endswith("1 for a coach\n")
    assert "3.1" in tasks.out
    everyone = json.loads(lipei("readings", "tasks", "--state", state, "--json").out)
    assert [task["glucose_mmol_l"] for task in everyone["tasks"]] == ["3.1"]


def test_a_fault_is_named_by_its_line(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "off.jsonl"
    off = reading(TOKEN, "off", "hba1c", "55", "2025-03-01 09:00")
    file.write_text("\n" + lines(*weeks(TOKEN, "2025-06", "6.0"), off))
    typed = lipei("readings", "record", file, "--state", state)
    assert typed.code == 1
    assert typed.said[0] == "pricing refused: 1 fault"
    assert typed.said[1].startswith("  line 5 value: must lie in 3.0 to 20.0 %")
    event = fill(TOKEN, "off", "2025-06-01", days=0)
    file.write_text("\n" + MessageToJson(event, indent=None) + "\n")
    typed = lipei("medication", "record", file, "--state", state)
    assert typed.said[1].startswith("  line 2 days: must be 1 to 366")


def test_an_event_of_the_page_is_recorded_as_it_stands(state: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "pricing.md").read_text("utf-8")
    printed = re.search(r"`medication\.jsonl`.*?```json\n(.+?)\n```", page, re.DOTALL)
    assert printed is not None
    file = tmp_path / "medication.jsonl"
    file.write_text(printed[1] + "\n", "utf-8")
    typed = lipei("medication", "record", file, "--state", state)
    assert typed.out.strip() == "1 recorded, 0 known", typed.err


def test_what_was_recorded_before_a_fault_is_told(state: Path, tmp_path: Path) -> None:
    many = [reading(TOKEN, f"many-{n}", "glucose", "6.0", "2025-08-01 09:00") for n in range(1000)]
    off = reading(TOKEN, "off", "glucose", "6.0", "2999-08-01 09:00")
    file = tmp_path / "many.jsonl"
    file.write_text(lines(*many, off))
    typed = lipei("readings", "record", file, "--state", state)
    assert typed.said[0] == "readings: 1000 of 1001 readings sent"
    assert typed.said[2].startswith("  line 1001 effective_time:")
    assert typed.said[-1] == "the other 1000 lines are recorded"


RENEW: list[str | Path] = [
    *("pricing", "renew", "policy", "p7", "--start-date", "2026-01-01"),
    *("--expiring-last-date", "2025-12-31", "--expiring-premium", "3500.00"),
]


def test_one_policy_is_renewed_under_the_factor_of_its_book(state: Path, tmp_path: Path) -> None:
    made = work(write_book(tmp_path / "book.parquet", people(40)), tmp_path)
    manifest, _ = renewed_book(made)
    path = made.result / "manifest.json"
    shown = lipei(*RENEW, *FACTS, "--manifest", path, "--state", state)
    assert shown.code == 0, shown.err
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    factor = Decimal(manifest.off_balance_billionths).scaleb(-9)
    for line in (
        "expiring premium without credit, rerated 3,500.00 CNY",
        "technical premium 3,706.80 CNY",
        "collar 0.85–1.25 (a test): 2,975.00 CNY – 4,375.00 CNY",
        f"off-balance factor {factor} (manifest.json sha256:{digest})",
    ):
        assert line in shown.out.splitlines()

    # By a book of another format its premium might be a fen off.
    other = tmp_path / "other.json"
    for format_ in (manifest.format - 1, manifest.format + 1):
        other.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, format=format_)))
        shown = lipei(*RENEW, *FACTS, "--manifest", other, "--state", state)
        assert (shown.code, shown.out) == (2, "")
        assert f"its format is {format_}" in shown.said[0]

    alone: list[str | Path] = [*("--tariff", DEMO), "--collar", "0.85,1.25,a test"]
    shown = lipei(*RENEW, *FACTS, *alone, "--state", state, "--lang", "zh")
    lines_shown = shown.out.splitlines()
    assert "平衡因子 1 (未给出)" in lines_shown
    assert lines_shown[-1] == "保费 3,706.80 CNY = 差额之和 3,706.800000"
    machine = lipei(*RENEW, *FACTS, *alone, "--state", state, "--json")
    assert json.loads(machine.out)["renewal"]["technical_premium"]["minor_units"] == "370680"


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--tariff", DEMO, "--manifest", "m.json"],
        ["--manifest", "no-such-file"],
        ["--manifest", __file__],
        ["--tariff", DEMO, "--collar", "a little"],
        ["--tariff", DEMO, "--currency", "XXX"],
        ["--tariff", DEMO, "--expiring-premium", "3500.001"],
        ["--tariff", DEMO, "--member", TOKEN],
    ],
)
def test_a_renewal_that_is_asked_for_wrongly_exits_with_2(state: Path, more: list[str]) -> None:
    found = lipei(*RENEW, *FACTS, *more, "--state", state)
    assert found.code == 2
    assert "Traceback" not in found.err


@pytest.mark.parametrize(
    "words",
    [
        ["readings", "record", "no-such-file"],
        ["readings", "months", TOKEN, "--programme", "p"],
        [*QUOTE, "--member", TOKEN],
        [*QUOTE, "--programme", "p"],
    ],
)
def test_wrong_use_exits_with_2(state: Path, words: list[str]) -> None:
    assert lipei(*words, "--state", state).code == 2
