"""Runs mutants of a core against its cases and its fast tests, each in a child of its own.

`python -m tests.fault.mutation` judges every mutant of claims' core, with `--target pricing` of
pricing's, and writes build/fault/mutants-claims.json, or -pricing.

Everything is imported and every case file read once. A child is forked for each mutant, gets the
mutated code of one function in place, runs what is known to run that line, the quickest first, and
ends at the first failure: a mutant costs milliseconds where a pytest of its own would cost seconds.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import json
import os
import pickle
import selectors
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol  # reports of one item, without printing them
from hypothesis import settings

from services.claims.plans import reader
from services.claims.plans.case_reader import read_cases
from services.claims.plans.case_run import run_case
from services.common.strict_yaml import load
from tests.fault.mutants import Mutant, mutated
from tests.fault.targets import TARGETS, Target
from tests.services.claims.core.bills import CASES, plan_named

# Hypothesis draws fewer examples for a mutant, always the same ones.
_EXAMPLES = 25
# A unit that takes this many times as long as it did with the code as it is does not end: of the
# processor's time, for others may want it too.
_PATIENCE = 20
_LEAST_S = 10.0

# A module and a line of it, or one of its functions.
Place = tuple[str, int | str]


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that fails when the code is wrong: a case, or a test."""

    name: str
    run: Callable[[], bool]
    by_line: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """What of the target a unit runs, and how long it takes: a case's lines, a test's functions.

    Of a test that draws examples the lines would take minutes to note.
    """

    unit: int
    seconds: float
    places: frozenset[Place]
    passed: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant: the unit that killed it, or none."""

    mutant: Mutant
    killer: str
    tried: int
    seconds: float


class _TooLong(BaseException):
    """The unit does not end; not an Exception, so that no code under test hears it."""


# --- units ---


def case_units(files: Iterable[Path]) -> Iterator[Unit]:
    """Each case of each file, read once with the code as it is."""
    for path in files:
        yaml = path.read_bytes()
        plan = plan_named(load(yaml, path.name)["plan"])
        for case in read_cases(plan, yaml, str(path)):
            yield Unit(
                f"{path.name}: {case.name}",
                lambda case=case: not run_case(case).differences,  # type: ignore[misc] # bound by default
                by_line=True,
            )


def test_units(items: Sequence[pytest.Item]) -> Iterator[Unit]:
    """Each test that pytest collected."""
    for item in items:
        test: Any = getattr(item, "obj", None)
        drawn = getattr(test, "_hypothesis_internal_use_settings", None)
        if drawn is not None and drawn.max_examples > _EXAMPLES:
            test._hypothesis_internal_use_settings = settings(drawn, max_examples=_EXAMPLES)
        yield Unit(
            item.nodeid,
            lambda item=item: (
                not any(  # type: ignore[misc] # bound by default
                    report.failed for report in runtestprotocol(item, log=False, nextitem=None)
                )
            ),
            by_line=False,
        )


# --- children ---


def in_children(
    jobs: Sequence[Any], work: Callable[[Any], Any], workers: int
) -> Iterator[tuple[Any, Any]]:
    """What `work` gives for each job, each in a forked child; None when the child died.

    In the order in which they end: nobody waits for a slow one.
    """
    waiting = list(reversed(jobs))
    with selectors.DefaultSelector() as running:
        while waiting or running.get_map():
            while waiting and len(running.get_map()) < workers:
                job = waiting.pop()
                reading, writing = os.pipe()
                pid = os.fork()
                if pid == 0:
                    os.close(reading)
                    _child(job, work, writing)
                os.close(writing)
                running.register(reading, selectors.EVENT_READ, (job, pid))
            for key, _ in running.select():
                running.unregister(key.fd)
                job, pid = key.data
                with os.fdopen(key.fd, "rb") as pipe:
                    told = pipe.read()
                os.waitpid(pid, 0)
                yield job, pickle.loads(told) if told else None


def _child(job: Any, work: Callable[[Any], Any], writing: int) -> None:
    code = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        signal.signal(signal.SIGPROF, _stop)
        told = pickle.dumps(work(job))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(told)
        code = 0
    finally:
        os._exit(code)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _TooLong


def _passes(unit: Unit, longest_s: float) -> bool:
    signal.setitimer(signal.ITIMER_PROF, longest_s)
    try:
        return unit.run()
    except (Exception, _TooLong, SystemExit, pytest.fail.Exception):  # noqa: BLE001 - all fail
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


# --- tracing ---


def traced(target: Target, units: Sequence[Unit], workers: int) -> tuple[Trace, ...]:
    """What each unit runs, each block of units in a child, with the code as it is."""
    blocks = [list(range(start, len(units), 40)) for start in range(min(40, len(units)))]
    found: list[Trace] = []
    for _, traces in in_children(blocks, lambda block: _trace_block(target, units, block), workers):
        found += traces or []
    return tuple(sorted(found, key=lambda one: one.unit))


def _trace_block(target: Target, units: Sequence[Unit], block: Iterable[int]) -> list[Trace]:
    found = []
    for index in block:
        unit = units[index]
        forget(target)
        began = time.process_time()
        passed = _passes(unit, 300)
        seconds = time.process_time() - began
        forget(target)
        places: set[Place] = set()
        sys.settrace(_tracer(target, places, by_line=unit.by_line))
        try:
            _passes(unit, 300)
        finally:
            sys.settrace(None)
        found.append(Trace(index, seconds, frozenset(places), passed))
    return found


def _tracer(
    target: Target, places: set[Place], *, by_line: bool
) -> Callable[[FrameType, str, Any], Any]:
    folder = str(target.folder)

    def local(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            places.add((Path(frame.f_code.co_filename).stem, frame.f_lineno))
        return local

    def called(frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(folder):
            return None
        if by_line:
            return local
        function = code.co_qualname.partition(".<locals>")[0]
        places.add((Path(code.co_filename).stem, function))
        return None

    return called


# --- judging ---


def judged(
    target: Target,
    mutants: Sequence[Mutant],
    units: Sequence[Unit],
    traces: Sequence[Trace],
    workers: int,
) -> Iterator[Verdict]:
    """Each mutant's verdict; a mutant whose line nothing runs has survived."""
    running: defaultdict[Place, list[Trace]] = defaultdict(list)
    for trace in traces:
        if trace.passed:
            for place in trace.places:
                running[place].append(trace)
    sources = {one.module: _source(one.module) for one in mutants}

    def judge(mutant: Mutant) -> Verdict:
        began = time.perf_counter()
        module = mutant.module.rpartition(".")[2]
        places = [(module, place) for place in (*mutant.lines, mutant.function)]
        chosen = list({one.unit: one for place in places for one in running[place]}.values())
        chosen.sort(key=lambda one: (one.seconds, one.unit))
        put_in_place(mutant, sources[mutant.module])
        forget(target)
        for tried, trace in enumerate(chosen, start=1):
            unit = units[trace.unit]
            if not _passes(unit, max(_LEAST_S, trace.seconds * _PATIENCE)):
                return Verdict(mutant, unit.name, tried, time.perf_counter() - began)
        return Verdict(mutant, "", len(chosen), time.perf_counter() - began)

    for mutant, verdict in in_children(mutants, judge, workers):
        yield verdict or Verdict(mutant, "the child died", 0, 0.0)


def _source(module: str) -> str:
    return Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")


def put_in_place(mutant: Mutant, source: str) -> None:
    """Give the function its mutated code, wherever it has been imported to.

    Raises: LookupError when the module has no such function.
    """
    module = importlib.import_module(mutant.module)
    code = _code(compile(mutated(source, mutant), str(module.__file__), "exec"), mutant.function)
    for function in _function(module, mutant.function):
        function.__code__ = code


def _code(code: CodeType, name: str) -> CodeType:
    for part in name.split("."):
        code = next(
            one for one in code.co_consts if isinstance(one, CodeType) and one.co_name == part
        )
    return code


def _function(module: ModuleType, name: str) -> list[FunctionType]:
    """The function behind whatever its decorators made of it."""
    found: Any = module
    *owners, last = name.split(".")
    for owner in owners:
        found = vars(found)[owner]
    found = vars(found)[last]
    for inner in ("fget", "__func__", "__wrapped__"):
        found = getattr(found, inner, found)
    if not isinstance(found, FunctionType):
        raise LookupError(name)  # noqa: TRY004 - no type is at fault, a name is
    return [found]


def _caches(target: Target) -> Iterator[Any]:
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{target.package}."):
            for one in vars(module).values():
                if isinstance(one, functools._lru_cache_wrapper):
                    yield one


def forget(target: Target) -> None:
    """Empty what the target remembers of earlier calls."""
    for cache in _caches(target):
        cache.cache_clear()


# --- the whole run ---


@dataclass(slots=True)
class Run:
    """What judging mutants gave; `broken` are units that fail with the code as it is."""

    target: Target
    verdicts: list[Verdict] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def judge(self, mutants: Sequence[Mutant], units: Sequence[Unit], workers: int) -> None:
        """Trace the units, then judge the mutants by them."""
        began = time.perf_counter()
        gc.freeze()  # or every child's collector would touch, and so copy, all that is here
        traces = traced(self.target, units, workers)
        self.broken = [units[one.unit].name for one in traces if not one.passed]
        _say(f"{len(units)} cases and tests traced in {time.perf_counter() - began:.0f} s")
        verdicts = judged(self.target, mutants, units, traces, workers)
        for number, verdict in enumerate(verdicts, start=1):
            self.verdicts.append(verdict)
            if not verdict.killer:
                _say(f"{number}/{len(mutants)} survived: {verdict.mutant.name}")
        self.seconds = time.perf_counter() - began

    def summary(self) -> dict[str, Any]:
        """What is written down and compared with the table of survivors."""
        survived = {one.mutant.name for one in self.verdicts if not one.killer}
        slow = sorted(self.verdicts, key=lambda one: -one.seconds)[:20]
        return {
            "seconds": round(self.seconds),
            "mutants": len(self.verdicts),
            "killed": sum(1 for one in self.verdicts if one.killer),
            "broken": self.broken,
            "survivors": [one.name for one in self.target.mutants() if one.name in survived],
            "slowest": [
                {"mutant": one.mutant.name, "seconds": round(one.seconds, 1), "killer": one.killer}
                for one in slow
            ],
        }


class _Plugin:
    """Lets pytest collect as always, then judges mutants instead of running the tests."""

    def __init__(self, run: Run, mutants: Sequence[Mutant], workers: int) -> None:
        self._run = run
        self._mutants = mutants
        self._workers = workers

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Judge by all cases and by what was collected."""
        # A file that was read says the same again.
        vars(reader)["load"] = functools.cache(load)
        units = [*case_units(self._run.target.cases), *test_units(session.items)]
        self._run.judge(self._mutants, units, self._workers)
        return True


def judge_by_tests(
    target: Target, mutants: Sequence[Mutant], workers: int, tests: Sequence[str]
) -> Run:
    """Judge these mutants by all of the target's cases and by these tests.

    Raises: RuntimeError when pytest cannot collect them.
    """
    run = Run(target)
    # Hypothesis is imported by now; nobody reads why an assertion of its own failed.
    rewriting = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
    arguments = ["-n0", "-q", "--capture=no", "-p", "no:cacheprovider", *rewriting]
    arguments += [*(f"--deselect={one}" for one in target.left_out), *tests]
    code = pytest.main(arguments, plugins=[_Plugin(run, mutants, workers)])
    if code != 0:
        raise RuntimeError(f"pytest could not collect the tests: {code}")
    return run


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's output


def main() -> None:
    """Judge all mutants, or those whose names contain a word, and write the summary."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--target", choices=TARGETS, default="claims")
    parser.add_argument("words", nargs="*", help="only mutants whose names contain one of these")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cases", help="judge by the cases of this file alone")
    parser.add_argument("--tests", nargs="+", help="judge by all cases and these")
    parser.add_argument("--again", type=Path, help="only the survivors of this summary")
    parser.add_argument("--summary", type=Path)
    given = parser.parse_args()
    target = TARGETS[given.target]
    again = json.loads(given.again.read_text(encoding="utf-8"))["survivors"] if given.again else ()
    chosen = [
        one
        for one in target.mutants()
        if (not given.words or any(word in one.name for word in given.words))
        and (not given.again or one.name in again)
    ]
    if given.cases:
        run = Run(target)
        run.judge(chosen, list(case_units((CASES / f"{given.cases}.yaml",))), given.workers)
    else:
        run = judge_by_tests(target, chosen, given.workers, given.tests or target.tests)
    summary = run.summary()
    written = given.summary or target.summary
    written.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    written.write_text(text + "\n", encoding="utf-8")
    _say(str({key: summary[key] for key in ("seconds", "mutants", "killed", "broken")}))


if __name__ == "__main__":
    main()
