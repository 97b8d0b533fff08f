"""Check a book: every kind of fault at once, counted, with rows as examples; and usable readings.

Rows are told by their number in the table as handed in, from 1 without the header; files and
columns by the names that the book's owner gave them, ours in brackets. No value of a person is ever
told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from services.pricing.core.months import DAYS_TO_ARRIVE
from services.pricing.core.readings import CODES, places_of, plausible_steps
from services.pricing.fitting.book_settings import BookSettings, TableSource
from services.pricing.fitting.dictionary import TABLES, Table
from services.pricing.fitting.experience.faults import (
    DISAGREE,
    Effect,
    FaultKind,
    factor_column,
    factor_kinds,
    fault_kinds,
)
from services.pricing.fitting.experience.own_names import OwnNames
from services.pricing.fitting.experience.tables import (
    Connection,
    expression,
    further,
    identifier,
    is_exact,
    listed,
    quoted,
    raw_columns,
)

# What every study's segments have that a factor may read, beside book.rating_factors.
SEGMENT_COLUMNS = frozenset(
    {
        *("age", "sex", "region", "condition", "participant", "calendar_year", "policy_year"),
        *("u_hba1c_percent", "months_hba1c", "u_systolic_mmhg", "months_systolic"),
        *("deductible_minor", "limit_minor"),
    }
)
_EXAMPLES = 5
_MICRO = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One kind of fault of one table: how many rows have it, and the first of them.

    `table` and `column` are ours; `where` is the table, and `what` and `do` the columns, as the
    owner of the book calls them.
    """

    table: str
    where: str
    kind: str
    column: str
    what: str
    do: str
    effect: Effect
    rows: int
    examples: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """How one table is read, and with which columns it came."""

    settings: BookSettings
    source: TableSource
    raw: dict[str, str]
    names: OwnNames


def check(con: Connection, settings: BookSettings) -> list[Found]:
    """Every fault of a book that `tables` has opened; nothing when there is none."""
    _codes(con)
    by_table: dict[str, list[FaultKind]] = defaultdict(list)
    for test in fault_kinds():
        by_table[test.table].append(test)
    found: list[Found] = []
    for name, table in TABLES.items():
        raw = raw_columns(con, name)
        if not raw:
            continue
        source = settings.tables.get(name, TableSource())
        names = OwnNames(table=table, settings=settings)
        missing = [
            column
            for column in table.columns
            if column.required and source.columns.get(column.name, column.name) not in raw
        ]
        found += [_missing(table, column.name, names) for column in missing]
        gone = {column.name for column in missing}
        asked = [test for test in by_table[name] if test.column not in gone]
        read = _Read(settings=settings, source=source, raw=raw, names=names)
        if table.further:
            asked += factor_kinds(further(table, source, raw, settings))
        found += _tested(con, table, asked, read)
        if not gone.intersection(table.key):
            found += _duplicates(con, table, read)
    if con.execute("SELECT 1 FROM claims LIMIT 1").fetchone() is None:
        what = "no claims at all"
        do = "see book.valuation_day: what came in then or later is not known"
        found.append(_of_all("NO_CLAIMS", what, do, Effect.LOOK_AT))
    return found


def ahead(settings: BookSettings, today: date) -> list[Found]:
    """That the valuation day of a real book is to come, when it is."""
    if settings.valuation_day <= today:
        return []
    what = (
        f"book.valuation_day {settings.valuation_day} has not come: claims until then are unknown"
    )
    do = "take the first day of this quarter, or of one before"
    return [_of_all("VALUATION_AHEAD", what, do, Effect.STOPS)]


def unfit(
    con: Connection, settings: BookSettings, factors: Mapping[str, str], causes: Iterable[str]
) -> list[Found]:
    """Factors, by name with the column that each reads, and causes that a study will not have.

    `fit` would refuse them, after a study that may take long.
    """
    source = settings.tables.get("people", TableSource())
    added = further(TABLES["people"], source, raw_columns(con, "people"), settings)
    known = {*SEGMENT_COLUMNS, *added}
    found = [
        Found(
            table="people",
            where=f"fit.factors.{name}",
            kind="NO_COLUMN",
            column=column,
            what=f"reads the column {column}, which the study will not have",
            do="add it to people and to book.rating_factors, or say the factor's `column`",
            effect=Effect.LOOK_AT,
            rows=0,
            examples=(),
        )
        for name, column in factors.items()
        if column not in known
    ]
    found += [
        Found(
            table="claims",
            where=f"fit.causes.{cause}",
            kind="UNKNOWN_CAUSE",
            column="cause",
            what=f"is no cause of book.causes ({', '.join(settings.causes)})",
            do="mend it, or take it out",
            effect=Effect.LOOK_AT,
            rows=0,
            examples=(),
        )
        for cause in causes
        if cause not in settings.causes
    ]
    return found


def _of_all(kind: str, what: str, do: str, effect: Effect) -> Found:
    """A fault of the claims as a whole, of no row."""
    return Found(
        table="claims",
        where="claims",
        kind=kind,
        column="",
        what=what,
        do=do,
        effect=effect,
        rows=0,
        examples=(),
    )


def stops(found: Sequence[Found]) -> bool:
    """Whether a study must not go on."""
    return any(one.effect is Effect.STOPS for one in found)


def usable_readings(con: Connection, settings: BookSettings) -> None:
    """The table `usable`: readings without fault, in whole steps of their quantity, as months know.

    Reads `persons` (person_id, pid). A reading that came later than a week after its month's end
    does not count for it, nor one that was received on the valuation day or later.
    """
    _codes(con)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE usable AS
        WITH local AS (
            -- One look into the zone's calendar per time: each of them is dear.
            SELECT pid, reading_id, quantity, steps, provenance, effective_time, receive_time,
                CAST(effective_time AS TIMESTAMP) AS measured,
                CAST(CAST(receive_time AS TIMESTAMP) AS DATE) AS received
            FROM ({_measured("readings")}) JOIN persons USING (person_id)
            WHERE steps BETWEEN least AND most AND effective_time <= receive_time
                AND reading_id IS NOT NULL
                AND provenance IN ('LABORATORY', 'CLINIC', 'DEVICE', 'TYPED')
        )
        SELECT pid, reading_id, quantity, steps, provenance, effective_time, received,
            CAST(date_trunc('month', measured) AS DATE) AS month,
            CASE provenance WHEN 'DEVICE' THEN 1 WHEN 'TYPED' THEN 2 ELSE 0 END AS rank,
            least((day(measured) - 1) // 7, 3) AS slot
        FROM local WHERE received < $valuation
            AND received <= last_day(measured) + {DAYS_TO_ARRIVE}
        """,  # nosec B608 # names of ours
        {"valuation": settings.valuation_day},
    )


def _codes(con: Connection) -> None:
    """The table `codes`: each code and unit with the whole numbers that convert it exactly.

    steps = floor((2 (micro × a + b) + d) / 2 d), half up, for a value in millionths of its unit.
    """
    con.execute(
        "CREATE OR REPLACE TEMP TABLE codes (code VARCHAR, unit VARCHAR, quantity VARCHAR,"
        " a BIGINT, b BIGINT, d BIGINT, least BIGINT, most BIGINT)"
    )
    for code, known in CODES.items():
        least, most = plausible_steps(known.quantity)
        scale = 10 ** places_of(known.quantity)
        for unit, convert in known.units.items():
            offset = convert(Fraction(0)) * scale
            slope = (convert(Fraction(1)) - convert(Fraction(0))) * scale / _MICRO
            d = slope.denominator * offset.denominator
            row = [code, unit, known.quantity.value, int(slope * d), int(offset * d), d]
            con.execute("INSERT INTO codes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*row, least, most])


def _measured(origin: str) -> str:
    """Readings with quantity, steps and plausible bounds; NULL where code or unit is unknown."""
    return f"""
        SELECT r.*, quantity, least, most, r.code IN ({listed(CODES)}) AS known_code,
            CASE WHEN isfinite(value) AND abs(value) < 1e6
                THEN (2 * (CAST(round(value * {_MICRO}) AS BIGINT) * a + b) + d) // (2 * d)
            END AS steps
        FROM {origin} r LEFT JOIN codes ON codes.code = r.code AND codes.unit = r.unit
    """  # nosec B608 # names of ours


def _missing(table: Table, column: str, names: OwnNames) -> Found:
    what = f"{column}: no column {column}"
    if column in names.mapped:
        what = f"no column {names.column(column)}"
    return Found(
        table=table.name,
        where=names.where,
        kind="MISSING_COLUMN",
        column=column,
        what=what,
        do=f"add it, or name yours in book.tables.{table.name}.columns",
        effect=Effect.STOPS,
        rows=0,
        examples=(),
    )


def _tested(con: Connection, table: Table, asked: Sequence[FaultKind], read: _Read) -> list[Found]:
    """All tests of one table in one pass; the rows of those that hit in one more each."""
    says = [_says(test, read) for test in asked if _can_hit(test, read)]
    asked = [test for test in asked if _can_hit(test, read)]
    chosen = ", ".join(f"coalesce({one}, false) AS t{i}" for i, one in enumerate(says))
    counts = ", ".join(f"count_if(t{i})" for i in range(len(says)))
    con.execute(f"CREATE OR REPLACE TEMP VIEW tested AS SELECT row, {chosen} {_from(table, read)}")
    hits = con.execute(f"SELECT {counts} FROM tested").fetchone() or ()  # nosec B608 # names of ours
    found = []
    for place, (test, number) in enumerate(zip(asked, hits, strict=True)):
        if not number:
            continue
        first = f"SELECT row FROM tested WHERE t{place} ORDER BY row LIMIT {_EXAMPLES}"  # nosec B608 # names of ours
        found.append(
            Found(
                table=table.name,
                where=read.names.where,
                kind=test.kind,
                column=test.column,
                what=read.names.concerning(test.what, "" if test.column else test.says),
                do=read.names.worded(test.do),
                effect=test.effect,
                rows=int(number),
                examples=tuple(int(row[0]) for row in con.execute(first).fetchall()),
            )
        )
    return found


def _can_hit(test: FaultKind, read: _Read) -> bool:
    """Whether a test is worth asking: a column of the right type can be read as it."""
    if test.kind != "NOT_READ":
        return True
    return not is_exact(TABLES[test.table].column(test.column), read.source, read.raw)


def _says(test: FaultKind, read: _Read) -> str:
    return test.says.format(
        written=identifier(f"written {test.column}"),
        currency=quoted(read.settings.currency),
        causes=listed(read.settings.causes),
        valuation=f"DATE {quoted(read.settings.valuation_day.isoformat())}",
    )


def _from(table: Table, read: _Read) -> str:
    """The rows of a table, numbered, with what their tests look up in other tables."""
    columns = ["row_number() OVER () AS row"]
    for column in table.columns:
        theirs = read.source.columns.get(column.name, column.name)
        written = "false"
        if theirs in read.raw:
            text = read.raw[theirs] == "VARCHAR"
            written = f"{identifier(theirs)} IS NOT NULL" + (
                f" AND {identifier(theirs)} <> ''" if text else ""
            )
        columns += [
            f"{expression(column, read.source, read.raw)} AS {identifier(column.name)}",
            f"{written} AS {identifier('written ' + column.name)}",
        ]
    if table.further:
        columns += [
            f"CAST({identifier(theirs)} AS VARCHAR) AS {factor_column(name)}"
            for name, theirs in further(table, read.source, read.raw, read.settings).items()
        ]
    rows = f"SELECT {', '.join(columns)} FROM raw_{table.name}"  # nosec B608 # names of ours
    owner = "(SELECT person_id, any_value(birth_date) AS born FROM people GROUP BY 1)"
    joined = f"LEFT JOIN {owner} owner USING (person_id)"
    if table.name == "people":
        insured = "SELECT *, person_id IN (SELECT person_id FROM policies) AS insured"
        return f"FROM ({insured} FROM ({rows}))"
    if table.name == "claims":
        columns_of = "policy_id, any_value(person_id) AS person_id, min(first_day) AS first_day"
        columns_of += ", max(after_day) AS after_day, max(limit_minor) AS limit_minor"
        covering = f"(SELECT {columns_of} FROM policies GROUP BY 1)"  # nosec B608 # names of ours
        joined += f" LEFT JOIN {covering} covering USING (policy_id)"
    if table.name == "readings":
        day = "CAST(effective_time AS DATE) AS day"
        measured = f"SELECT *, {day} FROM ({_measured(f'({rows})')})"  # nosec B608 # names of ours
        joined += f" LEFT JOIN {_clashes(table, read)} clash USING (person_id, quantity, day)"
        return f"FROM ({measured}) {joined}"
    return f"FROM ({rows}) {joined}"


def _clashes(table: Table, read: _Read) -> str:
    """Each person, quantity and day on which two sources disagree."""
    columns = ", ".join(
        f"{expression(column, read.source, read.raw)} AS {identifier(column.name)}"
        for column in table.columns
    )
    rows = f"(SELECT {columns} FROM raw_{table.name})"  # nosec B608 # names of ours
    return f"""(
        SELECT person_id, quantity, CAST(effective_time AS DATE) AS day
        FROM ({_measured(rows)}) GROUP BY ALL
        HAVING max(steps) - min(steps) > {DISAGREE}
            AND (min(provenance) <> max(provenance) OR coalesce(min(device) <> max(device), false))
    )"""  # nosec B608 # names of ours


def _duplicates(con: Connection, table: Table, read: _Read) -> list[Found]:
    """Rows whose key stands in an earlier row."""
    key = [column for column in table.columns if column.name in table.key]
    names = ", ".join(identifier(column.name) for column in key)
    read_as = ", ".join(
        f"{expression(column, read.source, read.raw)} AS {identifier(column.name)}"
        for column in key
    )
    origin = f"FROM raw_{table.name}"
    # 64 bits of a hash tell whether there is any; only then the rows are compared themselves.
    quick = f"SELECT count(*) - count(DISTINCT hash({names})) FROM (SELECT {read_as} {origin})"  # nosec B608 # names of ours
    row = con.execute(quick).fetchone()
    if not row or not row[0]:
        return []
    again = f"row_number() OVER (PARTITION BY {names} ORDER BY row) > 1 AS again"
    rows = f"SELECT row_number() OVER () AS row, {read_as} {origin}"
    told = con.execute(
        f"SELECT row FROM (SELECT row, {again} FROM ({rows})) WHERE again ORDER BY row"  # nosec B608 # names of ours
    ).fetchall()
    return [
        Found(
            table=table.name,
            where=read.names.where,
            kind="DUPLICATE_KEY",
            column=table.key[0],
            what=f"{', '.join(map(read.names.column, table.key))} stands in an earlier row",
            do="keep one row of each",
            effect=Effect.SET_ASIDE if table.name == "readings" else Effect.STOPS,
            rows=len(told),
            examples=tuple(int(row[0]) for row in told[:_EXAMPLES]),
        )
    ]
