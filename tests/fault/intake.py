"""People with policies, their bills, and senders that hand bills in until they are acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import grpc

from lipei.claims.v1 import claims_pb2_grpc, policy_pb2
from lipei.type.v1 import bill_pb2
from services.common.identity import member_token
from services.common.settings import member_token_key_file, member_token_key_version
from services.common.state import load_or_make_key
from services.common.transport.certificates import Identity
from services.common.transport.channels import sync_channel
from tests.services.claims import given

# Numbers that no demo person has; with none that ends in 0000, whose account the bank would refuse.
_FIRST_PERSON = 90_001
_FIRST_DAY = date(2026, 2, 2)  # after the waiting period
_SENDERS = 8
_CALL_S = 5.0
_PAUSE_S = 0.1
# What a server that is killed, or full, answers; the same request may be sent again.
_AGAIN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)


class HandIn:
    """Bills that are each owed money, and what was answered when they were handed in.

    A sender repeats a request, with its id, until it is acknowledged: an answer that a kill cut off
    is no answer.
    """

    def __init__(self, state: Path, target: str, people: int, identity: Identity) -> None:
        self._closing = threading.Event()
        self._identity = identity
        self.reach(target)
        self._tokens = [_token(state, _person(number)) for number in range(people)]
        self._senders = ThreadPoolExecutor(_SENDERS)
        self._lock = threading.Lock()
        self._made = 0
        self.acknowledged: dict[str, list[str]] = {}  # bill number -> claims
        self.repeats = 0

    def reach(self, target: str) -> None:
        """Call claims there from now on."""
        self._channel = sync_channel(target, self._identity, "claims")
        self._claims = claims_pb2_grpc.ClaimsServiceStub(self._channel)

    def policies(self) -> list[policy_pb2.Policy]:
        """One for each person."""
        return [given.policy(_FIRST_PERSON + number) for number in range(len(self._tokens))]

    def bills(self, count: int) -> list[bill_pb2.Bill]:
        """New bills, person by person, each on a day and of an amount of its own."""
        made = [self._bill(self._made + number) for number in range(count)]
        self._made += count
        return made

    def hand_in(self, bills: Sequence[bill_pb2.Bill]) -> None:
        """Return when every bill is acknowledged. Waits for no decision."""
        for done in self.begin(bills):
            done.result()

    def begin(self, bills: Sequence[bill_pb2.Bill]) -> list[Future[None]]:
        """Hand in as `hand_in` does, and wait for nothing."""
        return [self._senders.submit(self._until_acknowledged, bill) for bill in bills]

    @property
    def handed_in(self) -> int:
        """How many bills were made, and so handed in or being handed in."""
        return self._made

    @property
    def all_acknowledged(self) -> bool:
        """Whether no sender is still repeating."""
        return len(self.acknowledged) == self._made

    def close(self) -> None:
        """End the senders, also those that are still repeating."""
        self._closing.set()
        self._senders.shutdown(cancel_futures=True)
        self._channel.close()

    def _bill(self, number: int) -> bill_pb2.Bill:
        turn, person = divmod(number, len(self._tokens))
        day = (_FIRST_DAY + timedelta(days=2 * turn)).isoformat()
        line = given.line(1, given.DRUG, f"{12_000 + number % 7_000}.{number % 100:02d}")
        bill = given.bill(f"KILL-{number:05d}", line, days=(day, day))
        bill.member_token = self._tokens[person]
        return bill

    def _until_acknowledged(self, bill: bill_pb2.Bill) -> None:
        request = given.submission(bill, wait_s=0, request_id=f"kill-{bill.bill_number}")
        while not self._closing.is_set():
            try:
                answer = self._claims.SubmitClaim(request, timeout=_CALL_S)
            except grpc.RpcError as error:
                if error.code() not in _AGAIN:
                    raise
                with self._lock:
                    self.repeats += 1
                time.sleep(_PAUSE_S)
                continue
            with self._lock:
                self.acknowledged[bill.bill_number] = [claim.name for claim in answer.claims]
            return


def _person(number: int) -> int:
    return (_FIRST_PERSON + number) * 100  # as given.policy numbers its first member


def _token(state: Path, person: int) -> str:
    key = load_or_make_key(member_token_key_file(state))
    version = member_token_key_version()
    return member_token("CN-ID", given.id_number(person), key=key, key_version=version)
