"""Section `book` of pricing.yaml: where the tables of the book are, and what their columns mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from services.common.zones import zone_names
from services.pricing.fitting.dictionary import TABLES, Table
from services.pricing.fitting.section import Section, SectionKind

TEMPLATE = """\
book:
  folder: book                 # people, policies, claims, readings, enrolments: .parquet or .csv
  currency: CNY
  zone: Asia/Shanghai          # of the days of readings
  valuation_day: 2026-01-01    # claims reported before this day are in the book, later ones unknown
  causes: [inpatient, outpatient, injury]
  rating_factors: [coinsurance_percent]  # further columns of people that may rate
  # Your own names: file, then columns (ours: yours), then values (yours: ours).
  # tables:
  #   people:
  #     file: insured.csv
  #     columns: {person_id: CUST_NO, birth_date: BIRTHDAY}
  #     values: {sex: {男: M, 女: F}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSource:
    """One table's file inside the book's folder; empty: `{table}.parquet`, else `{table}.csv`."""

    file: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)  # ours -> theirs
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # column, theirs -> ours


@dataclass(frozen=True, kw_only=True, slots=True)
class BookSettings:
    """Where the book is and how it is read."""

    folder: str
    currency: str
    zone: str
    valuation_day: date
    causes: tuple[str, ...]
    rating_factors: tuple[str, ...]
    tables: Mapping[str, TableSource]


def read_book(section: Section) -> BookSettings:
    """The settings of the section; its faults are noted there."""
    zone = section.text("zone", "Asia/Shanghai")
    if zone not in zone_names():
        section.fault("zone", "ZONE", "must be a zone of the tz database, such as Asia/Shanghai")
        zone = "Asia/Shanghai"
    valuation_day = section.day("valuation_day", "2026-01-01")
    if valuation_day.day != 1 or valuation_day.month % 3 != 1:
        text = "must be the first day of a quarter: late reporting is told by whole quarters"
        section.fault("valuation_day", "QUARTER", text)
    return BookSettings(
        folder=section.text("folder", "book"),
        currency=section.text("currency", "CNY"),
        zone=zone,
        valuation_day=valuation_day,
        causes=section.texts("causes", ("inpatient", "outpatient", "injury")),
        rating_factors=section.texts("rating_factors", ("coinsurance_percent",)),
        tables=read_sources(section.section("tables"), TABLES),
    )


def read_sources(section: Section, tables: Mapping[str, Table]) -> dict[str, TableSource]:
    """Where each of these tables is and what it calls its columns; faults are noted there."""
    found = {}
    for name, below in section.sections():
        if name not in tables:
            section.fault(name, "UNKNOWN_TABLE", f"is no table; known are {', '.join(tables)}")
            continue
        columns = below.mapping("columns")
        known = {column.name for column in tables[name].columns}
        for ours in columns:
            if ours not in known and not tables[name].further:
                text = f"{name} has no column {ours}; known are {', '.join(sorted(known))}"
                below.fault("columns", "UNKNOWN_COLUMN", text)
        values = below.section("values")
        mapped = {column: values.mapping(column) for column in values.names()}
        found[name] = TableSource(file=below.text("file"), columns=columns, values=mapped)
        below.done()
    return found


BOOK = SectionKind(settings=BookSettings, read=read_book, template=TEMPLATE)
