"""What an answer keeps from whoever asked, so that no command shows it as zero or as nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from services.common.access.withheld import withheld_in
from stack.commands.calling import CALL_S

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Withheld:
    """Paths of the fields that were taken out, below the message that is shown."""

    paths: frozenset[str] = frozenset()

    def below(self, field: str) -> Withheld:
        """What is withheld inside a field.

        >>> sorted(Withheld(frozenset({"claim.member", "note"})).below("claim").paths)
        ['member']
        """
        inner = f"{field}."
        found = (path.removeprefix(inner) for path in self.paths if path.startswith(inner))
        return Withheld(frozenset(found))

    def __contains__(self, path: str) -> bool:
        return path in self.paths

    def shown(self, path: str, text: str) -> str:
        """The text of a field, or that it is withheld."""
        return WITHHELD if path in self.paths else text

    def marked(self, plain: Any) -> Any:
        """Plain values of a message, in which each withheld field says so."""
        for path in self.paths:
            _mark(plain, path.split("."))
        return plain


NOTHING = Withheld()


def ask(
    method: grpc.UnaryUnaryMultiCallable[Q, A], request: Q, within_s: float = CALL_S
) -> tuple[A, Withheld]:
    """Call an rpc; its answer, and what that withholds.

    Raises: grpc.RpcError.
    """
    answer, call = method.with_call(request, timeout=within_s)
    return answer, Withheld(withheld_in(call.trailing_metadata()))


def pages(
    method: grpc.UnaryUnaryMultiCallable[Q, A], request: Q, within_s: float = CALL_S
) -> Iterator[tuple[A, Withheld]]:
    """Every page of a list from the request's on, each with what it withholds.

    Raises: grpc.RpcError.
    """
    asked: Any = request  # lists have a token, and no type says so
    while True:
        answer, withheld = ask(method, request, within_s)
        yield answer, withheld
        told: Any = answer
        asked.page_token = told.next_page_token
        if not asked.page_token:
            return


def _mark(plain: Any, path: list[str]) -> None:
    if isinstance(plain, list):
        for one in plain:
            _mark(one, path)
    elif len(path) == 1:
        plain[path[0]] = WITHHELD
    elif path[0] in plain:  # an absent message withholds nothing
        _mark(plain[path[0]], path[1:])
