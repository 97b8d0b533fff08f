"""A renewal as another process can make it: all that the result depends on, frozen at its start.

Whoever changes pricing.yaml, the tariff or the book afterwards changes nothing of it: what was
frozen goes on, or is refused.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from services.pricing.fitting import run_card
from services.pricing.fitting.renewal.settings import RenewalSettings
from services.pricing.fitting.renewal.terms import Terms
from services.pricing.fitting.renewal.work import FORMAT, HELD, Work, let_go, work_name, write
from services.pricing.tariffs.loader import TariffRefused, load_tariff


class PlanBroken(ValueError):
    """The book or the tariff is not what it was when the renewal began."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Where book, tariff and result lie, and what was frozen; holds no row of a book."""

    book: str
    book_sha256: str
    tariff: str
    tariff_version: str
    settings: RenewalSettings
    terms: Terms
    folder: str


def plan_of(work: Work, tariff: Path) -> bytes:
    """The plan of a renewal, as canonical JSON; `tariff` is the file that the rates came from."""
    plan = Plan(
        book=str(work.book.absolute()),
        book_sha256=work.book_sha256,
        tariff=str(tariff.absolute()),
        tariff_version=work.rates.version,
        settings=work.settings,
        terms=work.terms,
        folder=str(work.folder.absolute()),
    )
    return msgspec.json.encode(plan, order="sorted")


def hold(work: Work) -> None:
    """Keep the unfinished work from being cleared away behind another renewal of this folder."""
    write(work.unfinished / HELD, b"")


def give_up(content: bytes) -> None:
    """Hold the work of a plan no longer: it was refused, also where its tariff cannot be read.

    Nor what an earlier version of ours began of it: nobody goes on with that, and it would keep
    every other renewal out of the folder.
    """
    plan = msgspec.json.decode(content, type=Plan)
    of_plan = plan.book_sha256, plan.tariff_version, plan.settings, plan.terms
    for written_as in range(1, FORMAT + 1):
        let_go(Path(plan.folder), work_name(*of_plan, written_as))


def work_of(content: bytes) -> Work:
    """The renewal of a plan; reads the tariff, not the book.

    Raises: PlanBroken when the tariff is another one by now, or cannot be read.
    """
    plan = msgspec.json.decode(content, type=Plan)
    path = Path(plan.tariff)
    try:
        rates = load_tariff(path.read_bytes(), path.name)
    except (TariffRefused, OSError):
        raise PlanBroken(f"{path.name} can no longer be read; put the tariff back") from None
    if rates.version != plan.tariff_version:
        text = (
            f"{path.name} is another tariff by now; put {plan.tariff_version} back, or begin anew"
        )
        raise PlanBroken(text)
    return Work(
        book=Path(plan.book),
        book_sha256=plan.book_sha256,
        rates=rates,
        settings=plan.settings,
        terms=plan.terms,
        folder=Path(plan.folder),
    )


def prove_book(work: Work) -> None:
    """That the book is the one that the renewal began with.

    Raises: PlanBroken.
    """
    try:
        same = run_card.digest(work.book) == work.book_sha256
    except OSError:
        same = False
    if not same:
        text = f"{work.book.name} is not the book that the renewal began with; begin anew"
        raise PlanBroken(text)
