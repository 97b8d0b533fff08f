"""What a person sees while the demo runs: moving bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# Narrower than most terminals, so that copied output does not wrap.
WIDTH = 96
_LINE_EVERY_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How far everything is."""

    bills: int  # that the insurer has taken or refused, or that stay at the hospital with a reason
    quarantined: int
    claims: int
    decided: int
    owed: int
    paid: int


class Reporter:
    """Writes to one stream; without a terminal it writes no control characters."""

    def __init__(self, out: TextIO) -> None:
        self.live = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.console = Console(
            file=out,
            force_terminal=self.live,
            no_color=None if self.live else True,
            width=None if self.live else WIDTH,
            highlight=False,
        )

    def say(self, text: str) -> None:
        """One finished step."""
        self.console.print(text, markup=False, soft_wrap=not self.live)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A step of known length; the function takes how much more is done."""
        begun = time.monotonic()
        if self.live:
            with self._progress() as progress:
                task = progress.add_task(title, total=total)
                yield lambda more: progress.advance(task, more)
        else:
            yield lambda _more: None
        if not self.live:
            self.say(f"{title}: {total} in {time.monotonic() - begun:.1f} s")

    @contextmanager
    def board(self, bills: int) -> Iterator[Callable[[Snapshot], None]]:
        """The run itself: bills answered for, claims decided, claims paid, records set aside."""
        if self.live:
            with self._progress() as progress:
                yield _bars(progress, bills)
        else:
            yield self._lines(bills)

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description:<44}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )

    def _lines(self, bills: int) -> Callable[[Snapshot], None]:
        begun = time.monotonic()
        last: tuple[Snapshot | None, float] = (None, 0.0)

        def show(now: Snapshot) -> None:
            nonlocal last
            seconds = time.monotonic() - begun
            finished = now.bills >= bills and now.claims == now.decided and now.owed == now.paid
            if now == last[0] or (seconds - last[1] < _LINE_EVERY_S and not finished):
                return
            last = (now, seconds)
            self.say(
                f"{seconds:5.0f} s  bills answered for {now.bills}/{bills} · "
                f"judged {now.decided} · paid {now.paid} · quarantined {now.quarantined}"
            )

        return show


def _bars(progress: Progress, bills: int) -> Callable[[Snapshot], None]:
    answered = progress.add_task("bills answered for", total=bills)
    decided = progress.add_task("claims judged", total=bills)
    paid = progress.add_task("payouts confirmed by the bank", total=None)
    aside = progress.add_task("records set aside with a reason", total=None)

    def show(now: Snapshot) -> None:
        progress.update(answered, completed=now.bills)
        progress.update(decided, completed=now.decided, total=max(1, now.claims))
        progress.update(paid, completed=now.paid, total=max(1, now.owed))
        progress.update(aside, completed=now.quarantined, total=max(1, now.quarantined))

    return show
