"""`python -m services.pricing.fitting.renewal.stepping`: makes single steps of renewals when asked.

Stands below the workflow of a renewal, whose worker loads none of the libraries of an actuary: it
asks by a line of JSON on standard input and gets a line on standard output. Ends when nobody
asks for a while, and with its pipe. Repeating a step that was done does nothing.
"""

from __future__ import annotations

import functools
import select
import sys
from typing import Literal

import msgspec

from services.pricing.fitting.renewal.dislocation import dislocation
from services.pricing.fitting.renewal.grid import Grid
from services.pricing.fitting.renewal.plan import PlanBroken, give_up, prove_book, work_of
from services.pricing.fitting.renewal.pricing_shards import Tally
from services.pricing.fitting.renewal.refusal import REFUSALS, refusal_lines
from services.pricing.fitting.renewal.renew import (
    BookRefused,
    balance_book,
    deal,
    price_one,
    rows_of,
)
from services.pricing.fitting.renewal.result import MANIFEST, Manifest, finish, write_shard
from services.pricing.fitting.renewal.work import Work
from services.pricing.fitting.renewal.workbook import write_workbook

# What is loaded weighs 150 MB and a second of importing: kept while shards follow one another.
_IDLE_S = 60.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One step of one renewal; `number` is the shard's, where it is about one."""

    plan: str
    step: Literal["deal", "price", "faults", "balance", "write", "finish", "let_go"]
    number: int = 0


class Answered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it: how many faults rows have, why the book is refused, counts at the end."""

    faults: int = 0
    refused: tuple[str, ...] = ()
    rows: int = 0
    renewed: int = 0
    referred: int = 0
    off_balance_billionths: int = 0


def answered(asked: Asked) -> Answered:
    """Make the step. A refusal of the book is an answer; anything else is raised.

    What is refused is held no longer: it has ended, and another renewal may be started.
    """
    found = _answered(asked)
    if found.refused:
        give_up(asked.plan.encode())
    return found


def _answered(asked: Asked) -> Answered:
    try:
        work, grid = _loaded(asked.plan)
    except PlanBroken as broken:
        return Answered(refused=(str(broken),))
    try:
        return _made(asked, work, grid)
    except PlanBroken as broken:
        return Answered(refused=(str(broken),))
    except REFUSALS as refused:
        return Answered(refused=tuple(refusal_lines(refused, work)))


@functools.lru_cache(maxsize=4)
def _loaded(plan: str) -> tuple[Work, Grid]:
    work = work_of(plan.encode())
    return work, Grid(work.rates)


def _made(asked: Asked, work: Work, grid: Grid) -> Answered:
    if asked.step == "let_go":
        give_up(asked.plan.encode())
        return Answered()
    if asked.step == "deal":
        prove_book(work)
        deal(work, grid)
        return Answered(rows=rows_of(work))
    if asked.step == "finish" and not work.unfinished.exists():
        return _reported(work, _there(work))
    if not (work.unfinished / "dealt.json").exists():
        text = f"{work.unfinished} is not there: somebody has removed it, or another version began"
        raise PlanBroken(f"{text} the renewal; begin anew")
    if asked.step == "price":
        return Answered(faults=sum(price_one(work, grid, asked.number).counts.values()))
    if asked.step == "faults":
        whole = Tally()
        for number in range(work.settings.shards):
            whole.merge(price_one(work, grid, number))
        raise BookRefused(whole, rows_of(work))
    found = balance_book(work)
    if asked.step == "write":
        write_shard(work, asked.number, found)
    if asked.step == "finish":
        return _reported(work, finish(work, grid, found))
    return Answered(off_balance_billionths=found.k_billionths)


def _there(work: Work) -> Manifest:
    """The result, when the step that made it was killed before it could say so."""
    try:
        found = msgspec.json.decode((work.result / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError):
        raise PlanBroken("somebody has removed the unfinished work; begin anew") from None
    said = (found.tariff, found.book_sha256, found.shards, found.change_millionths)
    ours = (work.rates.version, work.book_sha256)
    if said != (*ours, work.settings.shards, work.settings.change_millionths) or (
        found.collar,
        found.cap,
    ) != (work.terms.collar, work.terms.cap):
        raise PlanBroken("somebody has put another result in its place; begin anew")
    return found


def _reported(work: Work, manifest: Manifest) -> Answered:
    write_workbook(dislocation(work.result), manifest, work.folder)
    return Answered(
        rows=manifest.rows,
        renewed=manifest.renewed,
        referred=manifest.referred,
        off_balance_billionths=manifest.off_balance_billionths,
    )


def main() -> None:
    """Answer until nobody asks any more."""
    decode = msgspec.json.Decoder(Asked).decode
    while select.select([sys.stdin], [], [], _IDLE_S)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        sys.stdout.buffer.write(msgspec.json.encode(answered(decode(line))) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
