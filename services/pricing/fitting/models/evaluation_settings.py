"""Section `evaluate` of pricing.yaml: which claims a programme may affect, and which it cannot."""

from __future__ import annotations

from dataclasses import dataclass

from services.pricing.fitting.dictionary import CONDITIONS
from services.pricing.fitting.section import Section, SectionKind

TEMPLATE = """\
evaluate:                      # what a health programme does to claims
  affects: [inpatient, outpatient]  # causes that it may affect
  controls: [injury]           # causes that it cannot affect: they must show no effect
  conditions: [hypertension, type2_diabetes, both]  # whose time is looked at: who may join
  # Months before joining that are kept apart: they must be as the months before them. Where claims
  # lead to joining they are not, and the estimate is not to be believed.
  months_before: 6
  false_alarm: '0.05'          # the chance that a check fails though nothing is wrong, all together
  least_joiners: 100           # with fewer nothing is said
  least_claims: 10             # of a cause before joining, and as many since; else the same
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """What `lipei pricing evaluate` looks at, and when it says that it is not to be believed."""

    affects: tuple[str, ...] = ("inpatient", "outpatient")
    controls: tuple[str, ...] = ("injury",)
    conditions: tuple[str, ...] = CONDITIONS[1:]
    months_before: int = 6
    false_alarm: float = 0.05
    least_joiners: int = 100
    least_claims: int = 10


def read_evaluate(section: Section) -> EvaluateSettings:
    """The settings of the section; its faults are noted there."""
    plain = EvaluateSettings()
    found = EvaluateSettings(
        affects=section.texts("affects", plain.affects),
        controls=section.texts("controls", plain.controls),
        conditions=section.texts("conditions", plain.conditions),
        months_before=section.whole("months_before", 6, least=1, most=24),
        false_alarm=section.decimal("false_alarm", "0.05", least="0.001", most="0.2"),
        least_joiners=section.whole("least_joiners", 100, least=20),
        least_claims=section.whole("least_claims", 10, least=5),
    )
    if not found.affects:
        section.fault("affects", "NO_CAUSE", "name at least one cause that a programme may affect")
    if not found.controls:
        text = "name a cause that no programme can affect: without one nobody sees who joins"
        section.fault("controls", "NO_CONTROL", text)
    for cause in sorted({*found.affects} & {*found.controls}):
        text = f"{cause} is among `affects` too: a cause is affected or it is a control"
        section.fault("controls", "AFFECTED_CONTROL", text)
    for word in found.conditions:
        if word not in CONDITIONS or word == "none":
            text = f"{word} is no condition of the book; they are {', '.join(CONDITIONS[1:])}"
            section.fault("conditions", "UNKNOWN_CONDITION", text)
    return found


EVALUATE = SectionKind(settings=EvaluateSettings, read=read_evaluate, template=TEMPLATE)
