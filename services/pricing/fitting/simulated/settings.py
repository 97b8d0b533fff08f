"""Section `simulate` of pricing.yaml: size and chance of the book with known truth."""

from __future__ import annotations

from dataclasses import dataclass

from services.pricing.fitting.section import Section, SectionKind

TEMPLATE = """\
simulate:
  people: 200000
  seed: 1
  programme_effect: '1.00'     # true rate ratio of a programme on inpatient and outpatient; or 0.80
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateSettings:
    """What `lipei pricing simulate` makes; the truth of the book stands in simulated/truth.py."""

    people: int = 200_000
    seed: int = 1
    programme_effect: float = 1.0


def read_simulate(section: Section) -> SimulateSettings:
    """The settings of the section; its faults are noted there."""
    return SimulateSettings(
        people=section.whole("people", 200_000, least=1, most=5_000_000),
        seed=section.whole("seed", 1),
        programme_effect=section.decimal("programme_effect", "1.00", least="0.1", most="2"),
    )


SIMULATE = SectionKind(settings=SimulateSettings, read=read_simulate, template=TEMPLATE)
