"""Whom a row is about: the identity document, and texts that must never leave. Stores nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Identity, Person
from services.his_bridge.core.redaction import plain
from services.his_bridge.core.terms import IdentityRule
from services.his_bridge.dialects.port import Tokens

# Below this a text is too common to be searched for in what leaves.
_SHORTEST_NUMBER = 6
_SHORTEST_LATIN = 4
_SHORTEST_HAN = 2


def person(
    kind: str | None,
    number: str | None,
    path: str,
    rules: Sequence[IdentityRule],
    *,
    names: Iterable[str] = (),
    others: Iterable[str] = (),
) -> Person:
    """Who a record is about, by the document that it carries.

    `kind` is what the source calls the document's kind, one of the rules' systems; without it the
    first rule holds. A kind that no rule knows is no identity: it might be another person's number.
    """
    rule = next((r for r in rules if kind is None or r.system == kind), None)
    told = {text for text in (*names, *others) if _is_telling(text)}
    parts = {part for name in names for part in name.split() if _is_telling(part)}
    if number is not None and len(number) >= _SHORTEST_NUMBER:
        told.add(number)
    known = rule is not None and number is not None
    return Person(
        identity=Identity(kind=rule.kind, number=number) if rule and number else None,
        telling=_plain(told),
        name_parts=_plain(parts),
        faults=() if known else (Fault(reason=Reason.IDENTITY_MISSING, path=path),),
    )


def pseudonym(who: Person | None, path: str, tokens: Tokens) -> tuple[Person | None, str | None]:
    """The person's token; a number that is nothing but blanks and hyphens is no identity."""
    if who is None or who.identity is None:
        return who, None
    try:
        return who, tokens(who.identity.kind, who.identity.number)
    except ValueError:
        fault = Fault(reason=Reason.IDENTITY_MISSING, path=path)
        return msgspec.structs.replace(who, faults=(*who.faults, fault)), None


def _plain(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({plain(text) for text in texts}))


def _is_telling(text: str) -> bool:
    return len(text) >= (_SHORTEST_LATIN if text.isascii() else _SHORTEST_HAN)
