"""One shard of an expiring book, priced and judged: what balancing needs, and every fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from services.pricing.core.renewal import MOST_EXPIRING_MINOR, bounds_e4
from services.pricing.core.tariff import CreditCap
from services.pricing.fitting.renewal.columns import (
    AMOUNTS,
    CHARGED,
    CODE,
    CREDIT,
    DIGEST,
    GROUP,
    LEAST_E4,
    MOST_E4,
    POLICY,
    ROW,
    TECHNICAL,
    TIER,
    UNCREDITED,
)
from services.pricing.fitting.renewal.dealing import read_dealt
from services.pricing.fitting.renewal.grid import Grid
from services.pricing.fitting.renewal.terms import Terms

Column: TypeAlias = NDArray[np.int64]

# As claims takes it (`OutcomeTier.tier`).
_TIER_FORM = r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\z"
# Rows named beside a fault; the count says how many there are.
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class RowFault:
    """A kind of fault: the column, a stable reason, and what to do."""

    column: str
    reason: str
    text: str


@dataclass(slots=True)
class Tally:
    """Faults by kind, with the first rows of each; rows are counted from 1."""

    counts: Counter[RowFault] = field(default_factory=Counter)
    rows: dict[RowFault, list[int]] = field(default_factory=dict)

    def add(self, fault: RowFault, rows: Column) -> None:
        """Count rows of one kind of fault."""
        if not rows.size:
            return
        self.counts[fault] += int(rows.size)
        shown = self.rows.setdefault(fault, [])
        self.rows[fault] = sorted([*shown, *(int(row) for row in np.sort(rows)[:_SHOWN])])[:_SHOWN]

    def merge(self, other: Tally) -> None:
        """Take another shard's faults in."""
        for fault, count in other.counts.items():
            self.counts[fault] += count
            shown = [*self.rows.get(fault, ()), *other.rows[fault]]
            self.rows[fault] = sorted(shown)[:_SHOWN]


@dataclass(frozen=True, kw_only=True, slots=True)
class Priced:
    """The rows of a shard that the tariff prices, in the book's order, and the others."""

    table: pa.Table  # policy, code, technical_e4, bounds, credit, expiring amounts, groups
    referred: pa.Table  # policy and reason of who has no price and goes to a person
    wrong: Tally


def price_shard(path: Path, grid: Grid, terms: Terms, groups: tuple[str, ...]) -> Priced:
    """Read one dealt shard and price it; decides nothing about the book as a whole."""
    dealt = read_dealt(path)
    line = _whole(dealt, ROW)
    if np.any(line[1:] < line[:-1]):  # several threads have read
        dealt = dealt.take(pa.array(np.argsort(line))).combine_chunks()
        line = _whole(dealt, ROW)
    texts = {
        name: _texts(dealt[name])
        for name in dict.fromkeys((*grid.columns, *groups, TIER))
        if name in dealt.column_names
    }
    judged = grid.judge(texts, dealt.num_rows)
    wrong = Tally()
    referred: list[tuple[Column, str]] = []
    for fault, at in judged.faults:
        if fault.reason == "NOT_PRICED":
            referred.append((at, f"{fault.feature}: {fault.text}"))
        else:
            wrong.add(RowFault(fault.feature, fault.reason, fault.text), line[at])
    bad = judged.wrong.copy()
    for kind, flags in _faults(dealt, texts.get(TIER), terms.cap):
        if flags.any():
            wrong.add(kind, line[flags])
            bad |= flags
    made = {
        POLICY: dealt[POLICY],
        UNCREDITED: dealt[UNCREDITED],
        CHARGED: dealt[CHARGED],
        CREDIT: dealt[CREDIT].dictionary_encode(),
        **{f"{GROUP}{name}": texts[name] for name in groups},
    }
    if TIER in texts:
        made[TIER] = texts[TIER]
    table, keep = pa.table(made), judged.priced & ~bad
    codes = judged.codes
    if not keep.all():
        table, codes = table.filter(pa.array(keep)), codes[keep]
    least, most = bounds_e4(_whole(table, UNCREDITED), terms.collar)
    cells = pa.array(codes).dictionary_encode()
    gross = [grid.gross_e4(code) for code in cells.dictionary.to_pylist()]
    made = {
        CODE: cells,
        TECHNICAL: pa.DictionaryArray.from_arrays(cells.indices, pa.array(gross, pa.int64())),
        LEAST_E4: pa.array(least),
        MOST_E4: pa.array(most),
    }
    for name, column in made.items():
        table = table.append_column(name, column)
    return Priced(table=table, referred=_referred(dealt, referred, bad), wrong=wrong)


def _texts(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """A column by its different values, as a caller of a quote would write them."""
    found = column.combine_chunks().dictionary_encode()
    return pa.DictionaryArray.from_arrays(found.indices, found.dictionary.cast(pa.string()))


def _faults(
    dealt: pa.Table, tiers: pa.DictionaryArray | None, cap: CreditCap | None
) -> list[tuple[RowFault, NDArray[np.bool_]]]:
    found = []
    for name in AMOUNTS:
        values = _whole(dealt, name)
        out = (values <= 0) | (values > MOST_EXPIRING_MINOR)
        text = f"must be whole minor units from 1 to {MOST_EXPIRING_MINOR}"
        found.append((RowFault(name, "AMOUNT", text), out))
    credit = _whole(dealt, CREDIT)
    if cap is None:
        text = "credits need renewal.credit_cap with its source; it has no default"
        found.append((RowFault(CREDIT, "NO_LEGAL_CAP", text), credit != 0))
    else:
        text = f"must be whole millionths from 0 to the legal cap, {cap.share_millionths}"
        found.append(
            (RowFault(CREDIT, "CREDIT", text), (credit < 0) | (credit > cap.share_millionths))
        )
    if tiers is not None:
        text = "must be a plan's name of a tier: 1 to 64 of A-Z a-z 0-9 _ -, or empty"
        formed = pc.match_substring_regex(tiers.dictionary, _TIER_FORM)
        named = pc.fill_null(formed.take(tiers.indices), True)
        malformed = ~named.to_numpy(zero_copy_only=False)
        found.append((RowFault(TIER, "MALFORMED", text), malformed))
    empty = pc.is_null(dealt[POLICY]).to_numpy(zero_copy_only=False)
    found.append((RowFault(POLICY, "MISSING", "every row must name its policy"), empty))
    text = "stands in the book more than once; a policy is renewed once"
    found.append((RowFault(POLICY, "TWICE", text), _again(dealt) & ~empty))
    return found


def _again(dealt: pa.Table) -> NDArray[np.bool_]:
    """Rows whose policy has come before; all rows of one policy fall into one shard.

    Numbers are sorted sooner than names are compared: only the names of rows are compared whose
    digest may stand there twice.
    """
    digests = dealt[DIGEST].to_numpy()
    ordered = np.sort(digests)
    twice = np.zeros(1 << 16, dtype=np.bool_)
    twice[ordered[1:][ordered[1:] == ordered[:-1]] >> 16] = True
    rows = np.flatnonzero(twice[digests >> 16])
    names = dealt[POLICY].take(pa.array(rows)).combine_chunks().dictionary_encode()
    codes = names.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    again = np.zeros(dealt.num_rows, dtype=np.bool_)
    again[np.delete(rows, first)] = True
    return again


def _referred(dealt: pa.Table, found: list[tuple[Column, str]], bad: NDArray[np.bool_]) -> pa.Table:
    reasons: dict[int, list[str]] = {}
    for at, text in found:
        for row in at:
            if not bad[row]:
                reasons.setdefault(int(row), []).append(text)
    order = sorted(reasons)
    return pa.table(
        {
            POLICY: dealt[POLICY].take(pa.array(order, pa.int64())),
            "reason": pa.array(["; ".join(reasons[row]) for row in order], pa.string()),
        }
    )


def _whole(table: pa.Table, name: str) -> Column:
    values: Column = table[name].to_numpy()
    return values
