"""The renewal of a book, step by step: deal, price, balance, write.

Every step leaves whole files below a folder that is named by the digest of all that the result
depends on: what lies there is done and right. Stopped at any moment, the same command goes on
where it was. The book itself is never changed.
"""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from services.pricing.core.balance import target_of
from services.pricing.core.features import outcome_features
from services.pricing.fitting.renewal import dealing
from services.pricing.fitting.renewal.balancing import Shard, balance
from services.pricing.fitting.renewal.columns import CHARGED, CREDIT, LEAST, MOST, TECHNICAL
from services.pricing.fitting.renewal.dealing import Wanted
from services.pricing.fitting.renewal.grid import Grid
from services.pricing.fitting.renewal.pricing_shards import Tally, price_shard
from services.pricing.fitting.renewal.result import Balanced, Manifest, write_result
from services.pricing.fitting.renewal.work import Progress, Work, each, write, write_table


class BookRefused(ValueError):
    """Rows of the book cannot be used; `tally` holds every kind of fault with rows and counts."""

    def __init__(self, tally: Tally, rows: int) -> None:
        self.tally = tally
        self.rows = rows
        super().__init__(f"{sum(tally.counts.values())} faults in {rows} rows")


class NothingToRenew(ValueError):
    """The book holds no row that the tariff prices."""


def renew_book(work: Work, progress: Progress) -> Manifest:
    """Renew every policy of the book that the tariff prices, and write the result.

    Raises: dealing.BookUnreadable, BookRefused, NothingToRenew, grid.TooManyCells,
    off_balance.OutOfReach or NotBalanced. Then there is no new result, and an older one stays.
    """
    grid = Grid(work.rates)
    rows = _deal(work, grid, progress)
    tally = _price(work, grid, progress)
    if tally.counts:
        raise BookRefused(tally, rows)
    shards = [_columns(work, number) for number in range(work.settings.shards)]
    if not any(shard.technical_e4.size for shard in shards):
        raise NothingToRenew("the tariff prices no row of the book")
    progress("balance", 0, 1)
    expiring = sum(_expiring(work, number) for number in range(work.settings.shards))
    target = target_of(expiring, work.settings.change_millionths)
    k = balance(shards, target)
    progress("balance", 1, 1)
    found = Balanced(
        shards=shards, rows=rows, expiring_minor=expiring, target_e4=target, k_billionths=k
    )
    return write_result(work, grid, found, progress)


def _deal(work: Work, grid: Grid, progress: Progress) -> int:
    done = work.unfinished / "dealt.json"
    progress("deal", 0, 1)
    if not done.exists():
        outcome = outcome_features(work.rates.tariff)
        features = work.rates.tariff.features
        wanted = Wanted(
            features=grid.columns,
            required=tuple(f.name for f in features if f.required and f.name not in outcome),
            groups=work.settings.groups,
            columns=work.settings.columns,
        )
        rows = dealing.deal(work.book, wanted, work.settings.shards, work.unfinished / "dealt")
        write(done, str(rows).encode())
    progress("deal", 1, 1)
    return int(done.read_text("ascii"))


def _price(work: Work, grid: Grid, progress: Progress) -> Tally:
    work.priced(0).parent.mkdir(exist_ok=True)
    settings = work.settings

    def one(number: int) -> Tally:
        if work.priced(number).exists() or not work.dealt(number).exists():
            return Tally()
        found = price_shard(work.dealt(number), grid, work.terms, settings.groups)
        if not found.wrong.counts:
            write_table(work.referred(number), found.referred)
            write_table(work.priced(number), found.table, "none")
        return found.wrong

    whole = Tally()
    for number, tally in enumerate(each(one, settings.shards), 1):
        whole.merge(tally)
        progress("price", number, settings.shards)
    return whole


def _columns(work: Work, number: int) -> Shard:
    path = work.priced(number)
    names = [TECHNICAL, LEAST, MOST, CREDIT]
    if not path.exists():
        technical = least = most = credit = np.zeros(0, np.int64)
    else:
        table = pq.read_table(path, columns=names)
        technical, least, most, credit = (table[name].to_numpy() for name in names)
    return Shard(technical_e4=technical, least_minor=least, most_minor=most, credit=credit)


def _expiring(work: Work, number: int) -> int:
    path = work.priced(number)
    return (
        int(pq.read_table(path, columns=[CHARGED])[CHARGED].to_numpy().sum())
        if path.exists()
        else 0
    )
