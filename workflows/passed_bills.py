"""Bills that a handing over passes by, and when each is tried again. Asks no service.

What waits for the bank, or fails inside the insurer's system, holds up what hangs on it alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import SystemRandom
from typing import TypeAlias

import grpc

from lipei.type.v1 import bill_pb2
from services.common.refusals import RpcFault

Name: TypeAlias = str | tuple[str, str]

# Whoever is called, or who calls, is at fault: it would be so of every bill, and all wait. Anything
# else that is not final is of one bill, until so many in a row fail: then the insurer's system is.
OF_EVERY_BILL = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
}
MOST_IN_A_ROW = 5
# A fault that passes is over in seconds, one that a person mends takes hours. It is looked at again
# soon after it was mended, and a bill costs a call each quarter of an hour until then.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 900.0
_CHANCE = SystemRandom()


class Passed:
    """Of one handing over: bills `left` without their consent, and those that wait.

    Behind one that waits, whatever names its bill or its person waits as well: claims would decide
    a new bill while that which it stands for still counts, and what was stated anew was undone.
    """

    def __init__(self) -> None:
        self.left: set[str] = set()
        self._wait: set[Name] = set()
        self._in_a_row = 0

    def waits(self, named: Collection[Name]) -> bool:
        """Whether the bill that names these waits, or hangs on one that does."""
        return not self._wait.isdisjoint(named)

    def wait(self, named: Collection[Name]) -> None:
        """It waits, and whatever names one of these."""
        self._wait.update(named)

    def heard(self, *, failed: bool) -> None:
        """The insurer's system answered one bill, or failed at it."""
        self._in_a_row = self._in_a_row + 1 if failed else 0

    @property
    def all_fail(self) -> bool:
        """So many failed in a row that it is the system's fault: the others wait for it as well."""
        return self._in_a_row >= MOST_IN_A_ROW


@dataclass(frozen=True, slots=True)
class _Failure:
    times: int
    again_s: float


class Failing:
    """Bills at which the insurer's system failed, each with its own pause: never given up.

    Kept in memory: a worker that starts anew tries each at once, and begins with short pauses.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._failing: dict[str, _Failure] = {}

    def is_due(self, bill: str) -> bool:
        """Whether a bill may be tried: it did not fail, or its pause is over."""
        failed = self._failing.get(bill)
        return failed is None or failed.again_s <= self._now_s()

    def note(self, bill: str) -> int:
        """It failed once more; how often it has by now."""
        before = self._failing.get(bill)
        times = 1 if before is None else before.times + 1
        pause_s = pause_after(times, _CHANCE.random())
        self._failing[bill] = _Failure(times, self._now_s() + pause_s)
        return times

    def forget(self, bill: str) -> None:
        """It was answered."""
        self._failing.pop(bill, None)

    def forget_old(self) -> None:
        """What was not tried for long is not handed out any more."""
        long_ago_s = self._now_s() - 4 * LONGEST_PAUSE_S
        self._failing = {
            bill: one for bill, one in self._failing.items() if one.again_s > long_ago_s
        }


def pause_after(times: int, chance: float) -> float:
    """Seconds until a bill that failed so often is tried again; by chance, so that many spread.

    >>> [pause_after(times, 1.0) for times in (1, 2, 6, 10_000)]
    [30.0, 60.0, 900.0, 900.0]
    >>> pause_after(2, 0.0)
    30.0
    """
    longest_s = min(math.ldexp(FIRST_PAUSE_S, min(times, 20) - 1), LONGEST_PAUSE_S)
    return longest_s * (1 + chance) / 2


def is_of_one_bill(fault: RpcFault) -> bool:
    """Whether a fault that is not final is of the bill that was handed over, by what is known."""
    return fault.code not in OF_EVERY_BILL


def named_by(bill: bill_pb2.Bill) -> list[Name]:
    """The bill, by provider and number, and its person, where that is shown."""
    which = bill.provider_id, bill.bill_number
    return [which, bill.member_token] if bill.member_token else [which]
