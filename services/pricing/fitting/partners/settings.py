"""Section `partners` of pricing.yaml: months and stays by partner, and the minimum for a rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.pricing.fitting.book_settings import TableSource, read_sources
from services.pricing.fitting.dictionary import Column, Kind, Table
from services.pricing.fitting.section import Section, SectionKind

TEMPLATE = """\
partners:                      # control and readmission of health-management partners
  folder: partners             # months, stays: .parquet or .csv
  # With fewer members a partner gets no control rate, with fewer discharges no readmission ratio:
  # both must be set; there is no default.
  # least_members: 30
  # least_stays: 30
  strata: []                   # columns of stays whose like have one expected rate, [age_band, drg]
  # Your own names: file, then columns (ours: yours), then values (yours: ours).
  # tables:
  #   months: {file: months.csv, values: {result: {达标: ON_TARGET, 未达标: OFF_TARGET}}}
"""

RESULTS = ("ON_TARGET", "OFF_TARGET", "NOT_ENOUGH")
MONTHS = Table(
    name="months",
    zh="会员月",
    en="one row per partner, member and month in its care",
    key=("partner", "member_id", "month"),
    required=False,
    columns=(
        Column(name="partner", kind=Kind.TEXT, zh="健康管理机构", en="the partner"),
        Column(name="member_id", kind=Kind.TEXT, zh="会员编号（不透明）", en="opaque id"),
        Column(name="month", kind=Kind.DAY, zh="月份", en="2025-03, or a day of it"),
        Column(
            name="result",
            kind=Kind.CHOICE,
            choices=RESULTS,
            zh="月度结果",
            en="as `lipei readings months` judges it",
        ),
    ),
)
STAYS = Table(
    name="stays",
    zh="住院",
    en="one row per stay in hospital of the whole book; further columns may be strata",
    key=("stay_id",),
    required=False,
    further=True,
    columns=(
        Column(name="stay_id", kind=Kind.TEXT, zh="住院编号", en="id of the stay"),
        Column(name="member_id", kind=Kind.TEXT, zh="会员编号（不透明）", en="opaque id"),
        Column(
            name="partner",
            kind=Kind.TEXT,
            empty=True,
            zh="出院时负责的机构；空为无",
            en="in whose care the member was; empty: nobody's",
        ),
        Column(name="admission_day", kind=Kind.DAY, zh="入院日", en="day of admission"),
        Column(
            name="discharge_day",
            kind=Kind.DAY,
            empty=True,
            zh="出院日；空为在院",
            en="day of discharge; empty: still there",
        ),
        Column(name="planned", kind=Kind.FLAG, zh="是否计划入院", en="whether it was planned"),
        Column(
            name="died",
            kind=Kind.FLAG,
            required=False,
            empty=True,
            zh="住院期间死亡",
            en="whether the member died there; empty: no",
        ),
        Column(
            name="expected",
            kind=Kind.NUMBER,
            required=False,
            empty=True,
            zh="预期 30 天非计划再入院概率",
            en="probability of an unplanned readmission within 30 days; left out: its stratum's"
            " rate in the whole book",
        ),
    ),
)
PARTNER_TABLES: Mapping[str, Table] = {table.name: table for table in (MONTHS, STAYS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnersSettings:
    """Where the tables are, and below how many members and discharges no rate is told.

    0: not set, and nothing is told at all.
    """

    folder: str = "partners"
    least_members: int = 0
    least_stays: int = 0
    strata: tuple[str, ...] = ()
    tables: Mapping[str, TableSource] = field(default_factory=dict)


def read_partners(section: Section) -> PartnersSettings:
    """The settings of the section; its faults are noted there."""
    found = PartnersSettings(
        folder=section.text("folder", "partners"),
        least_members=section.whole("least_members", 0, least=2),
        least_stays=section.whole("least_stays", 0, least=2),
        strata=section.texts("strata"),
        tables=read_sources(section.section("tables"), PARTNER_TABLES),
    )
    for name in found.strata:
        if name in {column.name for column in STAYS.columns}:
            text = f"{name} is no stratum; name further columns of stays, such as age_band"
            section.fault("strata", "NO_STRATUM", text)
    return found


PARTNERS = SectionKind(settings=PartnersSettings, read=read_partners, template=TEMPLATE)
