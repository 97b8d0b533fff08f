"""What can be wrong with a row of a book: each kind of fault with its test, why, and what to do.

A test is an SQL expression over one row of a table under our names; `{...}` are filled in by
`checking`. A fault that STOPS must be mended before a study; a reading SET_ASIDE is never used; at
a fault to LOOK_AT the study goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from services.pricing.fitting.dictionary import TABLES, Column, Kind, Table
from services.pricing.fitting.experience.tables import identifier, listed


class Effect(StrEnum):
    """What a fault does to the study."""

    STOPS = "stops the study"
    SET_ASIDE = "not used"
    LOOK_AT = "look at it"


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultKind:
    """One kind of fault of one table; `says` holds for the rows that have it."""

    kind: str
    table: str
    says: str
    what: str
    do: str
    effect: Effect = Effect.STOPS
    column: str = ""


_READING = Effect.SET_ASIDE
# Two sources of one day that differ by more than this disagree: steps of the quantity.
DISAGREE = "CASE quantity WHEN 'hba1c' THEN 10 WHEN 'glucose' THEN 50 ELSE 30 END"
_PERCENT = "_percent"
# What a column of numbers or texts writes for no value.
_NOTHING = "'', 'nan', 'inf', '-inf'"

_AGAIN, _BY_ID = "row_number() OVER", "ORDER BY reading_id"

_POLICIES = (
    ("NO_DAYS", "after_day <= first_day", "cover ends before it begins", "swap or mend the days"),
    (
        "ABOVE_A_YEAR",
        "after_day > first_day + to_years(1)",
        "exposure above a year in one policy year",
        "give each policy year a row of its own; after_day is the first day outside",
    ),
    (
        "ENTRY_AFTER_END",
        "entry_day >= after_day",
        "observed only after cover had ended",
        "leave the policy out, or mend entry_day",
    ),
    (
        "OVERLAP",
        "first_day < lag(after_day) OVER (PARTITION BY person_id ORDER BY first_day, policy_id)",
        "two policies of one person overlap: their exposure would count twice",
        "end the earlier one where the later begins, or keep one",
    ),
    (
        "OTHER_CURRENCY",
        "currency <> {currency}",
        "another currency than the book's",
        "study each currency in a book of its own",
    ),
    (
        "IMPOSSIBLE_AGE",
        "born > first_day OR first_day >= born + to_years(121)",
        "insured before birth, or at more than 120 years",
        "mend birth_date or first_day",
    ),
    (
        "LIMIT_BELOW_DEDUCTIBLE",
        "limit_minor <= deductible_minor",
        "the limit leaves nothing to pay",
        "limits and deductibles are per claim and in minor units",
    ),
)
_POLICIES_TO_LOOK_AT = (
    (
        "NO_PREMIUM",
        "premium_minor = 0",
        "a policy year without premium",
        "nothing, if it is meant: its exposure and claims are studied all the same",
    ),
)
_CLAIMS = (
    (
        "UNKNOWN_POLICY",
        "covering.policy_id IS NULL AND policy_id IS NOT NULL",
        "no such policy",
        "add the policy or leave the claim out",
    ),
    (
        "OTHERS_POLICY",
        "covering.person_id <> person_id",
        "the policy is another person's",
        "mend person_id or policy_id",
    ),
    (
        "OUTSIDE_COVER",
        "event_day < covering.first_day OR event_day >= covering.after_day",
        "the event lies outside its policy's cover",
        "point the claim at the policy year that covered the day",
    ),
    (
        "UNKNOWN_CAUSE",
        "cause NOT IN ({causes})",
        "no cause of book.causes",
        "add it there, or map it by book.tables.claims.values",
    ),
    (
        "REPORTED_BEFORE_EVENT",
        "report_day < event_day",
        "reported before it happened",
        "mend the days",
    ),
    (
        "ABOVE_GROUND_UP",
        "amount_minor > ground_up_minor",
        "paid more than the bill",
        "amount_minor is net of the deductible, ground_up_minor is not",
    ),
    (
        "ABOVE_LIMIT",
        "amount_minor > covering.limit_minor",
        "paid more than the policy's limit",
        "mend amount_minor (minor units, one claim a row) or the policy's limit_minor",
    ),
)
_CLAIMS_TO_LOOK_AT = (
    (
        "REPORTED_AFTER_VALUATION",
        "report_day >= {valuation}",
        "reported on the valuation day or later: not known then, and not studied",
        "move book.valuation_day, or leave it",
    ),
)
_READINGS = (
    (
        "UNKNOWN_CODE",
        "quantity IS NULL AND NOT known_code",
        "a code that no outcome is made of",
        "map it by book.tables.readings.values, or leave it",
    ),
    (
        "UNKNOWN_UNIT",
        "quantity IS NULL AND known_code",
        "a unit that this code does not have",
        "write UCUM, such as %, mmol/mol, mmol/L, mg/dL, mm[Hg]",
    ),
    (
        "IMPLAUSIBLE",
        (
            "steps NOT BETWEEN least AND most"
            " OR (quantity IS NOT NULL AND value IS NOT NULL AND steps IS NULL)"
        ),
        "a value that no living person has",
        "check value and unit at the source",
    ),
    (
        "MEASURED_AFTER_RECEIPT",
        "effective_time > receive_time",
        "received before it was measured: a reading from the future",
        "check both clocks and the zone",
    ),
    (
        "AFTER_VALUATION",
        "CAST(receive_time AS DATE) >= {valuation}",
        "received on the valuation day or later: nobody knew it then",
        "move book.valuation_day, or leave it",
    ),
    (
        "REPEATED",
        f"{_AGAIN} (PARTITION BY person_id, code, effective_time, value, provenance {_BY_ID}) > 1",
        "the same measurement under another id",
        "send each once; one of them counts",
    ),
)


def fault_kinds() -> Iterator[FaultKind]:
    """Every kind of fault of every table, in the order in which they are told."""
    for table in TABLES.values():
        for column in table.columns:
            yield from _column(table, column)
        if table.name != "people":
            yield FaultKind(
                kind="UNKNOWN_PERSON",
                table=table.name,
                says="owner.person_id IS NULL AND person_id IS NOT NULL",
                what="no such person in people",
                do="add the person or leave the row out",
                effect=_READING if table.name == "readings" else Effect.STOPS,
                column="person_id",
            )
    yield FaultKind(
        kind="WITHOUT_POLICY",
        table="people",
        says="NOT insured",
        what="a person without policy",
        do="nothing, if it is meant: the person has no exposure",
        effect=Effect.LOOK_AT,
    )
    for name, listed_tests, effect in (
        ("policies", _POLICIES, Effect.STOPS),
        ("policies", _POLICIES_TO_LOOK_AT, Effect.LOOK_AT),
        ("claims", _CLAIMS, Effect.STOPS),
        ("claims", _CLAIMS_TO_LOOK_AT, Effect.LOOK_AT),
        ("readings", _READINGS, _READING),
    ):
        for kind, says, what, do in listed_tests:
            yield FaultKind(kind=kind, table=name, says=says, what=what, do=do, effect=effect)
    yield FaultKind(
        kind="LOOKS_REPEATED",
        table="claims",
        says="row_number() OVER (PARTITION BY policy_id, cause, event_day, amount_minor"
        " ORDER BY claim_id) > 1 AND amount_minor > 0",
        what="the same cause, day and amount under another id",
        do="keep one, if it is one claim",
        effect=Effect.LOOK_AT,
    )
    yield FaultKind(
        kind="SOURCES_DISAGREE",
        table="readings",
        says="clash.person_id IS NOT NULL",
        what="two sources of one day disagree by more than 1 % HbA1c, 5 mmol/L or 30 mmHg",
        do="the better provenance counts (laboratory, clinic, device, typed); ask which is right",
        effect=Effect.LOOK_AT,
    )
    yield FaultKind(
        kind="NO_DAYS",
        table="enrolments",
        says="after_day <= first_day",
        what="a stay that ends before it begins",
        do="swap or mend the days",
    )


def factor_kinds(names: Iterable[str]) -> Iterator[FaultKind]:
    """What can be wrong with the rating factors of people, columns that the dictionary lacks.

    A name that ends in _percent is a share of 0 to 100.
    """
    for name in names:
        yield FaultKind(
            kind="NO_FACTOR",
            table="people",
            says=f"lower(trim({factor_column(name)})) IN ({_NOTHING})"
            f" OR {factor_column(name)} IS NULL",
            what=f"{name}: a rating factor without a value",
            do="fill it in, or take the column off book.rating_factors",
            column=name,
        )
        if name.endswith(_PERCENT):
            yield FaultKind(
                kind="NO_PERCENTAGE",
                table="people",
                says=f"NOT coalesce(TRY_CAST({factor_column(name)} AS DOUBLE)"
                " BETWEEN 0 AND 100, false)"
                f" AND lower(trim({factor_column(name)})) NOT IN ({_NOTHING})",
                what=f"{name}: no number from 0 to 100",
                do="write 20 for 20 %",
                column=name,
            )


def factor_column(name: str) -> str:
    """Where the tests of a rating factor find its text."""
    return identifier(f"factor {name}")


def _column(table: Table, column: Column) -> Iterator[FaultKind]:
    """What can be wrong with single values of a column; `raw.` is what was written."""
    effect = _READING if table.name == "readings" else Effect.STOPS
    name = identifier(column.name)

    def test(kind: str, says: str, what: str, do: str) -> FaultKind:
        return FaultKind(
            kind=kind,
            table=table.name,
            says=says,
            what=f"{column.name}: {what}",
            do=do,
            effect=effect,
            column=column.name,
        )

    if not column.empty and column.required:
        yield test("EMPTY", f"NOT {{written}} AND {name} IS NULL", "nothing written", "fill it in")
    if column.kind not in (Kind.TEXT, Kind.CHOICE):
        forms = {
            Kind.DAY: "YYYY-MM-DD",
            Kind.TIME: "2026-05-04T08:00:00+08:00",
            Kind.WHOLE: "a whole number of minor units, such as 12050 for 120.50 yuan",
            Kind.NUMBER: "a decimal, such as 7.2",
            Kind.FLAG: "true or false",
        }
        what = f"cannot be read as {column.kind}"
        yield test("NOT_READ", f"{{written}} AND {name} IS NULL", what, forms[column.kind])
    if column.kind is Kind.NUMBER:
        yield test("NOT_FINITE", f"NOT isfinite({name})", "NaN or infinite", "leave it empty")
    if column.choices:
        words = ", ".join(column.choices)
        do = f"write {words}, or map it by book.tables.{table.name}.values"
        yield test("UNKNOWN_WORD", f"{name} NOT IN ({listed(column.choices)})", "unknown word", do)
    if column.least is not None:
        kind = "NEGATIVE" if column.least == 0 else "TOO_SMALL"
        says = f"{name} < {column.least:.0f}"
        yield test(kind, says, f"below {column.least:.0f}", "a payment back is no claim: net it")
    if column.most is not None:
        says = f"{name} > {column.most:.0f}"
        yield test("TOO_LARGE", says, "impossibly large", "amounts are in minor units")
