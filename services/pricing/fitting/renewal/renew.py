"""The renewal of a book, step by step: deal, price, balance, write, finish.

Every step leaves whole files below a folder that is named by the digest of all that the result
depends on: what lies there is done and right. Stopped at any moment, the same command goes on
where it was, and a step that was done does nothing more. The book itself is never changed.
"""

from __future__ import annotations

import msgspec

from services.pricing.core.balance import target_of
from services.pricing.core.features import outcome_features
from services.pricing.fitting.renewal import dealing
from services.pricing.fitting.renewal.balancing import balance, reach_of
from services.pricing.fitting.renewal.columns import CHARGED
from services.pricing.fitting.renewal.dealing import Wanted
from services.pricing.fitting.renewal.grid import Grid
from services.pricing.fitting.renewal.pricing_shards import Tally, price_shard
from services.pricing.fitting.renewal.result import (
    Balanced,
    Manifest,
    columns_of,
    finish,
    write_shard,
)
from services.pricing.fitting.renewal.work import (
    Progress,
    Work,
    each,
    read_rows,
    write,
    write_rows,
    write_table,
)


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
    progress("deal", 0, 1)
    deal(work, grid)
    progress("deal", 1, 1)
    numbers = range(work.settings.shards)
    whole = Tally()
    priced = each(lambda number: price_one(work, grid, number), len(numbers))
    for number, tally in enumerate(priced, 1):
        whole.merge(tally)
        progress("price", number, len(numbers))
    if whole.counts:
        raise BookRefused(whole, rows_of(work))
    progress("balance", 0, 1)
    found = balance_book(work)
    progress("balance", 1, 1)
    for number, _ in enumerate(each(lambda n: write_shard(work, n, found), len(numbers)), 1):
        progress("write", number, len(numbers))
    return finish(work, grid, found)


def deal(work: Work, grid: Grid) -> None:
    """Deal the book into shards, unless that is done.

    Raises: dealing.BookUnreadable.
    """
    done = work.unfinished / "dealt.json"
    if done.exists():
        return
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


def rows_of(work: Work) -> int:
    """How many rows the book has, once it is dealt."""
    return int((work.unfinished / "dealt.json").read_text("ascii"))


def price_one(work: Work, grid: Grid, number: int) -> Tally:
    """Price one shard, unless that is done; the faults of its rows, of which it then has none."""
    if work.priced(number).exists() or not work.dealt(number).exists():
        return Tally()
    found = price_shard(work.dealt(number), grid, work.terms, work.settings.groups)
    if not found.wrong.counts:
        write_table(work.referred(number), found.referred)
        write_rows(work.priced(number), found.table)
    return found.wrong


def balance_book(work: Work) -> Balanced:
    """Find the off-balance factor of the whole book, unless that is done. Every shard is priced.

    Raises: NothingToRenew; off_balance.OutOfReach or NotBalanced.
    """
    if work.balanced.exists():
        return msgspec.json.decode(work.balanced.read_bytes(), type=Balanced)
    numbers = [n for n in range(work.settings.shards) if work.priced(n).exists()]
    tables = [read_rows(work.priced(number)) for number in numbers]
    shards = [columns_of(table) for table in tables]
    renewed = sum(table.num_rows for table in tables)
    if not renewed:
        raise NothingToRenew("the tariff prices no row of the book")
    expiring = sum(int(table[CHARGED].to_numpy().sum()) for table in tables)
    target, reach = target_of(expiring, work.settings.change_millionths), reach_of(shards)
    found = Balanced(
        rows=rows_of(work),
        renewed=renewed,
        expiring_minor=expiring,
        target_e4=target,
        reach=reach,
        k_billionths=balance(shards, target, reach),
    )
    write(work.balanced, msgspec.json.encode(found, order="sorted"))
    return found
