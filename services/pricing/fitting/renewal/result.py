"""A balanced book → the files of its renewal and their manifest. Decides no premium.

`renewals-NNNN.parquet` holds a row a policy; its waterfall stands in `waterfalls.parquet` under
the same `code`, up to the technical gross premium, and goes on with the manifest's off-balance
factor, the collar and the rounding (`core/renewal.py`).
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from services.pricing.core.arithmetic import less_credit, to_multiple
from services.pricing.core.balance import Reach
from services.pricing.core.renewal import to_minor_inside, uncredited_e4
from services.pricing.core.tariff import E4, Collar, CreditCap
from services.pricing.fitting.renewal.balancing import Shard
from services.pricing.fitting.renewal.columns import (
    CHARGED,
    CODE,
    CREDIT,
    GROUP,
    LEAST,
    LEAST_E4,
    MOST,
    MOST_E4,
    POLICY,
    TECHNICAL,
    TECHNICAL_MINOR,
    TIER,
    UNCREDITED,
)
from services.pricing.fitting.renewal.grid import Grid
from services.pricing.fitting.renewal.work import (
    BUILDING,
    FORMAT,
    GONE,
    HELD,
    Work,
    each,
    read_rows,
    write,
    write_table,
)

MANIFEST = "manifest.json"
REFERRED = "referred.parquet"


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


class Balanced(msgspec.Struct, frozen=True, kw_only=True):
    """A book with its target and the factor that meets it."""

    rows: int
    renewed: int
    expiring_minor: int
    target_e4: int
    reach: Reach
    k_billionths: int


class Sums(msgspec.Struct, kw_only=True):
    """Totals of a shard, or of all of them."""

    total_e4: int = 0
    technical_minor: int = 0
    uncredited_minor: int = 0
    charged_minor: int = 0
    held_up: int = 0
    held_down: int = 0

    def add(self, other: Sums) -> None:
        """Take another shard's totals in."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def write_shard(work: Work, number: int, found: Balanced) -> None:
    """Write the renewals of one shard, unless that is done."""
    done = work.sums(number).exists() and work.renewed(number).exists()
    if done or not work.priced(number).exists():
        return
    table, sums = _renewed(work, read_rows(work.priced(number)), found.k_billionths)
    write_table(work.renewed(number), table)
    write(work.sums(number), msgspec.json.encode(sums))  # afterwards: it says that the other is


def finish(work: Work, grid: Grid, found: Balanced) -> Manifest:
    """Write what belongs to the whole book, the manifest last, and put the result in its place.

    An older result is replaced, and the unfinished work goes; so does what other settings have
    left unfinished, unless somebody holds it (`Work.held`).
    """
    sums = Sums()
    for number in range(work.settings.shards):
        write_shard(work, number, found)  # whoever was killed in here had moved some away
        if work.priced(number).exists():
            sums.add(msgspec.json.decode(work.sums(number).read_bytes(), type=Sums))
    referred = _referred(work)
    write_table(work.made / "waterfalls.parquet", _waterfalls(work, grid))
    for left in work.made.glob(f"*{BUILDING}"):  # of a process that was killed
        left.unlink()
    (work.made / MANIFEST).unlink(missing_ok=True)
    manifest = _manifest(work, found, sums, referred)
    content = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1)
    write(work.made / MANIFEST, content)
    shutil.rmtree(work.result, ignore_errors=True)
    work.made.rename(work.result)
    _clear(work)
    return manifest


def _clear(work: Work) -> None:
    # At once, for half of it would look like work that waits to be gone on with.
    work.unfinished.rename(work.unfinished.with_name(f"{uuid.uuid4().hex}{GONE}"))
    for folder in work.unfinished.parent.iterdir():
        if folder.name.endswith(GONE) or not (folder / HELD).exists():
            shutil.rmtree(folder, ignore_errors=True)
    if not any(work.unfinished.parent.iterdir()):
        work.unfinished.parent.rmdir()


def columns_of(table: pa.Table) -> Shard:
    """The columns of a priced shard that its balance and its premiums are made of."""
    technical, credit = (table[name].combine_chunks() for name in (TECHNICAL, CREDIT))
    return Shard(
        cell=technical.indices.to_numpy(),
        technical_e4=technical.dictionary.to_numpy(),
        least_e4=table[LEAST_E4].to_numpy(),
        most_e4=table[MOST_E4].to_numpy(),
        credit_kind=credit.indices.to_numpy(),
        credits=credit.dictionary.to_numpy(),
    )


def _renewed(work: Work, table: pa.Table, k: int) -> tuple[pa.Table, Sums]:
    shard = columns_of(table)
    unit = work.rates.tariff.rounding.to_minor_units
    least, most, credit = shard.least_e4, shard.most_e4, shard.credit()
    least_minor, most_minor = to_minor_inside(least, most)
    offered = shard.offered_e4(k)
    uncredited = uncredited_e4(offered, least, most, unit)
    charged = to_multiple(less_credit(uncredited, credit), unit)
    technical = (to_multiple(shard.technical_e4, 1) // E4)[shard.cell]
    made = {
        POLICY: table[POLICY],
        CODE: table[CODE].cast(pa.int64()),
        TECHNICAL_MINOR: pa.array(technical),
        LEAST: pa.array(least_minor),
        MOST: pa.array(most_minor),
        "uncredited_minor": pa.array(uncredited // E4),
        CREDIT: pa.array(credit),
        "charged_minor": pa.array(charged // E4),
        UNCREDITED: table[UNCREDITED],
        CHARGED: table[CHARGED],
        **{name: table[name] for name in table.column_names if name.startswith(GROUP)},
    }
    if TIER in table.column_names:
        made[TIER] = table[TIER]
    sums = Sums(
        total_e4=int(less_credit(offered, credit).sum()),
        technical_minor=int(technical.sum()),
        uncredited_minor=int(uncredited.sum()) // E4,
        charged_minor=int(charged.sum()) // E4,
        held_up=int((offered == least).sum()),
        held_down=int((offered == most).sum()),
    )
    return pa.table(made), sums


def _referred(work: Work) -> int:
    paths = [work.referred(number) for number in range(work.settings.shards)]
    whole = pa.concat_tables([pq.read_table(path) for path in paths if path.exists()])
    write_table(work.made / REFERRED, whole)
    return int(whole.num_rows)


def _waterfalls(work: Work, grid: Grid) -> pa.Table:
    """Every step of every combination of cells that occurs; the last is the technical gross."""
    codes: set[int] = set()
    for number in range(work.settings.shards):
        path = work.priced(number)
        if path.exists():
            codes.update(read_rows(path)[CODE].combine_chunks().dictionary.to_pylist())
    lines = [
        {
            CODE: code,
            "position": position,
            "step": step.label.step,
            "cell": step.label.cell,
            "factor_millionths": step.label.factor_millionths,
            "difference_e4": step.difference_e4,
            "premium_e4": step.premium_e4,
            "text_zh": step.label.text_zh,
            "text_en": step.label.text_en,
        }
        for code in sorted(codes)
        for position, step in enumerate(grid.waterfall(code).steps[:-1])
    ]
    return pa.Table.from_pylist(lines)


def _manifest(work: Work, found: Balanced, sums: Sums, referred: int) -> Manifest:
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
        renewed=found.renewed,
        referred=referred,
        expiring_charged_minor=found.expiring_minor,
        target_e4=found.target_e4,
        reach=found.reach,
        off_balance_billionths=found.k_billionths,
        total_e4=sums.total_e4,
        technical_minor=sums.technical_minor,
        uncredited_minor=sums.uncredited_minor,
        charged_minor=sums.charged_minor,
        held_up=sums.held_up,
        held_down=sums.held_down,
        files=_digests(sorted(work.made.iterdir())),
    )


def _digests(paths: Sequence[Path]) -> dict[str, str]:
    found = each(lambda number: _digest(paths[number]), len(paths))
    return {path.name: digest for path, digest in zip(paths, found, strict=True)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
