"""Prices written as a table: the same list as its maps; every fault with the line of its row."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from services.claims.core.codes import code_key
from services.claims.core.facts import Coding
from services.claims.plans.code_systems import CODE_SYSTEMS
from services.claims.plans.price_list import (
    ProviderPrices,
    load_price_list,
    price_list_bytes,
    price_list_from,
    price_list_hash,
)
from services.common.strict_yaml import MAX_BYTES, StrictYamlError

HEAD = "format: 1\nprovider: H1\ncurrency: CNY\nfirst_day: 2026-01-01\nprices:\n"
MAPS = HEAD + (
    "  - {system: demo-yibao, code: A1, unit: CNY,\n"
    '     values: {2026-01-01: "100.00", 2026-05-01: "80.00"}}\n'
    '  - {system: demo-yibao, code: B1, unit: CNY, values: {2026-03-01: "5.1", 2026-06-01: null}}\n'
    "  - {system: loinc, code: A1, unit: CNY,\n"
    '     values: {2026-01-01: "1", 2026-02-01: null, 2026-04-01: "2"}}\n'
)
HEADING = "system,code,unit,price,effective,deletion"
ROWS = [
    "demo-yibao,A1,CNY,80.00,20260501,*",
    "loinc,A1,CNY,1,2026-01-01,2026-01-31",
    "demo-yibao,B1,CNY,5.1,20260301,20260531",
    "demo-yibao,A1,CNY,100.00,20260101,",
    "loinc,A1,CNY,2,2026-04-01,99991231",
]


def table(*rows: str, heading: str = HEADING, before: str = "") -> str:
    """A list whose first row stands on line 8, or further down by the lines `before`."""
    lines = (heading, *rows)
    return HEAD + before + "  csv: |\n" + "".join(f"    {one}\n" for one in lines)


def loaded(yaml: str) -> ProviderPrices:
    return load_price_list(yaml.encode(), "f")


def refusals(yaml: str) -> list[tuple[int, str, str]]:
    with pytest.raises(StrictYamlError) as raised:
        loaded(yaml)
    return [(one.line, one.path, one.reason) for one in raised.value.faults]


def test_a_table_is_the_same_list_as_its_maps() -> None:
    assert price_list_hash(loaded(table(*ROWS))) == price_list_hash(loaded(MAPS))
    other = table(*ROWS[:-1], ROWS[-1].replace(",2,", ",3,"))
    assert price_list_hash(loaded(other)) != price_list_hash(loaded(MAPS))


def test_the_system_stands_beside_the_table_or_in_it_and_names_are_for_people() -> None:
    row = 'A1,CNY,80.00,20260501,,"血常规, 五分类"'
    beside = table(
        row,
        heading="code,unit,price,effective,deletion,name",
        before="  system: demo-yibao\n",
    )
    assert price_list_hash(loaded(beside)) == price_list_hash(loaded(table(ROWS[0])))
    assert refusals(table(ROWS[0], before="  system: loinc\n")) == [
        (7, "prices.csv", "WRONG_HEADING")
    ]
    assert refusals(table("A1,CNY,1,20260101,", heading="code,unit,price,effective,deletion")) == [
        (6, "prices.csv", "WRONG_HEADING")
    ]


def test_every_fault_of_a_table_is_told_at_once_with_the_line_of_its_row() -> None:
    bad = [
        "demo-yibao,A1,CNY,80.00,20260501,*",
        "demo-yibao,ａ1,CNY,90.00,2026-05-01,",  # the same code and day
        "demo-yibao,B1,CNY,1.00,20260101,20260601",
        "demo-yibao,B1,CNY,2.00,20260601,",  # while the one before still holds
        "nowhere,C1,CNY,1.00,20260101,",
        "demo-yibao,C2,USD,1.00,20260101,",
        'demo-yibao,C3,CNY,"1,000.00",20260101,',
        "demo-yibao,C4,CNY,-1,20260101,",
        "demo-yibao,C5,CNY,1,2026/1/1,",
        "demo-yibao,C5,CNY,1,20260230,",
        "demo-yibao,C6,CNY,1,20260201,20260131",
        "demo-yibao,C7,CNY,,20260101,",
        "demo-yibao,C8,CNY,1,20260101",
        'demo-yibao,C9,CNY,1,20260101,"',
        "demo-yibao,1.10901E+12,CNY,1,20260101,",
        f"demo-yibao,{'9' * 140_000},CNY,1,20260101,",
    ]
    assert refusals(table(*bad)) == [
        (9, "prices.csv[2]", "DUPLICATE_CODE"),
        (11, "prices.csv[4]", "OVERLAPPING_ROWS"),
        (12, "prices.csv[5].system", "UNKNOWN_CODE_SYSTEM"),
        (13, "prices.csv[6].unit", "WRONG_UNIT"),
        (14, "prices.csv[7].price", "NOT_AN_AMOUNT"),
        (15, "prices.csv[8].price", "NEGATIVE"),
        (16, "prices.csv[9].effective", "NOT_A_DATE"),
        (17, "prices.csv[10].effective", "IMPOSSIBLE_DATE"),
        (18, "prices.csv[11].deletion", "DATES_OUT_OF_ORDER"),
        (19, "prices.csv[12].price", "MISSING_KEY"),
        (20, "prices.csv[13]", "WRONG_ROW"),
        (21, "prices.csv[14]", "WRONG_ROW"),
        (22, "prices.csv[15].code", "ROUNDED_CODE"),
        (23, "prices.csv[16]", "WRONG_ROW"),
    ]


@pytest.mark.parametrize(
    ("prices", "found"),
    [
        ("  csv: |\n    " + HEADING + "\n", [(5, "prices", "EMPTY_LIST")]),
        ("  csv: 1\n", [(6, "prices.csv", "NOT_TEXT")]),
        ("  system: loinc\n", [(6, "prices.csv", "MISSING_KEY")]),
        (
            "  csv: |\n    code\n  rows: []\n",
            [
                (6, "prices.csv", "WRONG_HEADING"),
                (8, "prices.rows", "UNKNOWN_KEY"),
            ],
        ),
    ],
)
def test_a_table_of_another_form_is_refused(prices: str, found: list[tuple[int, str, str]]) -> None:
    assert refusals(HEAD + prices) == found


def test_a_last_day_of_9999_is_none_and_a_price_begins_with_its_row() -> None:
    prices = loaded(table(*ROWS)).prices
    by_key = {code_key(one.code): one.price for one in prices}
    lab = by_key[(CODE_SYSTEMS["loinc"].uri, "A1")]
    assert [lab.on(date(2026, m, 1)) for m in (1, 2, 4)] == [Decimal(1), None, Decimal(2)]
    assert lab.values[-1] == (date(2026, 4, 1), Decimal(2))


def test_thirty_thousand_prices_fit_and_each_is_found() -> None:
    rows = [f"demo-yibao,C{n:019d},CNY,{n}.50,2026-01-01," for n in reversed(range(30_000))]
    yaml = table(*rows)
    assert len(yaml) < MAX_BYTES
    made = price_list_from(price_list_bytes(loaded(yaml)))
    assert len(made.prices) == 30_000
    uri = CODE_SYSTEMS["demo-yibao"].uri
    wanted = [Coding(system=uri, code=f"{c}{n:019d}") for n in (0, 7, 29_999) for c in "Cｃ"]
    found = made.for_codes((*wanted, Coding(system=uri, code="C3"), Coding(system="x", code="C")))
    assert [one.price.on(date(2026, 1, 1)) for one in found.prices] == [
        Decimal("0.5"),
        Decimal("7.5"),
        Decimal("29999.5"),
    ]
