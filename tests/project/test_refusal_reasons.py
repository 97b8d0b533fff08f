"""A caller can know every reason of a refusal: each stands in the comments of its service's protos.

Reasons are read out of the source, so that a new one without its word on the wire fails here. One
that is not written as a text where it is refused has its place in `COMPUTED`.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from services.claims.core.reasons import Reason
from services.claims.payout_steps import Sending

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos" / "lipei"
# What every service may answer stands with the labels that the guard reads.
FOR_ALL = (PROTOS / "type/v1/access.proto",)
WHERE = {
    "claims": tuple((PROTOS / "claims").rglob("*.proto")),
    "his_bridge": tuple((PROTOS / "his_bridge").rglob("*.proto")),
    "pricing": tuple((PROTOS / "pricing").rglob("*.proto")),
    "common/evidence": (*FOR_ALL, PROTOS / "evidence/v1/evidence.proto"),
    "common/sealing": (*FOR_ALL, PROTOS / "keys/v1/keys.proto"),
    "common/access/study_tokens.py": tuple(PROTOS.rglob("study.proto")),
    "common": FOR_ALL,
}
COMPUTED = {
    "services/claims/appealing.py": {Reason.APPEAL_LATE.name},
    "services/claims/paying.py": {one.name for one in Sending if one is not Sending.WITH_BANK},
    "services/his_bridge/pull_refusals.py": {"SOURCE_"},  # a source's own reasons begin with it
    "services/pricing/judging.py": {"NO_SUCH_TARIFF", "NO_SUCH_PROGRAMME"},
}
REASON = re.compile(r"[A-Z][A-Z0-9_]+")


def reasons_in(tree: ast.Module) -> tuple[set[str], int]:
    """The reasons of a module's refusals, and how many it refuses with that cannot be read."""
    given = {"Refused": 1}  # of a function that makes a refusal: where its caller says the reason
    owners = {id(child): node for node in _functions(tree) for child in ast.walk(node)}
    for call in _calls(tree, {"Refused"}):
        reason, owner = _argument(call, 1), owners.get(id(call))
        if isinstance(reason, ast.Name) and owner is not None:
            names = [argument.arg for argument in owner.args.args]
            if reason.id in names:
                given[owner.name] = names.index(reason.id)
    found: set[str] = set()
    unreadable = 0
    for call in _calls(tree, set(given)):
        reason, owner = _argument(call, given[_name(call)]), owners.get(id(call))
        if isinstance(reason, ast.Constant):
            found.add(str(reason.value))
        elif isinstance(reason, ast.Name) and owner is not None and owner.name in given:
            continue  # its callers are read
        elif isinstance(reason, ast.Name) and (
            texts := (owner and _assigned(owner, reason.id)) or _assigned(tree, reason.id)
        ):
            found |= texts
        else:
            unreadable += 1
    return found, unreadable


def _refuses_calls(tree: ast.Module) -> bool:
    """Whether it imports our Refused: HL7's own answers a HIS, and a source's no call."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module in {"services.common.grpc_edge", "services.common.refusals"}
        and any(alias.name == "Refused" for alias in node.names)
        for node in ast.walk(tree)
    )


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):  # outer ones first, so that the innermost owns a call
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _calls(tree: ast.AST, names: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node) in names:
            yield node


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _argument(call: ast.Call, place: int) -> ast.expr | None:
    return call.args[place] if place < len(call.args) else None


def _assigned(scope: ast.AST, name: str) -> set[str]:
    """The texts that a name is given, alone or beside others."""
    given = [
        (target, node.value)
        for node in ast.walk(scope)
        if isinstance(node, ast.Assign)
        for target in node.targets
    ]
    for target, value in given:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            given += zip(target.elts, value.elts, strict=True)
    values = [value for to, value in given if isinstance(to, ast.Name) and to.id == name]
    texts = {
        node.value
        for value in values
        for node in ast.walk(value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {text for text in texts if REASON.fullmatch(text)}


@cache
def modules() -> list[tuple[str, str, ast.Module]]:
    """Every module that refuses calls, by its path, and whose protos hold its reasons."""
    found = []
    for path in sorted((ROOT / "services").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        inside = name.removeprefix("services/")
        tree = ast.parse(path.read_text("utf-8"))
        if inside == "common/refusals.py" or _refuses_calls(tree):
            whose = max((one for one in WHERE if inside.startswith(one)), key=len)
            found.append((name, whose, tree))
    return found


def test_reasons_are_read_however_they_are_given() -> None:
    source = """
from services.common.grpc_edge import Refused
THIRD = "THIRD_ONE"
def direct():
    raise Refused(code, "FIRST_ONE", "text")
def chosen(late):
    reason, why = "SECOND_ONE", "text"
    if late:
        reason = "SECOND_LATE"
    raise Refused(code, reason, why)
def constant():
    return Refused(code, THIRD, "text")
def asks():
    raise _made("FOURTH_ONE")
def _made(reason):
    return Refused(code, reason, "text")
def unreadable(fault):
    raise Refused(code, fault.reason, "text")
"""
    found, unreadable = reasons_in(ast.parse(source))
    assert found == {"FIRST_ONE", "SECOND_ONE", "SECOND_LATE", "THIRD_ONE", "FOURTH_ONE"}
    assert unreadable == 1


def test_the_manuals_say_what_to_do_about_every_source_that_cannot_be_read() -> None:
    sources = (path.read_text("utf-8") for path in (ROOT / "services/his_bridge").rglob("*.py"))
    reasons = {one for text in sources for one in re.findall(r'"(SOURCE_[A-Z_]+)"', text)}
    manuals = "\n".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("his-*.md"))
    assert len(reasons) > 30
    assert {one for one in reasons if f"`{one}`" not in manuals} == set()


@pytest.mark.parametrize("place", WHERE)
def test_every_reason_stands_on_the_wire(place: str) -> None:
    lines = (line for path in WHERE[place] for line in path.read_text("utf-8").splitlines())
    known = "\n".join(line for line in lines if line.lstrip().startswith("//"))
    missing: list[str] = []
    for name, whose, tree in modules():
        if whose != place:
            continue
        found, unreadable = reasons_in(tree)
        assert bool(unreadable) == (name in COMPUTED), f"{name}: COMPUTED must hold what it says"
        said = found | COMPUTED.get(name, set())
        missing += [
            f"{name}: {one}" for one in said if not re.search(rf"\b{one}(\b|(?<=_))", known)
        ]
    assert not missing, "no word on the wire of " + "; ".join(sorted(missing))
