"""Whether a change of one value is better or worse for the insured, where that can be told.

It looks at one value and supposes that all others stay. What hangs on the case is said to depend.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.claims.core.facts import PreExistingTerms
from services.claims.core.plan import PreExistingValue
from services.claims.core.plan_parts import Ages
from services.claims.plans.in_words.cover_words import IN_FORCE
from services.claims.plans.in_words.values import Wait
from services.claims.plans.in_words.vocabulary import Absent, Effect, Kind, Words


def effect(words: Words, kind: Kind, old: Any, new: Any) -> Effect:
    """What it means that a field of a term of this kind says `new` instead of `old`."""
    more = kind.added if words.about or words is IN_FORCE else words.more
    return directed(more, _grows(words, old, new))


def directed(more: Effect, grows: bool | None) -> Effect:
    """What a growth or a decline means, given what more of it means."""
    if more in (Effect.NONE, Effect.DEPENDS):
        return more
    if grows is None:
        return Effect.DEPENDS
    return more if grows else more.opposite


def _grows(words: Words, old: Any, new: Any) -> bool | None:
    """Whether it grows; None where neither is more than the other."""
    if old is None or new is None:
        if words.none is Absent.APART:
            return None
        return (new is None) is (words.none is Absent.MOST)
    if words.about and isinstance(new, bool):
        return None  # a condition and its opposite
    if isinstance(new, frozenset):
        return _wider(old <= new, new <= old)
    if isinstance(new, Ages):
        return _wider(_holds(new, old), _holds(old, new))
    if isinstance(new, PreExistingValue):
        return _wider(_pays_no_more(old, new), _pays_no_more(new, old))
    if isinstance(new, Wait):
        return new.count > old.count if new.unit is old.unit else None
    return bool(new > old) if isinstance(new, bool | int | Decimal) else None


def _wider(up: bool, down: bool) -> bool | None:
    return None if up is down else up


def _holds(outer: Ages, inner: Ages) -> bool:
    first = outer.first is None or (inner.first is not None and inner.first >= outer.first)
    last = outer.last is None or (inner.last is not None and inner.last <= outer.last)
    return first and last


def _pays_no_more(one: PreExistingValue, other: PreExistingValue) -> bool:
    """Whether `one` never pays more than `other`; covered is at the plan's own share."""
    if one.terms is PreExistingTerms.EXCLUDED:
        return True
    if one.share is None or other.share is None:
        return one == other
    return one.share <= other.share
