"""What the readers of terms share: the file's definitions, references, conditions, units."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from services.claims.core.facts import (
    CareType,
    HospitalTier,
    Scope,
    Sex,
)
from services.claims.core.plan import (
    Covers,
    Period,
    SystemName,
    When,
)
from services.claims.core.plan_parts import Ages, Text
from services.claims.plans.code_systems import CODE_SYSTEMS, CodeSystem
from services.claims.plans.reader import EnumT, Mapping, Value
from services.common.dated import Dated

T = TypeVar("T")

# A scheme and what it names, as RFC 3986 has them; the wire takes no longer one.
_URI = re.compile(r"(?=.{1,255}$)[a-z][a-z0-9+.-]*:[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]+", re.ASCII)
_OID = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+", re.ASCII)
_AT_A_HOST = re.compile(r"https?://[^/?#]+", re.ASCII)


@dataclass(slots=True)
class Context:
    """What the file's head and its earlier parts define."""

    currency: str
    first_day: date
    clauses: tuple[str, ...] = ()
    code_sets: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    systems: dict[str, CodeSystem] = field(default_factory=lambda: dict(CODE_SYSTEMS))

    def name_systems(self, names: Iterable[SystemName]) -> None:
        """Let a file name these code systems beside the built-in ones."""
        self.systems |= {one.id: CodeSystem(one.uri) for one in names}

    def clause(self, term: Mapping, key: str = "clause") -> str:
        """The clause that a term names."""
        return term.get(key).reference(self.clauses, "clause")

    def money(self, term: Mapping) -> Dated[int]:
        """Dated amounts in the plan's currency."""
        expect_unit(term, self.currency)
        return term.get("values").dated(lambda v: v.money(self.currency), self.first_day)

    def in_force(self, term: Mapping) -> Dated[bool]:
        """The days on which something holds."""
        return term.get("in_force").dated(Value.boolean, self.first_day)

    def sets(self, term: Mapping, key: str) -> tuple[str, ...]:
        """Code sets that a term names."""
        return references(term, key, self.code_sets, "code set")

    def of_sections(self, term: Mapping) -> tuple[str, ...]:
        """Sections that a term names."""
        return references(term, "sections", self.sections, "section")


def read_text(value: Value) -> Text:
    """The same words in Chinese and English."""
    words = value.mapping()
    text = Text(zh=words.get("zh").text(), en=words.get("en").text())
    words.done()
    return text


def references(term: Mapping, key: str, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    """Ids of things that the file defines; absent is none, an empty list is a fault."""
    found = term.maybe(key)
    if found is None:
        return ()
    items = found.items()
    if not items:
        found.fault("EMPTY_LIST", f"name a {what}, or leave {key} out")
    return tuple(item.reference(known, what) for item in items)


def choices(term: Mapping, key: str, words: type[EnumT]) -> tuple[EnumT, ...]:
    """Words of one kind; absent is none, an empty list is a fault."""
    found = term.maybe(key)
    if found is None:
        return ()
    items = found.items()
    if not items:
        found.fault("EMPTY_LIST", f"write at least one of {', '.join(words)}, or leave {key} out")
    return tuple(item.choice(words) for item in items)


def each(owner: Mapping, key: str, read: Callable[[Mapping], T]) -> tuple[T, ...]:
    """The mappings of an optional list, each read whole."""
    found = []
    for item in owner.items(key):
        term = item.mapping()
        found.append(read(term))
        term.done()
    return tuple(found)


def read_systems(top: Mapping) -> tuple[SystemName, ...]:
    """Code systems that the file names itself; the built-in ones keep their words and URIs."""
    found = top.maybe("systems")
    if found is None:
        return ()
    named = found.mapping()
    built_in = {system.uri: word for word, system in CODE_SYSTEMS.items()}
    words: dict[str, str] = {}
    for key in named.names():
        word, value = named.name(key), named.get(key)
        uri = value.text()
        if uri == value.value and not _is_uri(uri):
            value.fault("NOT_A_URI", 'write the system\'s URI, such as "urn:oid:2.16.156.1.2"')
        elif word in CODE_SYSTEMS and CODE_SYSTEMS[word].uri != uri:
            text = f"{word} is {CODE_SYSTEMS[word].uri} already; take another word"
            value.fault("SHADOWS_CODE_SYSTEM", text)
        elif built_in.get(uri, word) != word:
            value.fault("DUPLICATE_CODE_SYSTEM", f"this is the built-in {built_in[uri]}")
        elif uri in words.values():
            value.fault("DUPLICATE_CODE_SYSTEM", "another word stands for this URI already")
        elif word not in CODE_SYSTEMS:
            words[word] = uri
    return tuple(SystemName(id=word, uri=uri) for word, uri in words.items())


def _is_uri(text: str) -> bool:
    if text.startswith("urn:oid:"):
        return _OID.fullmatch(text) is not None
    if text.startswith(("http:", "https:")) and not _AT_A_HOST.match(text):
        return False
    return _URI.fullmatch(text) is not None


def system_uri(value: Value, context: Context) -> str:
    """The URI of a code system named by its short word."""
    word = value.ident()
    if word not in context.systems and word == value.value:
        known = ", ".join(context.systems)
        value.fault("UNKNOWN_CODE_SYSTEM", f"write one of {known}, or name it under systems")
    return context.systems[word].uri if word in context.systems else "?"


def read_code_systems(top: Mapping, context: Context) -> tuple[str, ...]:
    """Systems whose codes bills may bring although no code set names one; absent is none."""
    found = tuple(system_uri(item, context) for item in top.items("code_systems"))
    if len(set(found)) != len(found):
        top.fault("DUPLICATE_CODE_SYSTEM", "a code system stands twice", "code_systems")
    return found


def expect_unit(term: Mapping, unit: str) -> None:
    """Note a fault unless the term says this unit."""
    term.get("unit").word((unit,), "WRONG_UNIT", f"the unit here is {unit}")


def read_scope(term: Mapping) -> tuple[Scope, Period | None]:
    """Whose use counts, over which period; one treatment has none."""
    scope = term.get("scope").choice(Scope)
    if scope is Scope.TREATMENT:
        if term.has("period"):
            term.get("period").fault("NO_PERIOD", "one treatment has no period; leave it out")
        return scope, None
    return scope, term.get("period").choice(Period)


def read_covers(term: Mapping, context: Context) -> Covers:
    """What an accumulator is about; absent is every line, and every age."""
    found, band = term.maybe("covers"), term.maybe("ages")
    ages = None if band is None else read_ages(band)
    if found is None:
        return Covers(ages=ages)
    covered = found.mapping()
    covers = Covers(
        sections=context.of_sections(covered),
        categories=references(covered, "categories", context.categories, "category"),
        ages=ages,
    )
    covered.done()
    return covers


def read_when(term: Mapping, context: Context) -> When:
    """The conditions of a share or copay; absent is none."""
    found = term.maybe("when")
    if found is None:
        return When()
    given = found.mapping()
    used = given.maybe("social_insurance_used")
    insured = given.maybe("insured_with_social_insurance")
    when = When(
        social_insurance_used=None if used is None else used.boolean(),
        insured_with_social_insurance=None if insured is None else insured.boolean(),
        tiers=choices(given, "tiers", HospitalTier),
        networks=references(given, "networks", context.networks, "network"),
        sections=context.of_sections(given),
        categories=references(given, "categories", context.categories, "category"),
        care_types=choices(given, "care_types", CareType),
        diagnoses=context.sets(given, "diagnoses"),
        outcome_tiers=tuple(item.ident() for item in given.items("outcome_tiers")),
        referral=_stated(given, "referral"),
        family_doctor_contract=_stated(given, "family_doctor_contract"),
        contracted_provider=_stated(given, "contracted_provider"),
        ages=None if (ages := given.maybe("ages")) is None else read_ages(ages),
        sexes=choices(given, "sexes", Sex),
    )
    given.done()
    return when


def _stated(given: Mapping, key: str) -> bool | None:
    found = given.maybe(key)
    return None if found is None else found.boolean()


def read_ages(value: Value) -> Ages:
    """A band of completed years, both ends included."""
    band = value.mapping()
    first, last = band.maybe("from"), band.maybe("to")
    ages = Ages(
        first=None if first is None else first.whole(),
        last=None if last is None else last.whole(),
    )
    band.done()
    if ages.first is not None and ages.last is not None and ages.last < ages.first:
        value.fault("EMPTY_BAND", "the last age lies before the first")
    return ages


def dated_word(value: Value, words: type[EnumT], context: Context) -> Dated[EnumT]:
    """A word of a list by the day from which it holds."""
    return value.dated(lambda one: one.choice(words), context.first_day)


def read_words(value: Value) -> tuple[str, ...]:
    """A list of words of the plan's own, such as reasons; empty is a fault."""
    return some(value, tuple(item.ident() for item in value.items()))


def some(value: Value, found: tuple[T, ...]) -> tuple[T, ...]:
    """What was read of a list; an empty list and a thing that stands twice are faults."""
    if not found and isinstance(value.value, list):
        value.fault("EMPTY_LIST", "write at least one, or null to end it")
    if len(set(found)) != len(found):
        value.fault("DUPLICATE_WORD", "one stands twice in the list")
    return found
