"""Batches of lines through a stream that may break: sent again until answered, a few at a time.

Knows no service but by the stream that it is given, and no batch's content.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import grpc

from stack.commands.calling import CallFailed, Failed

# Batches that are sent and not answered: enough that the wire is never idle.
WINDOW = 4
# Without an answer for so long, whoever watches should look.
GIVE_UP_S = 60.0
_PAUSE_S = 0.5
_COMES_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
# When the caller's papers have run out since the stream was opened, or others came before.
_TRANSIENT = frozenset({"TOKEN_EXPIRED", "CERTIFICATE_EXPIRED", "TOO_MANY_STREAMS"})


class Batch(Protocol):
    """One message of the stream."""

    @property
    def request_id(self) -> str:
        """What its answer names."""


class Answer(Protocol):
    """What came back of one batch."""

    @property
    def request_id(self) -> str:
        """The batch's."""


B = TypeVar("B", bound=Batch)
A = TypeVar("A", bound=Answer)
Opens = Callable[[Iterator[B]], AbstractContextManager[Iterable[A]]]


@dataclass(frozen=True)
class Broken(Exception):
    """The stream broke for good; `unanswered` are the batches of which nobody knows."""

    failed: Failed
    unanswered: Sequence[object]


class Stream(Generic[B, A]):
    """Sends batches in their order and takes an answer for each.

    A thread takes the batches from where they come, which may be a pipe that is silent for hours;
    another sends; who iterates `answers` gets what came back.
    """

    def __init__(
        self,
        batches: Iterable[B],
        opens: Opens[B, A],
        *,
        now_s: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`opens` opens the stream anew, each time with the batches that are to be sent."""
        self._opens = opens
        self._now_s = now_s
        self._pause = pause
        self._changed = threading.Condition()
        self._waiting: deque[B] = deque()
        self._sent: deque[B] = deque()
        self._ended = False
        self._failed: BaseException | None = None
        self._opened = 0
        threading.Thread(target=self._take, args=(batches,), name="batches", daemon=True).start()

    def answers(self) -> Iterator[A]:
        """Each batch's answer, in the order of the batches.

        Raises: Broken, at once where no answer ever came; whatever the batches raised.
        """
        heard = False
        silent_s: float | None = None  # since when
        while self._something_is_to_be_sent():
            try:
                with self._opens(self._to_send()) as stream:
                    for answer in stream:
                        self._answered(answer)
                        heard, silent_s = True, None
                        yield answer
            except Failed as failed:
                if not _comes_again(failed):
                    raise Broken(failed, self._unanswered()) from None
                if not self._unanswered():  # a silent stream is ended, too
                    silent_s = None
                    continue
                silent_s = self._now_s() if silent_s is None else silent_s
                lasts = self._now_s() - silent_s <= GIVE_UP_S
                if not (heard and lasts):
                    raise Broken(failed, self._unanswered()) from None
                self._pause(_PAUSE_S)
            finally:
                self._close()
        if self._failed is not None:
            raise self._failed

    def _take(self, batches: Iterable[B]) -> None:
        try:
            for batch in batches:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._waiting) < WINDOW)
                    self._waiting.append(batch)
                    self._changed.notify_all()
        except BaseException as fault:  # noqa: BLE001 - told where the answers are taken
            self._failed = fault
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _something_is_to_be_sent(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._sent or self._ended)
            return bool(self._waiting or self._sent)

    def _to_send(self) -> Iterator[B]:
        """For the opening now: what was not answered, then what comes, while that is little."""
        with self._changed:  # now, and not when somebody first asks for one
            return self._of_opening(self._opened, tuple(self._sent))

    def _of_opening(self, opened: int, again: Sequence[B]) -> Iterator[B]:
        yield from again

        def may_go_on() -> bool:
            free = self._waiting and len(self._sent) < WINDOW
            return bool(free) or self._opened != opened or (self._ended and not self._waiting)

        while True:
            with self._changed:
                self._changed.wait_for(may_go_on)
                if self._opened != opened or not self._waiting:
                    return
                batch = self._waiting.popleft()
                self._sent.append(batch)
                self._changed.notify_all()
            yield batch

    def _answered(self, answer: A) -> None:
        with self._changed:
            if not self._sent or self._sent[0].request_id != answer.request_id:
                raise TypeError("an answer to a batch that is not next")
            self._sent.popleft()
            self._changed.notify_all()

    def _unanswered(self) -> tuple[B, ...]:
        with self._changed:
            return (*self._sent, *self._waiting)

    def _close(self) -> None:
        # From here on the sender of the opening before takes no batch.
        with self._changed:
            self._opened += 1
            self._changed.notify_all()


def _comes_again(failed: Failed) -> bool:
    if not isinstance(failed, CallFailed):
        return True  # nothing runs here at the moment
    return failed.fault.code in _COMES_AGAIN or failed.fault.reason in _TRANSIENT
