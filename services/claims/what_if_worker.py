"""A process that decides households under another plan: bytes in, bytes out, no key, no database.

It is given nothing but the facts of the households on its standard input, and ends when that does.
A frame is its length in four bytes and its content. The first one is the plan.
"""

from __future__ import annotations

import os
import struct
import sys
from functools import lru_cache
from typing import BinaryIO

import msgspec

from services.claims.core.canonical import plan_from
from services.claims.core.plan import Plan
from services.claims.core.what_if import BalancesAltered, Outcome, Task, decide_household

# Claims are settled meanwhile, and go first.
_NICE = 10
_LENGTH = struct.Struct(">I")


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcomes of one task; `altered` says that there are none, since balances do not hold."""

    outcomes: tuple[Outcome, ...] = ()
    altered: bool = False


_tasks = msgspec.msgpack.Decoder(Task)
_answers = msgspec.msgpack.Decoder(Answer)
_encode = msgspec.msgpack.Encoder().encode


def task_bytes(task: Task) -> bytes:
    """A task as it is sent."""
    return _encode(task)


def answer_from(sent: bytes) -> Answer:
    """An answer as it came."""
    return _answers.decode(sent)


def decided(plan: Plan, task: bytes) -> bytes:
    """The answer to one task, both as they are sent."""
    try:
        asked = _tasks.decode(task)
        plans = {version: _plan(content) for version, content in asked.plans.items()}
        outcomes = [
            one
            for household in asked.households
            for one in decide_household(plan, household, plans)
        ]
    except BalancesAltered:
        return _encode(Answer(altered=True))
    return _encode(Answer(outcomes=tuple(outcomes)))


@lru_cache(maxsize=16)
def _plan(content: bytes) -> Plan:
    """Tasks bring the same few plans again and again."""
    return plan_from(content)


def write_frame(to: BinaryIO, content: bytes) -> None:
    """Send one frame."""
    to.write(_LENGTH.pack(len(content)))
    to.write(content)
    to.flush()


def read_frame(of: BinaryIO) -> bytes | None:
    """The next frame; None at the end, and where it broke off."""
    head = of.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = of.read(length)
    return content if len(content) == length else None


def main() -> None:
    """Answer tasks until there are none."""
    os.nice(_NICE)
    asked, told = sys.stdin.buffer, sys.stdout.buffer
    first = read_frame(asked)
    if first is None:
        return
    plan = plan_from(first)
    while (task := read_frame(asked)) is not None:
        write_frame(told, decided(plan, task))


if __name__ == "__main__":
    main()
