"""What a plan file defines and no term of it names: code sets, clauses and papers.

It is no fault, since a contract has clauses that cut nothing; but a code set that nothing names
refuses nothing, which its author may not know.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from services.claims.core.plan import General, Plan
from services.claims.core.plan_edits import RequiredPapers
from services.common.dated import Dated
from services.common.strict_yaml import Fault, YamlMap, load

_CODE_SETS, _CLAUSES, _PAPERS = "code_sets", "clauses", "papers"
_NAMES_CODE_SETS = frozenset({"codes", "diagnoses", "exempt_diagnoses", "not_with"})
_WHAT = {_CODE_SETS: "code set", _CLAUSES: "clause", _PAPERS: "paper"}


def unused(plan: Plan, yaml: bytes | str, source: str) -> tuple[Fault, ...]:
    """A warning for each of them at its line, in the order of the file.

    `yaml` is what the plan was loaded from.
    """
    found = []
    tree = load(yaml, source)
    named = set(_named(plan))
    for key, what in _WHAT.items():
        defined = tree.get(key)
        if not isinstance(defined, YamlMap):
            continue
        found += [
            Fault(
                path=f"{key}.{one}",
                line=defined.lines[one],
                reason="UNUSED",
                text=f"no term names this {what}; it has no effect",
            )
            for one in defined
            if (key, one) not in named
        ]
    return tuple(sorted(found, key=lambda one: one.line))


def _named(part: msgspec.Struct) -> Iterator[tuple[str, object]]:
    """The kind and the id of everything that the terms of a part name."""
    for name in part.__struct_fields__:
        if isinstance(part, Plan) and name in (_CODE_SETS, _CLAUSES):
            continue
        for value in _values(getattr(part, name)):
            if isinstance(value, msgspec.Struct):
                yield from _named(value)
            elif isinstance(part, RequiredPapers) and name == "values":
                yield _PAPERS, value
            elif name in _NAMES_CODE_SETS:
                yield _CODE_SETS, value
            elif name == "clause" or isinstance(part, General):
                yield _CLAUSES, value


def _values(value: object) -> Iterator[object]:
    """What stands in a field: itself, or its items, of every day on which it says something."""
    if isinstance(value, Dated):
        for _, one in value.values:
            yield from _values(one)
    elif isinstance(value, tuple):
        for one in value:
            yield from _values(one)
    else:
        yield value
