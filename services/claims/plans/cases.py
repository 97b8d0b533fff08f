"""Runs case files against a plan and says, in an actuary's words, where they differ.

A case is a sequence: each event starts from what the events before it used up. It stores nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.claims.core.plan import Plan
from services.claims.plans.case_reader import Case, read_cases
from services.claims.plans.case_run import Decided, run_case
from services.claims.plans.case_telling import decided


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case and every way in which the plan decides otherwise; none when it agrees.

    `told` is what the engine did in the events that differ.
    """

    name: str
    line: int
    differences: tuple[str, ...]
    made: tuple[Decided, ...]
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What running one case file gave."""

    source: str
    results: tuple[CaseResult, ...]

    @property
    def passed(self) -> bool:
        """Whether the plan decides every case as written."""
        return not any(result.differences for result in self.results)

    def lines(self) -> Iterator[str]:
        """The report as text: one line a case, its differences below it, and the count."""
        for result in self.results:
            yield f"{'differs' if result.differences else 'agrees '}  {result.name}"
            for difference in result.differences:
                yield f"    {self.source}:{result.line}: {difference}"
            yield from (f"    {line}" for line in result.told)
        wrong = sum(1 for result in self.results if result.differences)
        yield f"{len(self.results)} cases, {len(self.results) - wrong} agree, {wrong} differ"


def run_cases(plan: Plan, yaml: bytes | str, source: str) -> CaseReport:
    """Decide every event of every case under the plan and compare with what the file says.

    Raises: StrictYamlError with every fault of the case file.
    """
    cases = read_cases(plan, yaml, source)
    return CaseReport(source, tuple(_result(case) for case in cases))


def _result(case: Case) -> CaseResult:
    run = run_case(case)
    told = tuple(line for one in run.apart for line in decided(one))
    return CaseResult(case.name, case.line, run.differences, run.made, told)
