"""What changes between two plans, for whom, from when, and whether it is better or worse for them.

It compares what the plans say, not how they are written: a new order where order says nothing, a
dated line that repeats the one before, are no change. Reads the same words as `explain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from services.claims.core.plan import Plan
from services.claims.core.plan_parts import Text
from services.claims.plans.in_words.effects import directed, effect
from services.claims.plans.in_words.explain import heading, paragraph
from services.claims.plans.in_words.statements import KINDS, Fact, Term, terms
from services.claims.plans.in_words.values import Names, joined
from services.claims.plans.in_words.vocabulary import Effect, Words

EVERYBODY = Text(zh="全部被保险人与全部费用", en="Everybody and every charge")
NOTHING = Text(zh="没有变化。", en="Nothing changes for anybody.")
EFFECTS: Mapping[Effect, Text] = {
    Effect.BETTER: Text(zh="对被保险人有利", en="better for the insured"),
    Effect.WORSE: Text(zh="对被保险人不利", en="worse for the insured"),
    Effect.NONE: Text(zh="不改变赔付金额", en="changes no amount"),
    Effect.DEPENDS: Text(zh="利弊视具体情况而定", en="better or worse depending on the case"),
}
_NEW, _GONE = Text(zh="新增", en="new"), Text(zh="取消", en="taken out")
_ORDER = Text(zh="顺序", en="order")
_CODE_SETS = KINDS[Plan, "code_sets"]
# A list this long is told by what comes and goes.
_SHORT_LIST = 4
# So many of a list stand in a sentence; `Change.added` and `removed` have them all.
_MOST_SAID = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that changes. `first` and `last` are the days for which, None without bound.

    `old` and `new` are the values in words; one is None where a whole term comes or goes. Of a
    list, `added` and `removed` are everything that comes and goes; the words name some of many.
    """

    concerns: Text
    place: str
    field: str
    heading: Text
    label: Text
    first: date | None
    last: date | None
    old: Text | None
    new: Text | None
    effect: Effect
    added: tuple[Text, ...] = ()
    removed: tuple[Text, ...] = ()

    def sentence(self) -> Text:
        """The change in one sentence."""
        days, judged = _days(self.first, self.last), EFFECTS[self.effect]
        if self.old is None or self.new is None:
            whole = self.new or self.old or Text(zh="", en="")
            zh, en = f"{self.label.zh}：{whole.zh}", f"{self.label.en}: {whole.en}"
        else:
            zh, en = f"{self.old.zh} → {self.new.zh}", f"{self.old.en} → {self.new.en}"
            # Words in two languages may change in one of them.
            if self.old.zh == self.new.zh:
                zh = f"{self.old.zh}（仅英文文字变更）"
            if self.old.en == self.new.en:
                en = f"{self.old.en} (only the Chinese words change)"
            zh, en = f"{self.label.zh}：{days.zh}{zh}", f"{self.label.en}: {days.en}{en}"
        return Text(
            zh=f"{self.heading.zh}{zh}（{judged.zh}）", en=f"{self.heading.en}{en} ({judged.en})"
        )

    def told(self, languages: Sequence[str]) -> dict[str, object]:
        """The change for machines, with its sentence in each of the languages."""
        sentence = self.sentence()
        return {
            "place": self.place,
            "field": self.field,
            "first_day": _iso(self.first),
            "last_day": _iso(self.last),
            "effect": self.effect.value,
            "old": None if self.old is None else self.old.en,
            "new": None if self.new is None else self.new.en,
            "added": [one.en for one in self.added],
            "removed": [one.en for one in self.removed],
            "concerns": {language: getattr(self.concerns, language) for language in languages},
            **{language: getattr(sentence, language) for language in languages},
        }


def _iso(day: date | None) -> str | None:
    return None if day in (None, date.min) else day.isoformat()


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two plans, taken apart: the costly half of a difference."""

    plan: Plan
    names: Names
    terms: dict[str, Term]

    @classmethod
    def of(cls, plan: Plan) -> Side:
        """The plan in its terms, which may then be compared with many."""
        return cls(plan, Names(plan), {one.place: one for one in terms(plan)})


def diff(old: Plan, new: Plan) -> tuple[Change, ...]:
    """Every change of what the plans say; none when they say the same."""
    return compare(Side.of(old), Side.of(new))


def compare(before: Side, after: Side) -> tuple[Change, ...]:
    """Every change of what two plans say that are taken apart already, as `diff` tells it."""
    start = max(before.plan.first_day, after.plan.first_day)
    found: list[Change] = []
    for place in dict.fromkeys((*after.terms, *before.terms)):
        was, now = before.terms.get(place), after.terms.get(place)
        if was is None or now is None:
            found.append(_whole(before, after, was, now))
        else:
            found += _changed(before, after, was, now, start)
    return (*found, *_reordered(before, after))


def lines(changes: Sequence[Change], language: str) -> Iterator[str]:
    """The changes as lines of text in "zh" or "en", grouped by whom or what they concern."""
    if not changes:
        yield getattr(NOTHING, language)
    groups: dict[str, list[Change]] = {getattr(EVERYBODY, language): []}
    for one in changes:
        groups.setdefault(getattr(one.concerns, language), []).append(one)
    for concerns, of_group in groups.items():
        if of_group:
            yield f"{concerns[0].upper()}{concerns[1:]}"
            yield from (f"  {getattr(one.sentence(), language)}" for one in of_group)


# --- terms that come, go and stay ---


def _whole(before: Side, after: Side, was: Term | None, now: Term | None) -> Change:
    """A term that only one of the plans has."""
    side, term = (after, now) if now is not None else (before, was)
    if term is None:
        raise AssertionError("a place comes from one of the two plans")
    said = paragraph(term, side.names, side.plan)
    where = _place(side, term) if term.kind.ranked else Text(zh="", en="")
    label = _NEW if now is not None else _GONE
    return Change(
        concerns=_concerns(side, term),
        place=term.place,
        field="",
        heading=Text(zh=f"{term.kind.name.zh}，", en=f"{term.kind.name.en}, "),
        label=label,
        first=None,
        last=None,
        old=None if now is not None else said,
        new=Text(zh=said.zh + where.zh, en=said.en + where.en) if now is not None else None,
        effect=directed(term.kind.added, now is not None),
    )


def _place(side: Side, term: Term) -> Text:
    """Where a term stands in a list whose order says something."""
    same = [one for one in side.terms.values() if one.kind is term.kind]
    at = same.index(term)
    if at + 1 == len(same):
        return Text(zh="排在最后。", en=" It comes last.")
    after = same[at + 1].id
    return Text(zh=f"排在“{after.zh}”之前。", en=f' It comes before "{after.en}".')


def _changed(before: Side, after: Side, was: Term, now: Term, start: date) -> Iterator[Change]:
    known = {fact.field: fact for fact in was.facts}
    for fact in now.facts:
        for first, last, old, new in _spans(known[fact.field], fact, start):
            told = _told(fact.words, before.names, after.names, old, new)
            judged = effect(fact.words, now.kind, old, new)
            if now.kind is _CODE_SETS:
                judged = _of_codes(after, now, old, new)
            yield Change(
                concerns=_concerns(after, now),
                place=now.place,
                field=fact.field,
                heading=_headed(now, after.names),
                label=fact.words.label,
                first=first if fact.dated or known[fact.field].dated else None,
                last=last,
                old=told[0],
                new=told[1],
                effect=judged,
                added=_items(fact.words, after.names, _set(new) - _set(old)),
                removed=_items(fact.words, before.names, _set(old) - _set(new)),
            )


def _headed(term: Term, names: Names) -> Text:
    zh, en = heading(term, names)
    return Text(zh=f"{term.kind.name.zh} {zh}", en=f"{term.kind.name.en} {en}")


def _spans(was: Fact, now: Fact, start: date) -> Iterator[tuple[date, date | None, Any, Any]]:
    """The times in which two facts differ: first day, last day (None: for good), old, new."""
    if was.timeline == now.timeline:
        return  # most facts of most plans
    start = date.min if now.always else start
    days = sorted({start, *(day for fact in (was, now) for day, _ in fact.timeline if day > start)})
    runs: list[tuple[date, Any, Any]] = []
    for day in days:
        pair = (was.on(day), now.on(day))
        if not runs or runs[-1][1:] != pair:
            runs.append((day, *pair))
    for index, (day, old, new) in enumerate(runs):
        if old != new:
            last = runs[index + 1][0] - timedelta(days=1) if index + 1 < len(runs) else None
            yield day, last, old, new


def _told(words: Words, was: Names, now: Names, old: Any, new: Any) -> tuple[Text, Text]:
    """The two values in words; of long lists what comes and what goes."""
    if isinstance(old, frozenset) and isinstance(new, frozenset) and len(old | new) > _SHORT_LIST:
        return _less(words, was, old - new), _more(words, now, new - old)
    return _value(words, old, was), _value(words, new, now)


def _less(words: Words, names: Names, gone: frozenset[Any]) -> Text:
    said = _some(words, names, gone)
    nothing = Text(zh="不减少", en="nothing goes")
    return Text(zh=f"减少 {said.zh}", en=f"without {said.en}") if gone else nothing


def _more(words: Words, names: Names, come: frozenset[Any]) -> Text:
    said = _some(words, names, come)
    nothing = Text(zh="不增加", en="nothing comes")
    return Text(zh=f"增加 {said.zh}", en=f"with {said.en}") if come else nothing


def _value(words: Words, value: Any, names: Names) -> Text:
    if isinstance(value, frozenset) and len(value) > _MOST_SAID:
        return _some(words, names, value)
    return words.ended if value is None else words.say(value, names)


def _set(value: Any) -> frozenset[Any]:
    return value if isinstance(value, frozenset) else frozenset()


def _items(words: Words, names: Names, found: frozenset[Any]) -> tuple[Text, ...]:
    """Each of a list in words, in the order in which they are told."""
    said = (words.say(frozenset((one,)), names) for one in found)
    return tuple(sorted(said, key=lambda one: (one.en, one.zh)))


def _some(words: Words, names: Names, found: frozenset[Any]) -> Text:
    """How many there are, and the first of them."""
    said = _items(words, names, found)
    told, more = joined(said[:_MOST_SAID]), len(said) - _MOST_SAID
    if more > 0:
        told = Text(zh=f"{told.zh} 等", en=f"{told.en} and {more} more")
    return Text(zh=f"{len(said)} 项（{told.zh}）", en=f"{len(said)} ({told.en})")


# --- whom it concerns ---


def _concerns(side: Side, term: Term) -> Text:
    if term.kind is _CODE_SETS:
        said = [user.concerns(side.names) for user, _ in _users(side, term)]
        named = [one for one in dict.fromkeys(said) if one.en]
        if not named or len(named) < len(dict.fromkeys(said)):
            return EVERYBODY
        return Text(zh="；".join(one.zh for one in named), en="; ".join(one.en for one in named))
    owner = side.terms.get("/".join(term.place.split("/")[:-2]), term)
    for one in (term, owner):
        said_of = one.concerns(side.names)
        if said_of.en:
            return said_of
    return EVERYBODY


def _users(side: Side, code_set: Term) -> Iterator[tuple[Term, Fact]]:
    """The terms that name a code set, and where."""
    for term in side.terms.values():
        for fact in term.facts:
            if code_set.place.rpartition("/")[2] in _code_sets_of(fact):
                yield term, fact


def _code_sets_of(fact: Fact) -> frozenset[str]:
    names = fact.field.rpartition(".")[2]
    if names not in ("codes", "diagnoses", "exempt_diagnoses") or fact.dated:
        return frozenset()
    value = fact.timeline[0][1]
    return value if isinstance(value, frozenset) else frozenset()


def _of_codes(side: Side, code_set: Term, old: Any, new: Any) -> Effect:
    """What a change of a code set means, where all that name it agree."""
    judged = set()
    for term, fact in _users(side, code_set):
        more = term.kind.added if fact.words.about else fact.words.more
        grows = (old or frozenset()) <= (new or frozenset())
        if not grows and not (new or frozenset()) <= (old or frozenset()):
            grows = None
        judged.add(directed(more, grows))
    return judged.pop() if len(judged) == 1 else Effect.DEPENDS


# --- order, where it says something ---


def _reordered(before: Side, after: Side) -> Iterator[Change]:
    kinds = {id(one.kind): one.kind for one in after.terms.values() if one.kind.ranked}
    for kind in kinds.values():
        ours = [one for one in after.terms.values() if one.kind is kind]
        theirs = [place for place, one in before.terms.items() if one.kind is kind]
        stay = [one.place for one in ours if one.place in theirs]
        was = [place for place in theirs if place in stay]
        if stay == was:
            continue
        yield Change(
            concerns=EVERYBODY,
            place=ours[0].place.rpartition("/")[0],
            field="order",
            heading=Text(zh=kind.name.zh, en=f"{kind.name.en} "),
            label=_ORDER,
            first=None,
            last=None,
            old=_in_order(before, was),
            new=_in_order(after, stay),
            effect=Effect.DEPENDS,
        )


def _in_order(side: Side, places: Sequence[str]) -> Text:
    ids = [side.terms[place].id for place in places]
    return Text(zh="、".join(one.zh for one in ids), en=", ".join(one.en for one in ids))


def _days(first: date | None, last: date | None) -> Text:
    if first is None:
        return Text(zh="", en="")
    if first == date.min and last is None:
        return Text(zh="", en="")
    if first == date.min and last is not None:
        return Text(zh=f"至 {last.isoformat()}，", en=f"until {last.isoformat()} ")
    if last is None:
        return Text(zh=f"自 {first.isoformat()} 起，", en=f"from {first.isoformat()} on ")
    return Text(
        zh=f"{first.isoformat()} 至 {last.isoformat()}，",
        en=f"from {first.isoformat()} to {last.isoformat()} ",
    )
