"""JSON Schema of plan and case files, read off the loaders themselves, so that it cannot drift.

The loaders' own readers are run over a file that is not there: each key that they ask for and
each kind of value that they expect is written down. What a reader checks against other parts of a
file - references, sums, days in order - no schema can say; the loaders refuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from itertools import product
from typing import Any, TypeVar

from services.claims.core.plan import Plan
from services.claims.plans.case_events import Kind
from services.claims.plans.case_reader import read_case_file
from services.claims.plans.in_words.statements import KINDS, WORDS
from services.claims.plans.loader import FORMAT, read_plan
from services.claims.plans.reader import (
    MAX_LABEL,
    MAX_WHOLE,
    STAND_IN,
    EnumT,
    Faults,
    Mapping,
    Value,
)
from services.common.dated import Dated
from services.common.money import currencies

T = TypeVar("T")
Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DATE = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
_FACT_DATE = _DATE.replace("[0-9]{4}", "(19[0-9]{2}|2[01][0-9]{2})", 1)  # years as dated.py has
_ID = "^[a-z][a-z0-9_-]{0,63}$"
_TEXT: Schema = {"type": "string", "pattern": r"\S"}
_CODES = {"type": "string", "minLength": 1}
# The currency of the file that is not there; in a schema any that plans may use stands for it.
_CURRENCY = "CNY"
_ANY_NAME = "*"
_EVENTS = (*(kind.value for kind in Kind), "together")
_SHARE: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"},
    ]
}


def plan_schema() -> Schema:
    """The schema of plan files."""
    top = _Node()
    for has, last, bare in product((True, False), repeat=3):
        read_plan(_Keys(top, _Run(has=has, last=last, bare=bare)))
    schema = _head("plan", "A benefit plan of lipei; docs/plans.md") | top.schema()
    for key, one in list(schema["properties"].items()):
        kind = KINDS.get((Plan, key))
        words = WORDS.get((Plan, key))
        said = kind.name if kind is not None else None if words is None else words.label
        if said is not None:
            schema["properties"][key] = one | {"description": f"{said.zh} {said.en}"}
    schema["properties"]["format"] = {"const": FORMAT}
    return schema


def case_schema() -> Schema:
    """The schema of case files; nothing of the plan that they are for is in it."""
    plan = read_plan(_Keys(_Node(), _Run()))
    top = _Node()
    kinds: dict[str, _Node] = {}
    ways = ((True, False),) * 3
    for has, last, bare, person, event in product(*ways, ("member", "members"), _EVENTS):
        absent = {"members"} if person == "member" else {"member"}
        run = _Run(
            has=has,
            last=last,
            bare=bare,
            absent=frozenset(absent),
            event=event,
            events=kinds,
        )
        read_case_file(plan, _Keys(top, run))
    schema = _head("cases", "Cases of a plan of lipei; docs/cases.md") | top.schema()
    case = schema["properties"]["cases"]["items"]["properties"]
    given = schema["properties"]["given"]["properties"]
    for key in given:
        given[key] = case[key]
    events = {one: kinds[one].schema() for one in _EVENTS}
    # What must come out is the same after every event; written once, the schema stays readable.
    expect = events[Kind.CLAIM.value]["properties"]["expect"]
    together = events["together"]["properties"]["together"]["items"]
    for one in (*events.values(), together):
        if one["properties"].get("expect") == expect:
            one["properties"]["expect"] = {"$ref": "#/$defs/expect"}
    case["events"]["items"] = {"anyOf": [events[one] for one in _EVENTS]}
    return schema | {"$defs": {"expect": expect}}


def _head(name: str, title: str) -> Schema:
    return {"$schema": DIALECT, "$id": f"urn:lipei:schema:{name}:1", "title": title}


# --- what the readers ask for, written down ---


@dataclass(slots=True)
class _Run:
    """One way through the readers: what is there, and which word stands where there is a choice.

    In a `bare` file nothing is there that may be left out.
    """

    has: bool = True
    last: bool = True
    bare: bool = False
    absent: frozenset[str] = frozenset()
    event: str = ""
    events: dict[str, _Node] = field(default_factory=dict)


@dataclass(slots=True)
class _Node:
    """One place of a file: what may stand there, over all ways through the readers."""

    scalars: list[Schema] = field(default_factory=list)
    keys: dict[str, _Node] = field(default_factory=dict)
    required: dict[str, int] = field(default_factory=dict)
    visits: int = 0
    item: _Node | None = None
    names: Schema | None = None
    dated: _Node | None = None

    def may_be(self, schema: Schema) -> None:
        """Note one thing that may stand here."""
        if schema not in self.scalars:
            self.scalars.append(schema)

    def schema(self) -> Schema:
        """What may stand here."""
        found = list(self.scalars)
        if self.dated is not None:
            value = {"anyOf": [{"type": "null"}, self.dated.schema()]}
            found.append(
                {
                    "type": "object",
                    "minProperties": 1,
                    "patternProperties": {_DATE: value},
                    "additionalProperties": False,
                }
            )
        if self.item is not None:
            found.append({"type": "array", "items": self.item.schema()})
        if self.visits:
            found.append(self._mapping())
        if not found:
            return {}
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _mapping(self) -> Schema:
        known = {key: one.schema() for key, one in self.keys.items() if key != _ANY_NAME}
        other = self.keys.get(_ANY_NAME)
        schema: Schema = {"type": "object"}
        if known:
            schema["properties"] = known
        required = sorted(key for key, times in self.required.items() if times == self.visits)
        if required:
            schema["required"] = required
        schema["additionalProperties"] = False if other is None else other.schema()
        if self.names is not None:
            schema["propertyNames"] = self.names
        return schema


class _Silent(Faults):
    """Hears no faults: what is not there has none."""

    def __init__(self) -> None:
        super().__init__("")

    def add(self, path: str, line: int, reason: str, text: str) -> None:
        """Hear nothing."""


class _Any(Value):
    """Stands for any value, and writes down which kinds of value are asked of it."""

    def __init__(self, node: _Node, run: _Run, key: str = "") -> None:
        super().__init__(_Silent(), None, "", 1)
        self._node, self._run, self._key = node, run, key

    def text(self) -> str:
        self._node.may_be(_TEXT)
        return "?"

    def text_or_nothing(self) -> str:
        self._node.may_be({"type": ["string", "null"]})
        return ""

    def block(self, what: str) -> list[str]:
        self._node.may_be({"type": "string"})
        return []

    def clock(self) -> time:
        self._node.may_be({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"})
        return time.min

    def moment(self) -> datetime:
        pattern = f"{_DATE[:-1]} ([01][0-9]|2[0-3]):[0-5][0-9]$"
        self._node.may_be({"type": "string", "pattern": pattern})
        return datetime.combine(STAND_IN, time.min)

    def ident(self) -> str:
        self._node.may_be({"type": "string", "pattern": _ID})
        return "?"

    def boolean(self) -> bool:
        self._node.may_be({"type": "boolean"})
        return False

    def whole(self, *, least: int = 0, most: int = MAX_WHOLE) -> int:
        self._node.may_be({"type": "integer", "minimum": least, "maximum": most})
        return least

    def decimal(self, *, places: int, most: int = 0) -> Decimal:
        written = {"type": "string", "pattern": rf"^(0|[1-9][0-9]*)(\.[0-9]{{1,{places}}})?$"}
        self._node.may_be({"anyOf": [{"type": "integer", "minimum": 0}, written]})
        return Decimal(1)

    def money(self, currency: str) -> int:
        self.decimal(places=6)
        return 100

    def whole_of(self, known: tuple[int, ...], text: str) -> int:
        self._node.may_be({"enum": list(known)})
        return known[0]

    def share(self, what: str = "") -> Decimal:
        self._node.may_be(_SHARE)
        return Decimal(1)

    def share_or(self, words: Iterable[str]) -> Decimal | str:
        self._node.may_be({"enum": list(words)})
        return self.share()

    def day(self) -> date:
        self._node.may_be({"type": "string", "pattern": _DATE, "format": "date"})
        return STAND_IN

    def fact_day(self) -> date:
        self._node.may_be({"type": "string", "pattern": _FACT_DATE, "format": "date"})
        return STAND_IN

    def choice(self, choices: type[EnumT]) -> EnumT:
        self._node.may_be({"enum": [one.value for one in choices]})
        members = list(choices)
        return members[-1] if self._run.last else members[0]

    def word(self, known: Iterable[str], reason: str, text: str) -> str | None:
        words = list(known)
        self._node.may_be({"enum": list(currencies()) if words == [_CURRENCY] else words})
        return words[0]

    def reference(self, known: Iterable[str], what: str) -> str:
        self._node.may_be(_CODES)
        return next(iter(known), "?")

    def mapping(self) -> Mapping:
        return _Keys(self._node, self._run)

    def is_mapping(self) -> bool:
        return self._run.last  # both ways are gone

    def items(self) -> list[Value]:
        self._node.item = self._node.item or _Node()
        if self._key == "events":
            # Later events are about a claim that came before.
            first = self._run.events.setdefault(Kind.CLAIM.value, _Node())
            claim = replace(self._run, event=Kind.CLAIM.value)
            later = self._run.events.setdefault(self._run.event, _Node())
            return [_Any(first, claim, "event"), _Any(later, self._run, "event")]
        return [_Any(self._node.item, self._run)]

    def dated(self, parse: Callable[[Value], T], first_day: date) -> Dated[T]:
        self._node.dated = self._node.dated or _Node()
        one = _Any(self._node.dated, self._run)
        name = getattr(parse, "__name__", "")
        own = parse is getattr(Value, name, None)  # Value.share, say: ours is asked instead
        value = getattr(one, name)() if own else parse(one)
        return Dated(values=((STAND_IN, value),))


class _Keys(Mapping):
    """Stands for any mapping, and writes down which keys are asked of it."""

    def __init__(self, node: _Node, run: _Run) -> None:
        self.faults, self.line, self.path = _Silent(), 1, ""
        self._node, self._run = node, run
        self._needed: set[str] = {_ANY_NAME}
        node.visits += 1

    def names(self, of: Iterable[str] = ()) -> tuple[str, ...]:
        known = (*of, _ANY_NAME)  # of these, or of others that the file names
        self._needed |= set(known)  # any of them may stand there, none must
        return known

    def has(self, key: str) -> bool:
        if key in self._run.absent:
            return False
        if key in _EVENTS and self._run.event:
            return key == self._run.event
        return self._run.has

    def name(self, key: str) -> str:
        self._node.names = {"pattern": _ID}
        return "?"

    def label(self, key: str) -> str:
        self._node.names = {"maxLength": MAX_LABEL}
        return "?"

    def number(self, key: str) -> int:
        self._node.names = {"pattern": "^[0-9]+$"}
        return 1

    def get(self, key: str, write: str = "") -> Value:
        if key not in self._needed:
            self._needed.add(key)
            self._node.required[key] = self._node.required.get(key, 0) + 1
        return self._at(key)

    def maybe(self, key: str) -> Value | None:
        asked = self._at(key)
        if key == "together":
            return asked if self._run.event == key else None
        return None if self._run.bare or key in self._run.absent else asked

    def items(self, key: str) -> list[Value]:
        return self._at(key).items()

    def fault(self, reason: str, text: str, key: str = "") -> None:
        """Nothing: what is not there has no faults."""

    def done(self) -> None:
        """Nothing: what is not asked for is not known."""

    def _at(self, key: str) -> _Any:
        return _Any(self._node.keys.setdefault(key, _Node()), self._run, key)
