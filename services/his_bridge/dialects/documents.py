"""Whom a row is about: the identity document, and texts that must never leave. Stores nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.parsed import Identity, Person
from services.his_bridge.core.telling import in_plain, telling_names, telling_numbers
from services.his_bridge.core.terms import IdentityRule


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
    names = list(names)
    told = telling_names([*names, *others]) | telling_numbers([number])
    parts = telling_names(part for name in names for part in name.split())
    known = rule is not None and number is not None
    return Person(
        identity=Identity(kind=rule.kind, number=number) if rule and number else None,
        telling=in_plain(told),
        name_parts=in_plain(parts),
        faults=() if known else (Fault(reason=Reason.IDENTITY_MISSING, path=path),),
    )
