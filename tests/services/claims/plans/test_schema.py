"""The published JSON Schemas: today's, true of every file here, and as strict as can be.

What a loader refuses for its form alone the schema refuses too, and it refuses nothing that the
loader takes: both ways over files that differ from good ones in one place. Of places that are
alike, in whichever files, the one in the smallest file is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from services.claims.plans.case_reader import read_case_file
from services.claims.plans.loader import read_plan
from services.claims.plans.reader import Faults, Mapping
from services.claims.plans.schema import case_schema, plan_schema
from services.common.strict_yaml import StrictYamlError, YamlList, YamlMap, load
from tests.services.claims.core.bills import CASES, PLANS, plan_of_file

ROOT = Path(__file__).parents[4]
PLAN_FILES = [*sorted(PLANS.glob("*.yaml")), *sorted((CASES / "plans").glob("*.yaml"))]
CASE_FILES = sorted(CASES.glob("*.yaml"))
PLAN, CASE = plan_schema(), case_schema()
_FORMATS = jsonschema.Draft202012Validator.FORMAT_CHECKER
PLAN_VALID = jsonschema.Draft202012Validator(PLAN, format_checker=_FORMATS)
CASE_VALID = jsonschema.Draft202012Validator(CASE, format_checker=_FORMATS)
# One part of a file alone: what is beside it is not asked again for each place in it.
PLAN_PART_VALID = PLAN_VALID.evolve(schema={**PLAN, "required": []})
CASE_PART_VALID = CASE_VALID.evolve(schema={**CASE, "required": []})
# Reasons that look at one value and nothing else.
OF_FORM = {
    *("UNKNOWN_KEY", "MISSING_KEY", "NOT_TEXT", "NOT_AN_ID", "NOT_A_BOOLEAN", "NOT_DATED"),
    *("NOT_A_WHOLE_NUMBER", "NOT_AN_AMOUNT", "NOT_A_DATE", "IMPOSSIBLE_DATE", "NOT_A_MAPPING"),
    *("NOT_A_LIST", "UNKNOWN_WORD", "NEGATIVE", "UNKNOWN_CURRENCY"),
    *("NOT_A_TIME", "IMPOSSIBLE_TIME", "SHARE_OUT_OF_RANGE", "UNKNOWN_FORMAT", "WRONG_UNIT"),
}
# What may be left out unless something else is there or not there; no schema of ours says so.
CONDITIONAL = re.compile(
    r"\.(period|diagnoses|given|member|members|policy|policies|day|from|to|together|sections)"
    r" (left out|= \[\])"
)
_ALIKE = re.compile(r"\d+")
WRONG: tuple[Any, ...] = (1.5, True, "", "no such word!", -1, None, [], {"zz": 1}, "2025-02-30", 7)


@pytest.mark.parametrize(("name", "schema"), [("plan", PLAN), ("cases", CASE)])
def test_the_published_schemas_are_today_s(name: str, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    published = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text("utf-8"))
    assert published == schema, "write it anew: lipei plan schema > docs/schemas/plan.schema.json"


def _name(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@pytest.mark.parametrize("path", [*PLAN_FILES, *CASE_FILES], ids=_name)
def test_every_file_is_valid_and_names_its_schema(path: Path) -> None:
    valid = PLAN_VALID if path in PLAN_FILES else CASE_VALID
    valid.validate(_seen(path))
    named = re.search(
        r"^# yaml-language-server: \$schema=(\S+)$", path.read_text("utf-8"), re.MULTILINE
    )
    assert named is not None
    name = "plan" if path in PLAN_FILES else "cases"
    assert (path.parent / named[1]).resolve() == ROOT / "docs" / "schemas" / f"{name}.schema.json"


@cache
def _seen(path: Path) -> Any:
    """A file's strict tree as JSON has it; a long CSV block stays text."""
    return json.loads(json.dumps(load(path.read_bytes(), path.name)))


# --- one place changed, loader and schema asked ---

Way = tuple[Any, ...]


@pytest.mark.parametrize("path", [*PLAN_FILES, *CASE_FILES], ids=_name)
def test_loader_and_schema_agree_about_files_with_one_fault(path: Path) -> None:
    _agree(path, every=len(WRONG))


@pytest.mark.fault
@pytest.mark.parametrize("path", [*PLAN_FILES, *CASE_FILES], ids=_name)
def test_loader_and_schema_agree_about_files_with_any_fault(path: Path) -> None:
    _agree(path, every=1)


@pytest.mark.parametrize(("files", "least"), [(PLAN_FILES, 800), (CASE_FILES, 240)])
def test_the_places_that_are_changed_are_all_there_are(files: list[Path], least: int) -> None:
    changed = {_alike(way) for path in files for way in _own_ways(path)}
    assert changed == {_alike(way) for path in files for way in _ways(_tree(path))}
    assert len(changed) >= least


def _agree(path: Path, *, every: int) -> None:
    """Ask both about each place of the file that no smaller file has."""
    whole, part = (
        (PLAN_VALID, PLAN_PART_VALID) if path in PLAN_FILES else (CASE_VALID, CASE_PART_VALID)
    )
    tree = _with_lines(_tree(path))
    refused, apart = 0, []
    asked: set[Way] = set()  # in each mapping once for a key that it does not know
    for way in _own_ways(path):
        valid = part if way[:-1] else whole
        for what, small in _wrong(tree, way, every, unknown=way[:-1] not in asked):
            reasons = _reasons(path, tree)
            place = f"{_alike(way)} {what}"
            if CONDITIONAL.search(place):
                continue
            if reasons & OF_FORM:
                refused += 1
                if valid.is_valid(small):
                    apart.append(f"{place}: the loader says {reasons}")
            elif not reasons and not valid.is_valid(small):
                apart.append(f"{place}: the loader takes it")
        asked.add(way[:-1])
    assert not apart
    assert refused >= len(_own_ways(path))


def _reasons(path: Path, tree: Any) -> set[str]:
    faults = Faults("wrong.yaml")
    _reader(path)(Mapping(faults, tree))
    try:
        faults.check()
    except StrictYamlError as error:
        return {fault.reason for fault in error.faults}
    return set()


@cache
def _reader(path: Path) -> Any:
    if path in PLAN_FILES:
        return read_plan
    plan = next(one for one in PLAN_FILES if one.stem == _seen(path)["plan"])
    return partial(read_case_file, plan_of_file(plan))


def _with_lines(tree: Any) -> Any:
    """A copy of the tree that knows lines, as the strict reader makes it."""
    if isinstance(tree, dict):
        made = YamlMap((key, _with_lines(value)) for key, value in tree.items())
        made.line, made.lines = 1, dict.fromkeys((*made, "zzz"), 1)
        return made
    if isinstance(tree, list):
        items = YamlList(_with_lines(value) for value in tree)
        items.line, items.lines = 1, [1] * len(items)
        return items
    return tree


def _wrong(tree: Any, way: Way, every: int, *, unknown: bool) -> Iterator[tuple[str, Any]]:
    """What is wrong with the tree in turn, and what of it the schema needs to see.

    Of ten wrong values each place gets one in `every`; all places together get all.
    """
    *to, key = way
    holder = tree
    for step in to:
        holder = holder[step]
    small = _small({to[0]: tree[to[0]]}, to) if to else tree
    before = holder[key]
    for value in WRONG[len(_alike(way)) % every :: every]:
        holder[key] = _with_lines(value)
        yield f"= {value!r}", small
    holder[key] = before
    if isinstance(holder, dict):
        if unknown:
            holder["zzz"] = 1
            yield "and an unknown key", small
            del holder["zzz"]
        del holder[key]
        yield "left out", small
        holder[key] = before


def _small(tree: Any, to: Sequence[Any]) -> Any:
    """The tree with the part that `to` leads to; lists elsewhere have one item.

    No schema here says how an item bears on another, so a verdict is the same as on all of it.
    """
    if not to:
        return tree
    if isinstance(tree, list):
        return [_small(tree[to[0]], to[1:])]
    return {
        key: _small(value, to[1:]) if key == to[0] else _first_items(value)
        for key, value in tree.items()
    }


def _first_items(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_first_items(one) for one in tree[:1]]
    if isinstance(tree, dict):
        return {key: _first_items(value) for key, value in tree.items()}
    return tree


# --- which places ---


@cache
def _tree(path: Path) -> Any:
    """The file, of many cases some: they are alike."""
    tree = _seen(path)
    return tree if path in PLAN_FILES else {**tree, "cases": tree["cases"][::16]}


@cache
def _own_ways(path: Path) -> tuple[Way, ...]:
    return _shared_out(path in PLAN_FILES)[path]


@cache
def _shared_out(plans: bool) -> dict[Path, tuple[Way, ...]]:
    """Which file has each place changed: the smallest that has it, its first one alike."""
    seen: set[str] = set()
    ways: dict[Path, tuple[Way, ...]] = {}
    files = PLAN_FILES if plans else CASE_FILES
    for path in sorted(files, key=lambda one: (len(json.dumps(_tree(one))), one.name)):
        own: dict[str, Way] = {}
        for way in _ways(_tree(path)):
            own.setdefault(_alike(way), way)
        ways[path] = tuple(way for alike, way in own.items() if alike not in seen)
        seen |= own.keys()
    return ways


def _alike(way: Way) -> str:
    return _ALIKE.sub("0", "".join(f".{key}" for key in way))


def _ways(tree: Any, to: Way = ()) -> Iterator[Way]:
    """The way to each place: keys of mappings, indexes of lists."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield (*to, key)
        if isinstance(tree[key], dict | list):
            yield from _ways(tree[key], (*to, key))
