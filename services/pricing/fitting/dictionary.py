"""The data dictionary: every table and column of a book, as `check` demands and the docs show it.

A book is five tables of one currency; amounts are whole minor units (fen), days are days of the
calendar in the policies' zone, and intervals are half-open: `after_day` is the first day outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    CHOICE = "choice"
    DAY = "day"
    TIME = "time"  # with a zone
    WHOLE = "whole number"
    NUMBER = "number"
    FLAG = "yes or no"


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column: its name here, what it holds, and what it means."""

    name: str
    kind: Kind
    zh: str
    en: str
    unit: str = ""
    required: bool = True  # the column must be there
    empty: bool = False  # single values may be missing
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table; `key` names one row, `further` says that other columns are welcome."""

    name: str
    zh: str
    en: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    required: bool = True
    further: bool = False

    def column(self, name: str) -> Column:
        """The column of this name.

        Raises: KeyError.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


SYNTHETIC = Column(
    name="synthetic",
    kind=Kind.FLAG,
    required=False,
    empty=True,
    zh="合成数据标记",
    en="whether the row is made up: all that comes of it is labelled synthetic",
)
CONDITIONS = ("none", "hypertension", "type2_diabetes", "both")
PROVENANCES = ("LABORATORY", "CLINIC", "DEVICE", "TYPED")
FASTING = ("UNKNOWN", "FASTING", "NON_FASTING")
_MOST_MINOR = 10**13

PEOPLE = Table(
    name="people",
    zh="被保险人",
    en="one row per insured person; further columns may serve as rating factors",
    key=("person_id",),
    further=True,
    columns=(
        Column(name="person_id", kind=Kind.TEXT, zh="人员编号（不透明）", en="opaque id"),
        Column(name="birth_date", kind=Kind.DAY, zh="出生日期", en="day of birth"),
        Column(name="sex", kind=Kind.CHOICE, choices=("F", "M"), zh="性别", en="sex"),
        Column(name="region", kind=Kind.TEXT, zh="地区", en="region", required=False),
        Column(
            name="conditions",
            kind=Kind.CHOICE,
            choices=CONDITIONS,
            zh="入保时慢性病",
            en="chronic condition at entry",
        ),
        Column(
            name="condition_since",
            kind=Kind.DAY,
            required=False,
            empty=True,
            zh="慢性病确诊日；空表示入保前",
            en="first day of the condition; before it the person counts as none; empty: at entry",
        ),
        SYNTHETIC,
    ),
)
POLICIES = Table(
    name="policies",
    zh="保单年度",
    en="one row per person and policy year",
    key=("policy_id",),
    columns=(
        Column(name="policy_id", kind=Kind.TEXT, zh="保单编号", en="id of the policy year"),
        Column(name="person_id", kind=Kind.TEXT, zh="人员编号", en="the insured person"),
        Column(name="first_day", kind=Kind.DAY, zh="起保日", en="first day of cover"),
        Column(
            name="after_day",
            kind=Kind.DAY,
            zh="终止日（不含）；退保则提前",
            en="first day without cover; earlier on lapse",
        ),
        Column(
            name="entry_day",
            kind=Kind.DAY,
            required=False,
            empty=True,
            zh="开始观察日（左截断）；空同起保日",
            en="first day observed (left truncation); empty: the first day",
        ),
        Column(
            name="deductible_minor",
            kind=Kind.WHOLE,
            unit="fen",
            least=0,
            most=_MOST_MINOR,
            zh="每次赔案免赔额",
            en="deductible per claim",
        ),
        Column(
            name="limit_minor",
            kind=Kind.WHOLE,
            unit="fen",
            least=1,
            most=_MOST_MINOR,
            empty=True,
            zh="每次赔案限额；空为无限额",
            en="limit per claim, of the ground-up amount; empty: none",
        ),
        Column(
            name="premium_minor",
            kind=Kind.WHOLE,
            unit="fen",
            least=0,
            most=_MOST_MINOR,
            zh="本保单年度应收保费",
            en="premium charged for the policy year",
        ),
        Column(name="currency", kind=Kind.TEXT, zh="币种", en="ISO 4217 code, one in all rows"),
    ),
)
CLAIMS = Table(
    name="claims",
    zh="赔案",
    en="one row per reported claim; a claim of 0 is a claim below its deductible",
    key=("claim_id",),
    columns=(
        Column(name="claim_id", kind=Kind.TEXT, zh="赔案编号", en="id of the claim"),
        Column(name="person_id", kind=Kind.TEXT, zh="人员编号", en="the insured person"),
        Column(name="policy_id", kind=Kind.TEXT, zh="保单编号", en="the policy year that covers"),
        Column(name="cause", kind=Kind.TEXT, zh="赔付原因", en="cause, one of study.causes"),
        Column(name="event_day", kind=Kind.DAY, zh="出险日", en="day of the event"),
        Column(name="report_day", kind=Kind.DAY, zh="报案日", en="day of the report"),
        Column(
            name="amount_minor",
            kind=Kind.WHOLE,
            unit="fen",
            least=0,
            most=_MOST_MINOR,
            zh="赔付金额（扣除免赔额后）",
            en="amount paid, net of deductible and limit",
        ),
        Column(
            name="ground_up_minor",
            kind=Kind.WHOLE,
            unit="fen",
            least=0,
            most=_MOST_MINOR,
            required=False,
            empty=True,
            zh="扣除免赔额前金额",
            en="amount before deductible and limit",
        ),
        SYNTHETIC,
    ),
)
READINGS = Table(
    name="readings",
    zh="健康读数",
    en="one row per measured value",
    key=("reading_id",),
    required=False,
    columns=(
        Column(name="reading_id", kind=Kind.TEXT, zh="读数编号", en="id of the reading"),
        Column(name="person_id", kind=Kind.TEXT, zh="人员编号", en="the person"),
        Column(name="code", kind=Kind.TEXT, zh="LOINC 编码", en="LOINC code (docs/pricing.md)"),
        Column(name="value", kind=Kind.NUMBER, zh="数值", en="value in its unit"),
        Column(name="unit", kind=Kind.TEXT, zh="UCUM 单位", en="UCUM unit of the value"),
        Column(name="effective_time", kind=Kind.TIME, zh="测量时间", en="when it was measured"),
        Column(name="receive_time", kind=Kind.TIME, zh="接收时间", en="when it was received"),
        Column(
            name="provenance",
            kind=Kind.CHOICE,
            choices=PROVENANCES,
            zh="来源",
            en="who vouches for it",
        ),
        Column(
            name="fasting",
            kind=Kind.CHOICE,
            choices=FASTING,
            required=False,
            empty=True,
            zh="空腹状态",
            en="fasting status of a glucose",
        ),
        Column(
            name="device",
            kind=Kind.TEXT,
            required=False,
            empty=True,
            zh="测量设备（不透明编号）",
            en="opaque id of what measured it; two devices are two sources",
        ),
        SYNTHETIC,
    ),
)
ENROLMENTS = Table(
    name="enrolments",
    zh="健康管理项目参与",
    en="one row per stay of a person in a programme",
    key=("person_id", "programme", "first_day"),
    required=False,
    columns=(
        Column(name="person_id", kind=Kind.TEXT, zh="人员编号", en="the person"),
        Column(name="programme", kind=Kind.TEXT, zh="项目", en="the programme"),
        Column(name="first_day", kind=Kind.DAY, zh="加入日", en="first day in it"),
        Column(
            name="after_day",
            kind=Kind.DAY,
            empty=True,
            zh="退出日（不含）；空为仍参与",
            en="first day outside; empty: still in it",
        ),
        SYNTHETIC,
    ),
)
TABLES: Mapping[str, Table] = {
    table.name: table for table in (PEOPLE, POLICIES, CLAIMS, READINGS, ENROLMENTS)
}


def markdown(tables: Mapping[str, Table] = TABLES) -> str:
    """The dictionary as docs/tariffs.md shows it: one table per table, by default of the book."""
    return "\n".join(_section(table) for table in tables.values())


def _section(table: Table) -> str:
    needed = "required" if table.required else "may be absent"
    lines = [
        f"**{table.name}** {table.zh} ({needed}): {table.en}. Key: {', '.join(table.key)}.",
        "",
        "| column | what it holds | | 含义 | meaning |",
        "|---|---|---|---|---|",
    ]
    for column in table.columns:
        kind = " or ".join(f"`{word}`" for word in column.choices) or str(column.kind)
        unit = f" ({column.unit})" if column.unit else ""
        needs = "required" if column.required else "optional"
        empty = ", may be empty" if column.empty else ""
        row = (f"`{column.name}`", f"{kind}{unit}", f"{needs}{empty}", column.zh, column.en)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"
