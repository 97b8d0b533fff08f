"""A balanced book → the files of its renewal and their manifest. Decides no premium.

`renewals-NNNN.parquet` holds a row a policy; its waterfall stands in `waterfalls.parquet` under
the same `code`, up to the technical gross premium, and goes on with the manifest's off-balance
factor, the collar and the rounding (`core/renewal.py`).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from services.pricing.core.arithmetic import less_credit, to_multiple
from services.pricing.core.balance import Reach
from services.pricing.core.renewal import offered_e4, uncredited_e4
from services.pricing.core.tariff import E4, Collar, CreditCap
from services.pricing.fitting.renewal.balancing import Shard, reach_of
from services.pricing.fitting.renewal.columns import (
    CHARGED,
    CODE,
    CREDIT,
    GROUP,
    LEAST,
    MOST,
    POLICY,
    UNCREDITED,
)
from services.pricing.fitting.renewal.grid import Grid
from services.pricing.fitting.renewal.work import FORMAT, Progress, Work, each, write, write_table

MANIFEST = "manifest.json"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a renewal was made of and came to; amounts in the unit of their name."""

    format: int
    tariff: str
    currency: str
    synthetic: bool
    book_sha256: str
    collar: Collar
    change_millionths: int
    cap: CreditCap | None
    shards: int
    rows: int
    renewed: int
    referred: int
    expiring_charged_minor: int
    target_e4: int
    reach: Reach
    off_balance_billionths: int
    total_e4: int  # of the charged premiums before they are rounded to the fen
    technical_minor: int
    uncredited_minor: int
    charged_minor: int
    held_up: int  # policies at the collar's lower end
    held_down: int
    files: dict[str, str]  # SHA-256 of each file beside this one


@dataclass(frozen=True, kw_only=True, slots=True)
class Balanced:
    """A book with its target and the factor that meets it."""

    shards: Sequence[Shard]
    rows: int
    expiring_minor: int
    target_e4: int
    k_billionths: int


@dataclass(slots=True)
class _Sums:
    total_e4: int = 0
    technical_minor: int = 0
    uncredited_minor: int = 0
    charged_minor: int = 0
    held_up: int = 0
    held_down: int = 0

    def add(self, other: _Sums) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def write_result(work: Work, grid: Grid, found: Balanced, progress: Progress) -> Manifest:
    """Write the files of the renewal, and the manifest last; an older result is replaced."""
    building = work.unfinished / "result"
    building.mkdir(exist_ok=True)

    def one(number: int) -> _Sums:
        path = work.priced(number)
        if not path.exists():
            return _Sums()
        table, sums = _renewed(work, pq.read_table(path), found.shards[number], found.k_billionths)
        write_table(building / f"renewals-{number:04d}.parquet", table)
        return sums

    sums = _Sums()
    for number, part in enumerate(each(one, work.settings.shards), 1):
        sums.add(part)
        progress("write", number, work.settings.shards)
    referred = _referred(work, building)
    write_table(building / "waterfalls.parquet", _waterfalls(work, grid))
    manifest = _manifest(work, found, sums, referred, building)
    content = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1)
    write(building / MANIFEST, content)
    shutil.rmtree(work.result, ignore_errors=True)
    building.rename(work.result)
    shutil.rmtree(work.unfinished.parent)  # also what other settings left unfinished
    return manifest


def _renewed(work: Work, table: pa.Table, shard: Shard, k: int) -> tuple[pa.Table, _Sums]:
    unit = work.rates.tariff.rounding.to_minor_units
    least, most = shard.least_minor, shard.most_minor
    offered = offered_e4(shard.technical_e4, k, least, most)
    uncredited = uncredited_e4(offered, least, most, unit)
    charged = to_multiple(less_credit(uncredited, shard.credit), unit)
    technical = to_multiple(shard.technical_e4, 1) // E4
    made = {
        POLICY: table[POLICY],
        CODE: table[CODE],
        "technical_minor": pa.array(technical),
        LEAST: table[LEAST],
        MOST: table[MOST],
        "uncredited_minor": pa.array(uncredited // E4),
        CREDIT: table[CREDIT],
        "charged_minor": pa.array(charged // E4),
        UNCREDITED: table[UNCREDITED],
        CHARGED: table[CHARGED],
        **{name: table[name] for name in table.column_names if name.startswith(GROUP)},
    }
    sums = _Sums(
        total_e4=int(less_credit(offered, shard.credit).sum()),
        technical_minor=int(technical.sum()),
        uncredited_minor=int(uncredited.sum()) // E4,
        charged_minor=int(charged.sum()) // E4,
        held_up=int((offered == least * E4).sum()),
        held_down=int((offered == most * E4).sum()),
    )
    return pa.table(made), sums


def _referred(work: Work, building: Path) -> int:
    paths = [work.referred(number) for number in range(work.settings.shards)]
    whole = pa.concat_tables([pq.read_table(path) for path in paths if path.exists()])
    write_table(building / "referred.parquet", whole)
    return int(whole.num_rows)


def _waterfalls(work: Work, grid: Grid) -> pa.Table:
    """Every step of every combination of cells that occurs; the last is the technical gross."""
    codes = np.zeros(0, np.int64)
    for number in range(work.settings.shards):
        path = work.priced(number)
        if path.exists():
            codes = np.union1d(codes, pq.read_table(path, columns=[CODE])[CODE].to_numpy())
    lines = [
        {
            CODE: int(code),
            "position": position,
            "step": step.label.step,
            "cell": step.label.cell,
            "factor_millionths": step.label.factor_millionths,
            "difference_e4": step.difference_e4,
            "premium_e4": step.premium_e4,
            "text_zh": step.label.text_zh,
            "text_en": step.label.text_en,
        }
        for code in codes
        for position, step in enumerate(grid.waterfall(int(code)).steps[:-1])
    ]
    return pa.Table.from_pylist(lines)


def _manifest(work: Work, found: Balanced, sums: _Sums, referred: int, building: Path) -> Manifest:
    settings, tariff = work.settings, work.rates.tariff
    return Manifest(
        format=FORMAT,
        tariff=work.rates.version,
        currency=tariff.currency,
        synthetic=tariff.synthetic,
        book_sha256=work.book_sha256,
        collar=work.terms.collar,
        change_millionths=settings.change_millionths,
        cap=work.terms.cap,
        shards=settings.shards,
        rows=found.rows,
        renewed=sum(int(shard.technical_e4.size) for shard in found.shards),
        referred=referred,
        expiring_charged_minor=found.expiring_minor,
        target_e4=found.target_e4,
        reach=reach_of(found.shards),
        off_balance_billionths=found.k_billionths,
        total_e4=sums.total_e4,
        technical_minor=sums.technical_minor,
        uncredited_minor=sums.uncredited_minor,
        charged_minor=sums.charged_minor,
        held_up=sums.held_up,
        held_down=sums.held_down,
        files={path.name: _digest(path) for path in sorted(building.iterdir())},
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
