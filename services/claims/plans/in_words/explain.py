"""A plan in plain Chinese and English, whole: every term with its clause and every value's days.

The sentences are the vocabulary's, the same as those of a difference. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from services.claims.core.plan import Plan, reads_outcome_tier
from services.claims.core.plan_edits import Edits
from services.claims.core.plan_parts import Text
from services.claims.plans.in_words.cover_words import IN_FORCE
from services.claims.plans.in_words.statements import HEAD, KINDS, Fact, Term, terms
from services.claims.plans.in_words.values import Names
from services.claims.plans.in_words.vocabulary import Kind

_HOLDS = Text(zh="有效。", en="It is in force.")
_EVERYTHING = Text(zh="适用于全部费用。", en="It is about every charge.")
_NO_TIER_DAY = Text(
    zh="未约定认定日：以保单年度首日为限，取此前最后一次认定的等级；其后认定的，下一保单年度起适用。",
    en="No day is named: the tier certified last by the first day of the policy year counts; one "
    "certified later waits for the next policy year.",
)
# Of these the first that fits holds, and the last has no conditions.
_OTHERWISE = Text(zh="其余情形：", en="In all other cases:")
_FIRST_THAT_FITS = (KINDS[Plan, "shares"], KINDS[Plan, "payees"])
# What these hold is what their ids stand for; of all other terms the sentences come first.
_DEFINED = (
    HEAD,
    *(KINDS[Plan, name] for name in ("clauses", "names", "systems", "code_sets")),
    KINDS[Edits, "papers"],
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    """One term in sentences; `place` names it, `clause` is what it rests on, if anything."""

    place: str
    kind: Kind
    clause: str
    said: Text


def explain(plan: Plan) -> tuple[Paragraph, ...]:
    """Every term of the plan in sentences, in the order of the plan's parts."""
    names = Names(plan)
    told = tuple(
        Paragraph(
            place=one.place, kind=one.kind, clause=one.clause, said=paragraph(one, names, plan)
        )
        for one in terms(plan)
    )
    return (*told, *_tier_day_of_none(plan))


def _tier_day_of_none(plan: Plan) -> Iterator[Paragraph]:
    """By when a tier is certified in a plan that reads tiers and names no day."""
    if plan.outcome_tier_day is None and reads_outcome_tier(plan):
        yield Paragraph(
            place="outcome_tier_day",
            kind=KINDS[Plan, "outcome_tier_day"],
            clause="",
            said=_NO_TIER_DAY,
        )


def lines(plan: Plan, language: str) -> Iterator[str]:
    """The explanation as lines of text in "zh" or "en", with a heading for each kind of term."""
    kind: Kind | None = None
    for one in explain(plan):
        if one.kind is not kind:
            kind = one.kind
            name, does = getattr(kind.name, language), getattr(kind.does, language)
            heading = (
                f"{name}：{does}" if language == "zh" else f"{name[0].upper()}{name[1:]}. {does}"
            )
            yield ""
            yield heading.rstrip("： ")
        yield f"  {getattr(one.said, language)}"


def paragraph(term: Term, names: Names, plan: Plan) -> Text:
    """One term in sentences: what it is about, what it says, its clause and its id.

    Of a definition the id comes first.
    """
    about = [fact for fact in term.facts if fact.words.about]
    rest = [fact for fact in term.facts if not fact.words.about and fact.field != "clause"]
    said = [one for fact in (*about, *rest) for one in sentences(fact, names, plan.first_day)]
    if about and all(fact.timeline[0][1] is None for fact in about):
        several = term.kind in _FIRST_THAT_FITS and len(_of_kind(term, plan)) > 1
        said.insert(0, _OTHERWISE if several else _EVERYTHING)
    if not said:
        said.append(_HOLDS)
    zh, en = "".join(one.zh for one in said), " ".join(one.en for one in said)
    if term.kind in _DEFINED:
        called = heading(term, names)
        return Text(zh=f"{called[0]}{zh}", en=f"{called[1]}{en}")
    clause = names.clause(term.clause) if term.clause else None
    zh += (f"〔{clause.zh}〕" if clause else "") + (f"（{term.id.zh}）" if term.id.zh else "")
    en += (f" [{clause.en}]" if clause else "") + (f" ({term.id.en})" if term.id.en else "")
    return Text(zh=zh, en=en)


def _of_kind(term: Term, plan: Plan) -> tuple[Any, ...]:
    """The list in which a term of the plan itself stands."""
    found: tuple[Any, ...] = getattr(plan, term.place.partition("/")[0])
    return found


def heading(term: Term, names: Names) -> tuple[str, str]:
    """The name of a term, and its clause with the clause's text."""
    clause = names.clause(term.clause) if term.clause else None
    zh = (f"〔{clause.zh}〕" if clause else "") + (f"{term.id.zh}：" if term.id.zh else "")
    en = (f"[{clause.en}] " if clause else "") + (f"{term.id.en}: " if term.id.en else "")
    return zh, en


def sentences(fact: Fact, names: Names, first_day: date) -> Iterator[Text]:
    """What a fact says; one sentence for each time in which it says something else."""
    spans = _spans(fact, first_day)
    if fact.words is IN_FORCE and [value for _, _, value in spans] == [True]:
        return  # what is in force needs no word
    for first, last, value in spans:
        one = _sentence(fact, value, names)
        if one is None:
            continue
        if len(spans) == 1 and (not fact.always or first == date.min):
            yield one
        else:
            days = _days(first, last)
            yield Text(zh=f"{days.zh}：{one.zh}", en=f"{days.en}: {one.en}")


def _sentence(fact: Fact, value: Any, names: Names) -> Text | None:
    words = fact.words
    if not words.told.zh:
        return None  # said with another
    if value is None:
        if not fact.dated:
            return words.absent
        return Text(
            zh=f"{words.ended.zh}。", en=f"{words.ended.en[0].upper()}{words.ended.en[1:]}."
        )
    said = words.say(value, names)
    zh, en = words.told.zh.replace("{}", said.zh), words.told.en.replace("{}", said.en)
    return Text(zh=zh, en=f"{en[:1].upper()}{en[1:]}")


def _spans(fact: Fact, first_day: date) -> list[tuple[date, date | None, Any]]:
    """The times in which a fact says the same: first day, last day (None: for good), value."""
    start = date.min if fact.always else first_day
    days = [day for day, _ in fact.timeline if day > start]
    if not (fact.always and fact.on(start) is None and days):
        days.insert(0, start)
    changes = [(day, fact.on(day)) for day in days]
    kept = changes[:1] + [after for before, after in pairwise(changes) if before[1] != after[1]]
    ends = [day - timedelta(days=1) for day, _ in kept[1:]] + [None]
    return [(day, end, value) for (day, value), end in zip(kept, ends, strict=True)]


def _days(first: date, last: date | None) -> Text:
    day = first.isoformat()
    if first == date.min and last is not None:
        return Text(zh=f"至 {last.isoformat()}", en=f"Until {last.isoformat()}")
    if last is None:
        return Text(zh=f"{day} 起", en=f"From {day} on")
    return Text(zh=f"{day} 至 {last.isoformat()}", en=f"From {day} to {last.isoformat()}")
