"""Signals as something to wait for, so that a loop with one thread wakes at once."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager


@contextmanager
def signals_to(hear: Callable[[int], None], stops: Collection[signal.Signals]) -> Iterator[int]:
    """A descriptor that becomes readable with every signal, so that waiting ends at once.

    Afterwards wishes to stop are ignored: all is stopped, and this process ends next.
    """
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    earlier_pulse = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    numbers = {*stops, signal.SIGCHLD}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)  # nohup asked us to outlive the terminal
    for number in numbers:
        signal.signal(number, lambda heard, _frame: hear(heard))
    try:
        yield read
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        signal.set_wakeup_fd(earlier_pulse)
        os.close(read)
        os.close(write)


def wait(pulse: int, longest_s: float) -> None:
    """Return at the next signal, at the latest after so many seconds."""
    if select.select([pulse], [], [], longest_s)[0]:
        os.read(pulse, 4096)
