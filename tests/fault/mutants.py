"""Makes mutants of a module: its source with one small mistake each. Runs nothing.

A mutant is named by the function and by what is written instead of what, never by a line number, so
that its name survives edits elsewhere in the file.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SHOWN = 90


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """One mistake: in which function, what stands there, and what is written instead."""

    module: str
    function: str
    lines: range
    change: str
    node: int
    way: int

    @property
    def name(self) -> str:
        """What a table of survivors calls it."""
        return f"{self.module.rpartition('core.')[2]}.{self.function}: {self.change}"


def mutants_of(path: Path, module: str) -> tuple[Mutant, ...]:
    """Every mutant of the functions and methods of a file, in the order of its source."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    places = {id(node): index for index, node in enumerate(ast.walk(tree))}
    found = []
    seen: Counter[tuple[str, str]] = Counter()
    for name, function in _functions(tree):
        for node in _running(function):
            for way, mutation in enumerate(_ways(node)):
                change = _described(node, mutation)
                seen[name, change] += 1
                if (times := seen[name, change]) > 1:
                    change += f" (number {times})"
                found.append(
                    Mutant(
                        module=module,
                        function=name,
                        lines=_lines(node),
                        change=change,
                        node=places[id(node)],
                        way=way,
                    )
                )
    return tuple(found)


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The module's tree with the mutant's mistake in it."""
    tree = ast.parse(source)
    target = list(ast.walk(tree))[mutant.node]
    replacement = list(_ways(target))[mutant.way]()
    _Replace(target, replacement).visit(tree)
    return ast.fix_missing_locations(tree)


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, replacement: ast.AST) -> None:
        self._target = target
        self._replacement = replacement

    def visit(self, node: ast.AST) -> ast.AST:
        """The replacement in the target's place; everything else as it is."""
        if node is self._target:
            return ast.copy_location(self._replacement, node)
        return self.generic_visit(node)


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for one in node.body:
                if isinstance(one, ast.FunctionDef):
                    yield f"{node.name}.{one.name}", one


def _running(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """What runs when the function is called: no docstring, default, decorator or annotation."""
    queue: list[ast.AST] = list(reversed(function.body))
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        yield node
        below: list[ast.AST] = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.AnnAssign):
            below.remove(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            below = list(node.body)
        elif isinstance(node, ast.Call) and _is_cast(node):
            below = list(node.args[1:])
        queue += reversed(below)


def _is_cast(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "cast"


def _lines(node: ast.AST) -> range:
    """The lines of what is changed: a condition's alone, for what hangs on it stays as it is."""
    first = last = node
    if isinstance(node, ast.comprehension):
        first, last = node.ifs[0], node.ifs[-1]
    elif isinstance(node, ast.If | ast.While):
        first = last = node.test
    begin = int(getattr(first, "lineno", 0))
    return range(begin, int(getattr(last, "end_lineno", begin)) + 1)


def _ways(node: ast.AST) -> Iterator[Callable[[], ast.AST]]:
    """Every mistake that this node allows; each call makes it from the node as it then is."""
    if isinstance(node, ast.Compare):
        for place in range(len(node.ops)):
            yield partial(_compared_otherwise, node, place)
    elif isinstance(node, ast.BoolOp):
        yield lambda: ast.BoolOp(
            ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values
        )
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield lambda: node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in _COMPUTED:
        yield lambda: ast.BinOp(node.left, _COMPUTED[type(node.op)](), node.right)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield partial(_another_constant, node.value)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if (other := _CALLED.get(node.func.id)) is not None:
            yield lambda: ast.Call(ast.Name(other, ast.Load()), node.args, node.keywords)
    elif isinstance(node, ast.IfExp):
        yield lambda: node.body
        yield lambda: node.orelse
    elif isinstance(node, ast.comprehension) and node.ifs:
        yield lambda: ast.comprehension(node.target, node.iter, [], node.is_async)
    elif isinstance(node, ast.stmt):
        yield from _ways_of_statements(node)


def _compared_otherwise(node: ast.Compare, place: int) -> ast.AST:
    other = _COMPARED[type(node.ops[place])]()
    ops = [*node.ops[:place], other, *node.ops[place + 1 :]]
    return ast.Compare(node.left, ops, node.comparators)


def _another_constant(value: int) -> ast.AST:
    return ast.Constant(not value if isinstance(value, bool) else value + 1)


def _ways_of_statements(node: ast.stmt) -> Iterator[Callable[[], ast.AST]]:
    if isinstance(node, ast.If | ast.While) and isinstance(
        node.test, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr
    ):
        kind = type(node)
        yield lambda: kind(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.AugAssign):
        yield ast.Pass
        if type(node.op) in _COMPUTED:
            yield lambda: ast.AugAssign(node.target, _COMPUTED[type(node.op)](), node.value)
    elif isinstance(node, ast.Raise) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield ast.Pass
    elif isinstance(node, ast.Continue):
        yield ast.Break
    elif isinstance(node, ast.Break):
        yield ast.Continue


def _described(node: ast.AST, mutation: Callable[[], ast.AST]) -> str:
    return f"{_shown(node)} -> {_shown(mutation())}"


def _shown(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.While):
        return f"{type(node).__name__.lower()} {_shown(node.test)}"
    text = ast.unparse(ast.fix_missing_locations(node)).strip()
    if isinstance(node, ast.comprehension):
        return text.partition(" in ")[0] + (f" if {ast.unparse(node.ifs[0])}" if node.ifs else "")
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
