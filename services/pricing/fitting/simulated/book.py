"""Write a simulated book: its tables, its truth, and on every one of them that it is synthetic."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.pricing.fitting.simulated.calendar import Whole, day_number, month_starts
from services.pricing.fitting.simulated.events import Claims, Expected, claims_and_expected
from services.pricing.fitting.simulated.measuring import (
    CODES,
    UNITS,
    Habits,
    Readings,
    habits,
    readings,
)
from services.pricing.fitting.simulated.paths import Paths, paths
from services.pricing.fitting.simulated.population import People, Policies, people, policies
from services.pricing.fitting.simulated.settings import SimulateSettings
from services.pricing.fitting.simulated.truth import (
    ASSUMED,
    CAUSES,
    CONDITIONS,
    ENROLMENT,
    LABEL,
    RAND,
    REGIONS,
    SEXES,
    Truth,
    mean_multiple,
    truth,
)

__all__ = ["LABEL", "simulate"]

# People are made in portions: memory stays within 1 GB at any size, and each has its own chance.
PORTION = 25_000
_STREAMS = 6
_PROVENANCES = ("LABORATORY", "CLINIC", "DEVICE", "TYPED")
_PROGRAMMES = ("hypertension-pressure", "diabetes-glucose")
_METADATA = {"synthetic": "true", "notice": LABEL}

Progress = Callable[[int, int], None]


def simulate(settings: SimulateSettings, folder: Path, progress: Progress) -> tuple[Path, ...]:
    """The files of a book of so many people, written into the folder.

    The same settings give the same bytes. `progress` is told the portions done and to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "truth.json"
    # First of all: whoever interrupts this leaves tables that are known as simulated.
    target.write_bytes(msgspec.json.encode({"synthetic": True, "notice": LABEL, "finished": False}))
    given = truth(settings.programme_effect)
    sizes = [min(PORTION, settings.people - start) for start in range(0, settings.people, PORTION)]
    writers: dict[str, pq.ParquetWriter] = {}
    counts: dict[str, int] = {}
    first_person = 0
    try:
        for portion, size in enumerate(sizes):
            progress(portion, len(sizes))
            for name, table in _portion(given, settings.seed, portion, size, first_person, counts):
                if name not in writers:
                    writers[name] = pq.ParquetWriter(_file(folder, name), table.schema)
                writers[name].write_table(table)
                counts[name] = counts.get(name, 0) + table.num_rows
            first_person += size
    finally:
        for writer in writers.values():
            writer.close()
    progress(len(sizes), len(sizes))
    files = [_file(folder, name) for name in writers]
    target.write_bytes(_truth_json(given, settings, files, counts))
    return (*files, target)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.parquet"


def _portion(
    given: Truth, seed: int, portion: int, size: int, first: int, counts: Mapping[str, int]
) -> list[tuple[str, Any]]:
    """The tables of one portion, each by its name."""
    streams = np.random.SeedSequence((seed, portion)).spawn(_STREAMS)
    rng = [np.random.Generator(np.random.PCG64(stream)) for stream in streams]
    who = people(given, size, rng[0])
    covered = policies(given, who)
    path = paths(given, who, month_starts(given.after_day), rng[1])
    habit = habits(given, path, rng[2])
    measured = readings(given, who, path, habit, rng[3])
    claims, expected = claims_and_expected(given, who, covered, path, rng[4])
    policy_first = counts.get("policies", 0)
    return [
        ("people", _people(who, first)),
        ("policies", _policies(given, who, covered, first, policy_first)),
        ("claims", _claims(claims, covered, first, policy_first, counts.get("claims", 0))),
        ("readings", _readings(measured, first, counts.get("readings", 0))),
        ("enrolments", _enrolments(given, who, path, first)),
        ("truth_people", _truth_people(who, habit, first)),
        ("truth_policies", _truth_policies(expected, policy_first)),
    ]


def _people(who: People, first: int) -> Any:
    return _table(
        person_id=_ids("p", first + np.arange(len(who))),
        birth_date=_days(who.birth),
        sex=_words(("M", "F"), who.female.astype(np.int64)),
        region=_words(REGIONS, who.region),
        conditions=_words(CONDITIONS, who.condition),
        condition_since=_days(who.onset, where=who.onset > 0),
        coinsurance_percent=pa.array(who.coinsurance, pa.int32()),
    )


def _policies(given: Truth, who: People, covered: Policies, first: int, policy_first: int) -> Any:
    number = len(covered.person)
    return _table(
        policy_id=_ids("c", policy_first + np.arange(number)),
        person_id=_ids("p", first + covered.person),
        first_day=_days(covered.first_day),
        after_day=_days(covered.after_day),
        entry_day=_days(covered.entry_day),
        deductible_minor=pa.array(covered.deductible, pa.int64()),
        limit_minor=pa.array(covered.limit, pa.int64()),
        premium_minor=pa.array(_charged(given, who, covered), pa.int64()),
        currency=_words(("CNY",), np.zeros(number, np.int64)),
    )


def _charged(given: Truth, who: People, covered: Policies) -> Whole:
    """The premium of an old tariff: flat in everything but three ages and the condition."""
    age = (covered.first_day - who.birth[covered.person]) / 365.25
    by_age = np.select([age < 40, age < 60], [0.8, 1.0], 1.25)
    by_condition = np.array([0.8, 1.0, 1.1, 1.35])[who.condition[covered.person]]
    years = np.floor((covered.first_day - day_number(given.first_day)) / 365.25)
    yuan = np.rint(6_000 * by_age * by_condition * 1.06**years)
    return np.asarray((100 * yuan).astype(np.int64))


def _claims(found: Claims, covered: Policies, first: int, policy_first: int, before: int) -> Any:
    return _table(
        claim_id=_ids("k", before + np.arange(len(found.policy))),
        person_id=_ids("p", first + covered.person[found.policy]),
        policy_id=_ids("c", policy_first + found.policy),
        cause=_words(CAUSES, found.cause),
        event_day=_days(found.event_day),
        report_day=_days(found.report_day),
        amount_minor=pa.array(found.amount, pa.int64()),
        ground_up_minor=pa.array(found.ground_up, pa.int64()),
    )


def _readings(found: Readings, first: int, before: int) -> Any:
    tenths = found.kind <= 1
    return _table(
        reading_id=_ids("r", before + np.arange(len(found.person))),
        person_id=_ids("p", first + found.person),
        code=_words(CODES, found.kind),
        value=pa.array(np.where(tenths, found.value / 10, found.value)),
        unit=_words(UNITS, found.kind),
        effective_time=_times(found.effective),
        receive_time=_times(found.received),
        provenance=_words(_PROVENANCES, found.provenance),
        fasting=_words(
            ("NON_FASTING",), np.zeros(len(found.kind), np.int64), where=found.kind == 1
        ),
    )


def _enrolments(given: Truth, who: People, path: Paths, first: int) -> Any:
    person = np.flatnonzero(path.enrolled_from > 0)
    until = path.enrolled_to[person]
    return _table(
        person_id=_ids("p", first + person),
        programme=_words(_PROGRAMMES, (who.condition[person] > 1).astype(np.int64)),
        first_day=_days(path.enrolled_from[person]),
        after_day=_days(until, where=until < day_number(given.after_day)),
    )


def _truth_people(who: People, habit: Habits, first: int) -> Any:
    return _table(
        person_id=_ids("p", first + np.arange(len(who))),
        frailty=pa.array(who.frailty),
        careful=pa.array(who.careful),
        measures_at_home=pa.array(habit.at_home),
        best_of_four=pa.array(habit.best_of_four),
        skips_bad_months=pa.array(habit.skipper),
    )


def _truth_policies(found: Expected, policy_first: int) -> Any:
    by_cause = {
        f"expected_claims_{c}": pa.array(v) for c, v in zip(CAUSES, found.claims, strict=True)
    }
    by_cause |= {
        f"expected_paid_{c}_minor": pa.array(v) for c, v in zip(CAUSES, found.paid, strict=True)
    }
    return _table(
        policy_id=_ids("c", policy_first + np.arange(len(found.days))),
        days=pa.array(found.days),
        true_hba1c_percent=pa.array(found.hba1c, from_pandas=True),
        true_systolic_mmhg=pa.array(found.systolic, from_pandas=True),
        **by_cause,
    )


def _table(**columns: Any) -> Any:
    """A table that says of itself, and in every row, that it is synthetic."""
    made = pa.table(columns)
    label = pa.array(np.ones(made.num_rows, np.bool_))
    return made.append_column("synthetic", label).replace_schema_metadata(_METADATA)


def _ids(letter: str, number: Whole) -> Any:
    """Opaque names of one length: a letter and eight digits."""
    digits = pc.utf8_lpad(pc.cast(pa.array(number, pa.int64()), pa.string()), 8, "0")
    return pc.binary_join_element_wise(letter, digits, "")


def _words(words: tuple[str, ...], place: Whole, *, where: Any = None) -> Any:
    mask = None if where is None else ~where
    return pa.array(words).take(pa.array(place, pa.int64(), mask=mask))


def _days(day: Whole, *, where: Any = None) -> Any:
    return pa.array(day.astype(np.int32), pa.int32(), mask=None if where is None else ~where).cast(
        pa.date32()
    )


def _times(second: Whole) -> Any:
    return pa.array(second * 1_000_000, pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def _truth_json(
    given: Truth, settings: SimulateSettings, files: list[Path], counts: Mapping[str, int]
) -> bytes:
    """truth.json: parameters, sources, the cost function in words, and the digest of each table."""
    said = {
        "format": 1,
        "synthetic": True,
        "notice": LABEL,
        "people": settings.people,
        "seed": settings.seed,
        "truth": given,
        "enrolment": ENROLMENT,
        "mean_multiple": mean_multiple(given),
        "frailty": {
            "distribution": "gamma of mean 1, one per person, on the rate of every cause",
            "variance": given.frailty_variance,
            "each": "truth_people.parquet",
        },
        "expected_cost": {
            "rate": "exp(ln base_rate + age_10y (age-45)/10 + female + chronic ranges"
            " + ln_coinsurance ln(1+coinsurance%) + region + hba1c (min(A,11)-6.5)+"
            " + systolic_10 (min(S,185)-125)+/10 + ln programme_effect while enrolled) frailty",
            "paid": "rate x E[min(X,limit) - min(X,deductible)], X 99 % Gamma, 1 % Pareto",
            "code": "services.pricing.fitting.simulated.truth",
            "each": "truth_policies.parquet: of the days observed, for a frailty of 1",
        },
        "sources": {
            "age_10y, female, chronic, ln_coinsurance, base_rate, dispersion of inpatient and"
            " outpatient; frailty_variance (of visits; admissions alone would give 1.4751)": RAND,
            "what a condition is on RAND's chronic index, injury, yuan, regions, hba1c,"
            " systolic_10, outcomes, enrolment, cover, delays, trend, tail": ASSUMED,
        },
        "error_free": ["age", "sex", "coinsurance_percent", "region"],
        "rows": dict(counts),
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "words": {"sex": SEXES, "conditions": CONDITIONS, "regions": REGIONS},
    }
    said["digest"] = hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()
    return msgspec.json.format(msgspec.json.encode(said, order="sorted")) + b"\n"
