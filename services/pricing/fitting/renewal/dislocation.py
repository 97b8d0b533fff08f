"""What a renewal does to its policyholders: changes by size and by group, and the largest ones.

Technical and charged premiums are shown apart: where the two part, the collar or a credit holds a
price away from its risk. Reads a finished result; changes no premium.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import msgspec

from services.pricing.core.tariff import MILLION
from services.pricing.fitting.experience.tables import connect
from services.pricing.fitting.renewal.columns import CHARGED, CREDIT, GROUP, POLICY, UNCREDITED
from services.pricing.fitting.renewal.result import MANIFEST, REFERRED, Manifest

MOVERS = 20
# Edges of the bands of change of the charged premium.
EDGES = (-0.5, -0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Policies that have something in common; amounts are means in minor units.

    `change` is that of the charged premiums in all, `uncredited_change` without credits;
    `charged_to_technical` above the book's own says that the group pays for others.
    """

    name: str
    policies: int
    expiring_minor: float
    technical_minor: float
    uncredited_minor: float
    charged_minor: float
    change: float
    uncredited_change: float
    charged_to_technical: float
    held_up: float  # share of policies at the collar's lower end
    held_down: float
    credit: float  # mean share
    quantiles: tuple[float, ...]  # of the change of single policies, at `Dislocation.quantiles_at`


class Mover(msgspec.Struct, frozen=True, kw_only=True):
    """One policy whose premium changes much; amounts in minor units."""

    policy_id: str
    expiring_minor: int
    technical_minor: int
    charged_minor: int
    change: float


class Dislocation(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report."""

    tariff: str
    synthetic: bool
    quantiles_at: tuple[float, ...] = _QUANTILES
    book: Group
    bands: tuple[Group, ...]
    groups: Mapping[str, tuple[Group, ...]]
    up: tuple[Mover, ...]
    down: tuple[Mover, ...]
    referred: Mapping[str, int] = {}  # policies without a price by reason, the most frequent first


def dislocation(result: Path) -> Dislocation:
    """Measure a finished renewal. `result` is the folder with its manifest.

    Raises: OSError or msgspec.DecodeError when there is none.
    """
    manifest = msgspec.json.decode((result / MANIFEST).read_bytes(), type=Manifest)
    with connect() as database:
        rows = database.read_parquet(str(result / "renewals-*.parquet"))
        changed = rows.project(
            f"*, charged_minor / {CHARGED} - 1 AS change, uncredited_minor = least_minor AS up,"
            f" uncredited_minor = most_minor AS down, {_band()} AS band"
        )
        names = [name for name in rows.columns if name.startswith(GROUP)]
        groups = {
            name.removeprefix(GROUP): _groups(changed, f"coalesce({_named(name)}, '(none)')")
            for name in names
        }
        bands = _groups(changed, "band")
        return Dislocation(
            tariff=manifest.tariff,
            synthetic=manifest.synthetic,
            book=_groups(changed, "'book'")[0],
            bands=tuple(
                msgspec.structs.replace(band, name=_said(int(band.name))) for band in bands
            ),
            groups=groups,
            up=_movers(changed, "DESC"),
            down=_movers(changed, "ASC"),
            referred=_referred(database.read_parquet(str(result / REFERRED))),
        )


def _referred(rows: duckdb.DuckDBPyRelation) -> Mapping[str, int]:
    counted = rows.aggregate("reason, count(*) AS policies", "reason")
    return dict(counted.order("policies DESC, reason").fetchall())


def _groups(rows: duckdb.DuckDBPyRelation, key: str) -> tuple[Group, ...]:
    at = ", ".join(str(quantile) for quantile in _QUANTILES)
    columns = {
        "policies": "count(*)",
        "expiring": f"avg({CHARGED})",
        "technical": "avg(technical_minor)",
        "uncredited": "avg(uncredited_minor)",
        "charged": "avg(charged_minor)",
        "before": f"avg({UNCREDITED})",
        "held_up": "avg(up::INT)",
        "held_down": "avg(down::INT)",
        "credit": f"avg({CREDIT})",
        "quantiles": f"quantile_cont(change, [{at}])",
    }
    asked = ", ".join(f"{formula} AS {name}" for name, formula in columns.items())
    found = rows.project(f"{key} AS key, *").aggregate(f"key, {asked}", "key").order("key")
    return tuple(
        _group(str(row[0]), dict(zip(columns, row[1:], strict=True))) for row in found.fetchall()
    )


def _group(name: str, found: Mapping[str, object]) -> Group:
    number = {key: float(str(value)) for key, value in found.items() if key != "quantiles"}
    quantiles, technical = found["quantiles"], number["technical"]
    return Group(
        name=name,
        policies=int(number["policies"]),
        expiring_minor=number["expiring"],
        technical_minor=technical,
        uncredited_minor=number["uncredited"],
        charged_minor=number["charged"],
        change=number["charged"] / number["expiring"] - 1,
        uncredited_change=number["uncredited"] / number["before"] - 1,
        charged_to_technical=number["charged"] / number["technical"]
        if number["technical"]
        else 0.0,
        held_up=number["held_up"],
        held_down=number["held_down"],
        credit=number["credit"] / MILLION,
        quantiles=tuple(float(q) for q in quantiles) if isinstance(quantiles, list) else (),
    )


def _movers(rows: duckdb.DuckDBPyRelation, direction: str) -> tuple[Mover, ...]:
    columns = f"{POLICY}, {CHARGED}, technical_minor, charged_minor, change"
    ordered = rows.order(f"change {direction}, {POLICY}").limit(MOVERS).project(columns)
    return tuple(
        Mover(
            policy_id=policy,
            expiring_minor=expiring,
            technical_minor=technical,
            charged_minor=charged,
            change=change,
        )
        for policy, expiring, technical, charged, change in ordered.fetchall()
    )


def _band() -> str:
    cases = " ".join(
        f"WHEN charged_minor / {CHARGED} - 1 < {edge} THEN {number}"
        for number, edge in enumerate(EDGES)
    )
    return f"CASE {cases} ELSE {len(EDGES)} END"


def _said(band: int) -> str:
    if band == 0:
        return f"below {EDGES[0]:+.0%}"
    if band == len(EDGES):
        return f"{EDGES[-1]:+.0%} and above"
    return f"{EDGES[band - 1]:+.0%} to below {EDGES[band]:+.0%}"


def _named(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
