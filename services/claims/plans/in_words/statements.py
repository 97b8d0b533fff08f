"""Takes a plan apart into terms and facts, each with its words: what `explain` and `diff` read.

Nothing of a plan is left out: a field that has no words raises. Says and compares nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec

from services.claims.core.codes import code_key, comparable
from services.claims.core.facts import ContractPrice
from services.claims.core.plan import (
    CodeSet,
    Covers,
    FamilyStep,
    Plan,
    PlanProvider,
    Providers,
    SystemCodes,
    WaitingPeriod,
    When,
)
from services.claims.core.plan_edits import Edits, PairRow, Per, UnitRow
from services.claims.core.plan_parts import Ages, Part, Text
from services.claims.plans.in_words import values as say
from services.claims.plans.in_words.cover_words import COMMON, COVER_KINDS, COVER_WORDS
from services.claims.plans.in_words.edit_words import EDIT_KINDS, EDIT_WORDS
from services.claims.plans.in_words.money_words import MONEY_KINDS, MONEY_WORDS
from services.claims.plans.in_words.values import ENUMS, Names, Wait
from services.claims.plans.in_words.vocabulary import Effect, Kind, Vocabulary, Words, kind
from services.common.dated import Dated

WORDS: Vocabulary = {**COVER_WORDS, **MONEY_WORDS, **EDIT_WORDS}
KINDS: Mapping[tuple[type, str], Kind] = {**COVER_KINDS, **MONEY_KINDS, **EDIT_KINDS}
HEAD = kind(("方案", "plan"), ("", ""), Effect.NONE)
# Parts that only hold others, and parts whose fields stand beside those of their term.
_HOLDERS = (Providers, Edits)
_INLINE: Mapping[str, type[Part]] = {"when": When, "covers": Covers, "family_step": FamilyStep}
# What is read as conditions first and as tables last; all else stands in the plan's own order.
_READ_LAST = (
    *("categories", "eligibility", "exclusions", "pre_existing", "waiting_periods", "providers"),
    *("authorisations", "mutual_recognition", "prices", "unit_limits", "fixed_limits"),
    *("social_insurance", "deductibles", "copays", "shares", "out_of_pocket", "ceilings"),
    *("count_limits", "coordination", "payees", "auto_pay_ceiling", "sampling", "four_eyes"),
    *(
        "undisputed_first",
        "outcome_tier_day",
        "redecision",
        "clocks",
        "edits",
        "general",
        "systems",
        "names",
        "code_sets",
        "clauses",
    ),
)
Timeline = tuple[tuple[date, Any], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One field of a term: its words, and what it says from which day; None is nothing.

    One that is not `dated` says the same on every day. What is `always` so looks at the day of
    service, which may lie before the plan's first.
    """

    field: str
    words: Words
    timeline: Timeline
    dated: bool = False
    always: bool = False

    def on(self, day: date) -> Any:
        """What it says on a day."""
        found = None
        for first, value in self.timeline:
            if first > day:
                break
            found = value
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One term of a plan; `place` names it, as "deductibles/yearly-deductible".

    `name` is what the plan calls it, where it has words for it.
    """

    place: str
    kind: Kind
    id: Text
    clause: str
    facts: tuple[Fact, ...]
    name: Text | None = None

    def concerns(self, names: Names) -> Text:
        """Whom or what it is about; empty is everybody and every charge."""
        if self.kind in _THEMSELVES:
            return _about(self.kind.name, self.name or self.id)
        said = [
            fact.words.say(value, names)
            if isinstance(value, bool)
            else _about(fact.words.label, fact.words.say(value, names))
            for fact in self.facts
            if fact.words.about and (value := fact.timeline[0][1]) is not None
        ]
        return Text(zh="；".join(one.zh for one in said), en="; ".join(one.en for one in said))


def _about(label: Text, value: Text) -> Text:
    return Text(zh=f"{label.zh}：{value.zh}", en=f"{label.en}: {value.en}")


_THEMSELVES = (
    KINDS[Plan, "sections"],
    KINDS[Plan, "categories"],
    KINDS[Providers, "listing"],
)


def terms(plan: Plan) -> tuple[Term, ...]:
    """Every term of the plan, in the order of the plan's parts; the head comes first."""
    names = Names(plan)
    own = tuple(name for name in plan.__struct_fields__ if (Plan, name) in WORDS)
    head = Term(
        place="plan",
        kind=HEAD,
        id=say.same(plan.id),
        clause="",
        facts=tuple(_fact(plan, name) for name in own),
    )
    return (head, *_held(plan, "", names, own))


def words_of(owner: type, name: str) -> Words:
    """The words of a field.

    Raises: KeyError when nobody wrote any.
    """
    return WORDS.get((owner, name)) or COMMON[name]


def _held(owner: Part, place: str, names: Names, told: Iterable[str]) -> Iterator[Term]:
    """The terms in the fields of a part that are kinds of terms."""
    clause = getattr(owner, "clause", "")
    for name in _in_reading_order(type(owner)):
        value = getattr(owner, name)
        if name in told or value is None:
            continue
        if isinstance(value, _HOLDERS):
            yield from _held(value, f"{place}{name}/", names, ())
            continue
        one_kind = KINDS[type(owner), name]
        if isinstance(value, Part):
            yield from _term(value, one_kind, f"{place}{name}", names)
        elif value and isinstance(value[0], UnitRow | PairRow):
            yield from _rows(value, one_kind, f"{place}{name}", clause)
        else:
            for one in value:
                yield from _term(one, one_kind, f"{place}{name}/{_key(one)}", names)


@lru_cache
def _in_reading_order(owner: type[Part]) -> tuple[str, ...]:
    def place(name: str) -> int:
        return _READ_LAST.index(name) + 1 if name in _READ_LAST else 0

    return tuple(sorted(owner.__struct_fields__, key=place))


def _key(one: Any) -> str:
    if isinstance(one, ContractPrice):
        return " ".join(code_key(one.code))
    return str(one.id)


def _term(part: Any, one_kind: Kind, place: str, names: Names) -> Iterator[Term]:
    """A term, and those that stand inside it."""
    facts: list[Fact] = []
    inside: list[str] = []
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if name == "id" or (isinstance(part, ContractPrice) and name == "code"):
            continue
        if (type(part), name) in KINDS:
            inside.append(name)
            if (type(part), name) not in WORDS:
                continue
        facts += _facts(part, name, value)
    known = tuple(name for name in part.__struct_fields__ if name not in inside)
    yield Term(
        place=place,
        kind=one_kind,
        id=_id(part, names),
        clause=getattr(part, "clause", ""),
        facts=tuple(facts),
        name=getattr(part, "name", None),
    )
    yield from _held(part, f"{place}/", names, known)


def _id(part: Any, names: Names) -> Text:
    if isinstance(part, ContractPrice):
        return say.coding(part.code, names)
    if isinstance(part, CodeSet):
        return names.given.get(part.id) or say.same(part.id)
    return say.same(getattr(part, "id", ""))


def _facts(part: Part, name: str, value: Any) -> Iterator[Fact]:
    """A field's facts: one, or those of the part that stands in it."""
    found = _INLINE.get(name)
    if found is None:
        yield _fact(part, name)
        return
    empty = value is None
    for inner in found.__struct_fields__:
        fact = _fact(None if empty else value, inner, found)
        yield Fact(
            field=f"{name}.{inner}", words=fact.words, timeline=fact.timeline, dated=fact.dated
        )


def _fact(part: Any, name: str, owner: type | None = None) -> Fact:
    owner = type(part) if owner is None else owner
    words = words_of(owner, name)
    value = None if part is None else getattr(part, name)
    if isinstance(value, Dated):
        line = tuple((day, _normal(one, dated=True)) for day, one in value.values)
        if isinstance(part, WaitingPeriod):
            unit = part.unit
            line = tuple((day, None if one is None else Wait(one, unit)) for day, one in line)
        return Fact(field=name, words=words, timeline=line, dated=True)
    if owner is PlanProvider and name == "prices":
        value = value is not None
    elif value is False and _defaults_to_false(owner, name):
        value = None
    return Fact(field=name, words=words, timeline=((date.min, _normal(value)),))


@lru_cache
def _defaults_to_false(owner: Any, name: str) -> bool:
    fields = {one.name: one.default for one in msgspec.structs.fields(owner)}
    return fields[name] is False


_NOTHING = ((), "", Ages())


def _normal(value: Any, *, dated: bool = False) -> Any:
    """A value as it is compared: lists without order, and what says nothing as None."""
    if not dated and value in _NOTHING:
        return None
    if value is False and dated:
        return None
    if isinstance(value, tuple):
        if value and isinstance(value[0], SystemCodes):
            return frozenset(chain.from_iterable(_codes(one) for one in value)) or None
        return frozenset(value) or None
    if isinstance(value, Part) and not isinstance(value, Text | Ages):
        changed = {
            name: tuple(sorted(inner))
            for name in value.__struct_fields__
            if isinstance(inner := getattr(value, name), tuple)
        }
        return msgspec.structs.replace(value, **changed)
    return value


def _codes(codes: SystemCodes) -> Iterator[str]:
    yield from (f"{codes.system} {comparable(code)}" for code in codes.exact)
    yield from (f"{codes.system} {comparable(code)}*" for code in codes.prefixes)


# --- rows of tables: one term a code or pair, whatever days its rows are for ---


def _rows(
    rows: Iterable[UnitRow | PairRow], one_kind: Kind, place: str, clause: str
) -> Iterator[Term]:
    found: dict[str, list[UnitRow | PairRow]] = {}
    ids: dict[str, Text] = {}
    for row in rows:
        if isinstance(row, UnitRow):
            per = ENUMS[Per, row.per.value]
            key = f"{comparable(row.code)} {row.per.value}"
            ids[key] = Text(zh=f"{row.code} {per.zh}", en=f"{row.code} {per.en}")
        else:
            key = f"{comparable(row.first)} + {comparable(row.second)}"
            ids[key] = say.same(f"{row.first} + {row.second}")
        found.setdefault(key, []).append(row)
    for key, same in found.items():
        yield Term(
            place=f"{place}/{key}",
            kind=one_kind,
            id=ids[key],
            clause=clause,
            facts=(_row_fact(same),),
        )


def _row_fact(rows: list[UnitRow | PairRow]) -> Fact:
    """What the rows of one code or pair say from which day; an indicator 9 says nothing."""
    days: dict[date, Any] = {}
    name = "units" if isinstance(rows[0], UnitRow) else "indicator"
    held = [row for row in rows if not (isinstance(row, PairRow) and row.indicator == _IDLE)]
    for row in sorted(held, key=lambda one: one.effective):
        days[row.effective] = getattr(row, name)
        if row.end is not None:
            days.setdefault(row.end, None)
    line = tuple(sorted(days.items())) or ((date.min, None),)
    return Fact(
        field=name, words=words_of(type(rows[0]), name), timeline=line, dated=True, always=True
    )


_IDLE = 9
