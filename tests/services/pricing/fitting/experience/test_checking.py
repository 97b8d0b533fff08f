"""Every kind of fault has a case; a plain book has none; no value of a person is ever told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from services.pricing.fitting.book_settings import TableSource
from services.pricing.fitting.experience.checking import Found, check, stops, usable_readings
from services.pricing.fitting.experience.faults import Effect, fault_kinds
from services.pricing.fitting.experience.tables import NoBook, open_book, open_frames
from tests.services.pricing.fitting.books import BOOK, frames, opened, plain, rows

Rows = list[dict[str, Any]]
Break = Callable[[Rows], object]
EARLY = pd.Timestamp("2022-11-10T08:00:00+08:00")


def cell(column: str, value: Any, row: int = 0) -> Break:
    return lambda listed: listed[row].__setitem__(column, value)


def again(**other: Any) -> Break:
    return lambda listed: listed.append(listed[0] | other)


def two_devices(listed: Rows) -> None:
    """Of one provenance, told apart by the device alone."""
    listed[0] |= {"device": "m1"}
    listed.append(listed[0] | {"reading_id": "r8", "value": 8.6, "device": "m2"})


# Table, kind, column, what is broken; where a fault has others in its wake, only it is looked for.
CASES: list[tuple[str, str, str, Break]] = [
    ("people", "EMPTY", "birth_date", cell("birth_date", None)),
    ("people", "EMPTY", "sex", cell("sex", None)),
    ("people", "EMPTY", "person_id", cell("person_id", None)),
    ("people", "EMPTY", "conditions", cell("conditions", "")),
    ("people", "NOT_READ", "birth_date", cell("birth_date", "31/12/1970")),
    ("people", "UNKNOWN_WORD", "sex", cell("sex", "男")),
    ("people", "UNKNOWN_WORD", "conditions", cell("conditions", "gout")),
    ("people", "NOT_READ", "condition_since", cell("condition_since", "soon")),
    ("people", "DUPLICATE_KEY", "person_id", again()),
    ("people", "WITHOUT_POLICY", "", again(person_id="p3")),
    ("policies", "UNKNOWN_PERSON", "person_id", again(policy_id="c9", person_id="nobody")),
    ("policies", "NO_DAYS", "", cell("after_day", date(2023, 3, 1))),
    ("policies", "ABOVE_A_YEAR", "", cell("after_day", date(2024, 3, 2))),
    ("policies", "ENTRY_AFTER_END", "", cell("entry_day", date(2024, 3, 1))),
    ("policies", "OVERLAP", "", cell("first_day", date(2024, 2, 28), row=1)),
    ("policies", "OTHER_CURRENCY", "", cell("currency", "USD")),
    ("policies", "IMPOSSIBLE_AGE", "", cell("first_day", date(1969, 1, 1))),
    ("policies", "LIMIT_BELOW_DEDUCTIBLE", "", cell("deductible_minor", 50_000_000)),
    ("policies", "NEGATIVE", "deductible_minor", cell("deductible_minor", -1)),
    ("policies", "NEGATIVE", "premium_minor", cell("premium_minor", -1)),
    ("policies", "NOT_READ", "premium_minor", cell("premium_minor", "6000.5")),
    ("policies", "TOO_LARGE", "limit_minor", cell("limit_minor", 10**14)),
    ("policies", "TOO_SMALL", "limit_minor", cell("limit_minor", 0)),
    ("policies", "DUPLICATE_KEY", "policy_id", again()),
    ("claims", "UNKNOWN_PERSON", "person_id", cell("person_id", "nobody")),
    ("claims", "UNKNOWN_POLICY", "", cell("policy_id", "c77")),
    ("claims", "OTHERS_POLICY", "", cell("person_id", "p2")),
    ("claims", "OUTSIDE_COVER", "", cell("event_day", date(2023, 2, 28))),
    ("claims", "UNKNOWN_CAUSE", "", cell("cause", "dental")),
    ("claims", "REPORTED_BEFORE_EVENT", "", cell("report_day", date(2023, 5, 31))),
    ("claims", "ABOVE_GROUND_UP", "", cell("amount_minor", 20_001)),
    ("claims", "ABOVE_LIMIT", "", cell("amount_minor", 50_000_001)),
    ("policies", "NO_PREMIUM", "", cell("premium_minor", 0)),
    ("claims", "REPORTED_AFTER_VALUATION", "", cell("report_day", date(2026, 1, 1))),
    ("claims", "LOOKS_REPEATED", "", again(claim_id="k9")),
    ("claims", "NEGATIVE", "amount_minor", cell("amount_minor", -5)),
    ("claims", "EMPTY", "amount_minor", cell("amount_minor", float("nan"))),
    ("claims", "NOT_READ", "amount_minor", cell("amount_minor", "200.5")),
    ("claims", "TOO_LARGE", "ground_up_minor", cell("ground_up_minor", 10**14)),
    ("claims", "DUPLICATE_KEY", "claim_id", again()),
    ("readings", "UNKNOWN_PERSON", "person_id", cell("person_id", "nobody")),
    ("readings", "UNKNOWN_CODE", "", cell("code", "718-7")),
    ("readings", "UNKNOWN_UNIT", "", cell("unit", "mmol/L")),
    ("readings", "IMPLAUSIBLE", "", cell("value", 0.0)),
    ("readings", "IMPLAUSIBLE", "", cell("value", 13_682.0)),
    ("readings", "NOT_FINITE", "value", cell("value", float("inf"))),
    ("readings", "NOT_READ", "value", cell("value", "7,4")),
    ("readings", "MEASURED_AFTER_RECEIPT", "", cell("receive_time", EARLY - pd.Timedelta("1min"))),
    ("readings", "AFTER_VALUATION", "", cell("receive_time", pd.Timestamp("2026-01-01T00:00+08"))),
    ("readings", "REPEATED", "", again(reading_id="r9")),
    ("readings", "SOURCES_DISAGREE", "", again(reading_id="r9", value=8.6, provenance="TYPED")),
    ("readings", "SOURCES_DISAGREE", "", two_devices),
    ("readings", "UNKNOWN_WORD", "provenance", cell("provenance", "neighbour")),
    ("readings", "UNKNOWN_WORD", "fasting", cell("fasting", "MAYBE")),
    ("readings", "NOT_READ", "effective_time", cell("effective_time", "yesterday")),
    ("readings", "DUPLICATE_KEY", "reading_id", again()),
    ("enrolments", "UNKNOWN_PERSON", "person_id", again(person_id="nobody")),
    ("enrolments", "NO_DAYS", "", cell("after_day", date(2023, 8, 1))),
    ("policies", "EMPTY", "deductible_minor", cell("deductible_minor", None)),
    ("claims", "EMPTY", "event_day", cell("event_day", None)),
    ("readings", "EMPTY", "value", cell("value", None)),
    ("enrolments", "EMPTY", "first_day", cell("first_day", None)),
    ("enrolments", "NOT_READ", "first_day", cell("first_day", "in spring")),
    ("enrolments", "DUPLICATE_KEY", "person_id", again()),
]


def found_in(book: dict[str, Rows]) -> list[Found]:
    return check(opened(book), BOOK)


def test_a_plain_book_has_no_fault() -> None:
    assert found_in(plain()) == []


def test_a_value_that_is_not_there_is_not_called_impossible_too() -> None:
    book = plain()
    book["readings"][0]["value"] = None
    assert [one.kind for one in found_in(book) if one.table == "readings"] == ["EMPTY"]


@pytest.fixture(scope="module")
def spoilt() -> tuple[list[Found], list[range]]:
    """What a book of all cases has, each case on rows of its own; and each case's rows."""
    whole: dict[str, Rows] = {name: [] for name in plain()}
    places = []
    for number, (table, _, _, spoil) in enumerate(CASES):
        book = plain()
        spoil(book[table])
        before = len(whole[table])
        for name, listed in book.items():
            whole[name] += [own(row, f"{number}-") for row in listed]
        places.append(range(before + 1, len(whole[table]) + 1))
    return found_in(whole), places


def own(row: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The row with ids of its own."""
    ids = [name for name in row if name.endswith("_id") and row[name] is not None]
    return row | {name: prefix + row[name] for name in ids}


@pytest.mark.parametrize("place", range(len(CASES)))
def test_a_fault_is_told_with_its_row(spoilt: tuple[list[Found], list[range]], place: int) -> None:
    found, places = spoilt
    told = [one for one in found if (one.table, one.kind, one.column) == CASES[place][:3]]
    assert len(told) == 1, CASES[place][:3]
    assert set(told[0].examples) & set(places[place]), CASES[place][:3]
    assert told[0].do


def test_every_kind_of_fault_has_a_case() -> None:
    tried = {(table, kind) for table, kind, _, _ in CASES}
    assert {(one.table, one.kind) for one in fault_kinds()} <= tried


def test_all_faults_come_at_once_and_no_value_does() -> None:
    book = plain()
    for table, _, _, spoil in CASES:
        if table in ("claims", "policies"):
            spoil(book[table])
    told = found_in(book)
    assert len({one.kind for one in told}) > 10
    said = " ".join(f"{one.what} {one.do}" for one in told)
    for secret in ("nobody", "USD", "dental", "1969", "20001"):
        assert secret not in said


def test_paid_up_to_the_limit_or_without_one_is_no_fault() -> None:
    for limit in (20_000, None):
        book = plain()
        for policy in book["policies"]:
            policy["limit_minor"] = limit
        assert found_in(book) == []
        book["policies"][0]["limit_minor"] = 19_999
        told = [(one.kind, one.effect, one.examples) for one in found_in(book)]
        assert told == [("ABOVE_LIMIT", Effect.STOPS, (1, 2))]


@pytest.mark.parametrize(
    ("written", "kinds"),
    [
        ([10, 20], []),
        ([0, 100.0], []),
        (["10", "20"], []),
        ([10, float("nan")], ["NO_FACTOR"]),
        (["10", ""], ["NO_FACTOR"]),
        ([10, None], ["NO_FACTOR"]),
        ([10, 250], ["NO_PERCENTAGE"]),
        (["10", "a tenth"], ["NO_PERCENTAGE"]),
    ],
)
def test_a_rating_factor_without_a_possible_value_is_told(
    written: list[Any], kinds: list[str]
) -> None:
    book = plain()
    for person, value in zip(book["people"], written, strict=True):
        person["coinsurance_percent"] = value
    told = found_in(book)
    assert [one.kind for one in told] == kinds
    assert {(one.column, one.effect, one.examples) for one in told} <= {
        ("coinsurance_percent", Effect.STOPS, (2,))
    }


def test_a_rating_factor_under_a_company_s_own_name_is_read_there() -> None:
    given = frames(plain())
    given["people"] = given["people"].rename(columns={"coinsurance_percent": "自付"})
    given["people"]["自付"] = [10, 250]
    source = TableSource(columns={"coinsurance_percent": "自付"})
    mapped = replace(BOOK, tables={"people": source})
    told = check(open_frames(given, mapped), mapped)
    assert [(one.kind, one.examples) for one in told] == [("NO_PERCENTAGE", (2,))]


def test_a_missing_column_stops_and_names_what_to_do() -> None:
    given = frames(plain())
    given["claims"] = given["claims"].drop(columns=["cause"])
    told = check(open_frames(given, BOOK), BOOK)
    assert [(one.kind, one.column, one.effect) for one in told] == [
        ("MISSING_COLUMN", "cause", Effect.STOPS)
    ]
    assert "book.tables.claims.columns" in told[0].do


def test_a_reading_at_fault_is_not_used_and_stops_nothing() -> None:
    book = plain()
    bad = {"value": 13_682.0}, {"unit": "furlong"}, {"provenance": "neighbour"}
    book["readings"] = rows("readings", {}, *bad)
    told = found_in(book)
    assert told
    assert not stops(told)
    con = opened(book)
    con.execute("CREATE TEMP TABLE persons AS SELECT 'p1' AS person_id, 0 AS pid")
    usable_readings(con, BOOK)
    assert con.execute("SELECT reading_id, steps FROM usable").fetchall() == [("r1", 74)]


@pytest.mark.parametrize(
    ("code", "unit", "value", "quantity", "steps"),
    [
        ("59261-8", "mmol/mol", 53.0, "hba1c", 70),
        ("4548-4", "%", 6.95, "hba1c", 70),
        ("15074-8", "mg/dL", 126.0, "glucose", 70),
        ("15074-8", "mmol/L", 6.95, "glucose", 70),
        ("8480-6", "mm[Hg]", 139.5, "systolic", 140),
    ],
)
def test_units_are_converted_exactly_then_rounded(
    code: str, unit: str, value: float, quantity: str, steps: int
) -> None:
    told = rows("readings", {"code": code, "unit": unit, "value": value})
    con = opened(plain() | {"readings": told})
    con.execute("CREATE TEMP TABLE persons AS SELECT 'p1' AS person_id, 0 AS pid")
    usable_readings(con, BOOK)
    assert con.execute("SELECT quantity, steps FROM usable").fetchall() == [(quantity, steps)]


def test_a_company_s_own_names_and_words_are_mapped(tmp_path: Path) -> None:
    given = frames(plain())
    given["people"] = given["people"].rename(columns={"person_id": "客户号", "sex": "性别"})
    given["people"]["性别"] = given["people"]["性别"].map({"F": "女", "M": "男"})
    for name, frame in given.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    source = TableSource(
        columns={"person_id": "客户号", "sex": "性别"}, values={"sex": {"女": "F", "男": "M"}}
    )
    mapped = replace(BOOK, tables={"people": source})
    con = open_book(tmp_path, mapped)
    assert check(con, mapped) == []
    assert con.execute("SELECT person_id, sex FROM people ORDER BY 1").fetchall() == [
        ("p1", "F"),
        ("p2", "M"),
    ]


def test_a_book_without_its_tables_names_them_all(tmp_path: Path) -> None:
    with pytest.raises(NoBook) as refused:
        open_book(tmp_path, BOOK)
    assert all(name in str(refused.value) for name in ("people", "policies", "claims"))
    assert "readings" not in str(refused.value)


def test_what_exceeds_the_memory_goes_where_nobody_else_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    con = opened(plain())
    con.execute("SET memory_limit = '20MB'")
    con.execute("SET threads = 1")
    con.execute("CREATE TEMP TABLE large AS SELECT i, hash(i) AS h FROM range(3000000) t(i)")
    (spilt,) = con.execute("SELECT current_setting('temp_directory')").fetchone() or ("",)
    assert Path(spilt).stat().st_mode & 0o077 == 0
    assert any(Path(spilt).iterdir())
    assert not list(tmp_path.iterdir())


OWN = {
    "people": TableSource(
        file="客户.csv", columns={"birth_date": "出生日期", "coinsurance_percent": "自付比例"}
    ),
    "policies": TableSource(
        file="保单.csv",
        columns={"policy_id": "保单号", "first_day": "起保日", "after_day": "终止日"},
    ),
    "claims": TableSource(file="赔案.csv", columns={"amount_minor": "赔款分", "cause": "原因"}),
}


def told_by_own_names(
    table: str, *spoil: Break, without: str = ""
) -> dict[str, tuple[str, str, str]]:
    """Where, what and what to do of each kind of fault of a book that has its owner's names."""
    book = plain()
    for one in spoil:
        one(book[table])
    given = {
        name: frame.rename(columns=dict(OWN[name].columns)) if name in OWN else frame
        for name, frame in frames(book).items()
    }
    if without:
        given[table] = given[table].drop(columns=[without])
    mapped = replace(BOOK, tables=OWN)
    return {
        one.kind: (one.where, one.what, one.do) for one in check(open_frames(given, mapped), mapped)
    }


def test_a_fault_names_the_owner_s_file_and_columns() -> None:
    told = told_by_own_names("people", cell("birth_date", "31/12/1970"))
    assert told["NOT_READ"][:2] == (
        "客户.csv [people]",
        "出生日期 [birth_date]: cannot be read as day",
    )
    told = told_by_own_names("people", cell("coinsurance_percent", 250))
    assert told["NO_PERCENTAGE"][1] == "自付比例 [coinsurance_percent]: no number from 0 to 100"
    told = told_by_own_names("people", without="出生日期")
    assert told["MISSING_COLUMN"][1] == "no column 出生日期 [birth_date]"
    told = told_by_own_names("policies", cell("after_day", date(2024, 3, 2)), again())
    where, what, do = told["ABOVE_A_YEAR"]
    assert where == "保单.csv [policies]"
    assert what.startswith("终止日 [after_day], 起保日 [first_day]: exposure above a year")
    assert do.endswith("终止日 [after_day] is the first day outside")
    assert told["DUPLICATE_KEY"][1] == "保单号 [policy_id] stands in an earlier row"
    # Another table's column, of which this table's fault speaks.
    told = told_by_own_names("policies", cell("first_day", date(1969, 1, 1)))
    assert told["IMPOSSIBLE_AGE"][2] == "mend 出生日期 [birth_date] or 起保日 [first_day]"


def test_plain_words_that_are_columns_too_stay_words() -> None:
    told = told_by_own_names("claims", cell("cause", "dental"), cell("amount_minor", 20_001))
    assert told["UNKNOWN_CAUSE"][1] == "原因 [cause]: no cause of book.causes"
    assert told["ABOVE_GROUND_UP"] == (
        "赔案.csv [claims]",
        "赔款分 [amount_minor]: paid more than the bill",
        "赔款分 [amount_minor] is net of the deductible, ground_up_minor is not",
    )
