"""The packages whose mutants are judged, and by what: docs/decisions/008."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.fault.mutants import Mutant, mutants_of
from tests.services.claims.core.bills import CASES

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One package: its mutants, the cases and tests that judge them, and how many must be killed.

    `apart` are modules that nothing here can judge, `left_out` tests that take too long.
    """

    name: str
    package: str
    tests: tuple[str, ...]
    least: int
    least_killed: float
    cases: tuple[Path, ...] = ()
    apart: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the package's modules stand."""
        return ROOT.joinpath(*self.package.split("."))

    @property
    def survivors(self) -> Path:
        """The table of what may survive, and why."""
        return ROOT / "tests" / "fault" / f"survivors-{self.name}.yaml"

    @property
    def summary(self) -> Path:
        """Where a run writes what it found."""
        return ROOT / "build" / "fault" / f"mutants-{self.name}.json"

    def mutants(self) -> tuple[Mutant, ...]:
        """Every mutant of every function of the package, in the order of its files."""
        return _mutants(self)


def _files(target: Target) -> list[Path]:
    return [
        path
        for path in sorted(target.folder.glob("*.py"))
        if path.stem not in ("__init__", *target.apart)
    ]


@cache
def _mutants(target: Target) -> tuple[Mutant, ...]:
    return tuple(
        mutant
        for path in _files(target)
        for mutant in mutants_of(path, f"{target.package}.{path.stem}")
    )


# As long as all others together, and drawn plans meet what the examples' do.
_LONGEST = (
    "tests/services/claims/core/test_properties.py"
    "::test_whatever_the_plan_every_fen_has_one_bearer_and_one_reason_and_every_term_is_met"
)
# Goes over every decision of every case again, to see it explained.
_EXPLAINED = (
    "tests/services/claims/core/test_explanation.py"
    "::test_every_decision_of_the_cases_is_explained_to_the_fen"
)
CLAIMS = Target(
    name="claims",
    package="services.claims.core",
    tests=("tests/services/claims/core",),  # these read no server and no database
    least=1_500,
    least_killed=0.9,
    cases=tuple(sorted(CASES.glob("*.yaml"))),
    left_out=(_LONGEST, _EXPLAINED),
)
PRICING = Target(
    name="pricing",
    package="services.pricing.core",
    tests=(
        "tests/services/pricing/core",
        "tests/services/pricing/programmes",
        "tests/services/pricing/tariffs",
    ),
    least=500,
    least_killed=0.9,
)
TARGETS = {one.name: one for one in (CLAIMS, PRICING)}
