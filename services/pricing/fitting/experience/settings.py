"""Section `study` of pricing.yaml: what experience is brought to, each input with its source."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

from services.pricing.fitting.section import Section, SectionKind

# The template's, and nobody's experience.
SIMULATED_TREND = "declared assumption of the simulated book"
SIMULATED_RATES = f"""\
    yearly:
      inpatient: {{2000-01-01: '0.06'}}
      outpatient: {{2000-01-01: '0.06'}}
      injury: {{2000-01-01: '0.06'}}
    source: {SIMULATED_TREND}"""
OPEN_RATES = """\
    # yearly:                  # none is applied until you give yours, and say where it is from
    #   inpatient: {2024-01-01: '0.05', 2025-01-01: '0.04'}
    # source: medical inflation report 2025"""
TEMPLATE = f"""\
study:
  first_day: 2023-01-01        # experience is studied from here to before after_day
  after_day: 2026-01-01
  # Yearly trend of the amount of a claim, by cause, dated by the day of the event, with its source.
  # For a book of your own give yours, or take `yearly` and `source` out: no trend is then applied.
  trend:
    to_day: 2026-07-01         # amounts are brought to the level of this day
{SIMULATED_RATES}
  # Share of claims (and of amounts) reported so many whole quarters after the quarter of the event.
  # `triangle` takes the book's own chain ladder; given factors are printed beside that estimate.
  development: triangle
  # development:
  #   inpatient: {{counts: ['0.62', '0.93', '0.99', '1'], amounts: ['0.62', '0.93', '0.99', '1']}}
  #   source: reserving report 2025-12-31
  # Above it a claim's amount goes to the large-loss load. The template's lie below where the tail
  # of the simulated book begins, 10 times the mean claim: higher ones leave amounts to the models
  # that no Gamma holds (`fit`: dispersion of amounts), lower ones charge everybody alike.
  large_loss_minor:
    inpatient: 5000000
    outpatient: 200000
    injury: 2000000
  large_loss_tried_minor: [200000, 500000, 1000000, 2000000, 5000000, 10000000, 20000000]
  reference_deductible_minor: 0  # claims are brought to this cover by the loss-elimination table
  outcome:
    reading_window_months: 12  # how often u is renewed inside a policy year: 12, 6, 4, 3 ...
    # m0, the frozen mean of non-participants; what is not given is estimated and printed.
    # m0: {{u_hba1c_percent: {{type2_diabetes: '8.32', both: '8.41'}}}}
  holdout:
    last_year: true            # the last calendar year of the study
    person_share: '0.10'       # of the people, by a hash of their id
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Development:
    """Shares reported after 0, 1, 2 ... whole quarters, last 1, of one cause."""

    counts: tuple[float, ...]
    amounts: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySettings:
    """What `lipei pricing study` brings the experience to."""

    first_day: date
    after_day: date
    trend_to_day: date
    trend: Mapping[str, tuple[tuple[date, float], ...]]  # by cause, from each day on
    trend_source: str
    development: Mapping[str, Development]  # empty: the triangle's own
    development_source: str
    large_loss_minor: Mapping[str, int]
    large_loss_tried_minor: tuple[int, ...]
    reference_deductible_minor: int
    reading_window_months: int
    m0: Mapping[tuple[str, str], float]  # by outcome and condition, where frozen before
    holdout_last_year: bool
    holdout_person_share: float


def read_study(section: Section) -> StudySettings:
    """The settings of the section; its faults are noted there."""
    first_day = section.day("first_day", "2023-01-01")
    after_day = section.day("after_day", "2026-01-01")
    if first_day >= after_day:
        section.fault("after_day", "DAYS", "must lie after first_day")
    trend = section.section("trend")
    yearly = trend.section("yearly")
    causes = yearly.names()
    large = section.section("large_loss_minor")
    development, source = _development(section)
    holdout = section.section("holdout")
    outcome = section.section("outcome")
    months = outcome.whole("reading_window_months", 12, least=1, most=12)
    if 12 % months:
        outcome.fault("reading_window_months", "WINDOW", "must divide 12: 1, 2, 3, 4, 6 or 12")
    found = StudySettings(
        first_day=first_day,
        after_day=after_day,
        trend_to_day=trend.day("to_day", "2026-07-01"),
        trend={cause: _dated(yearly.section(cause)) for cause in causes},
        trend_source=trend.text("source", required=bool(causes)),
        development=development,
        development_source=source,
        large_loss_minor={cause: large.whole(cause, 0, least=1) for cause in large.names()},
        large_loss_tried_minor=section.wholes(
            "large_loss_tried_minor", (1_000_000, 5_000_000, 20_000_000), least=1
        ),
        reference_deductible_minor=section.whole("reference_deductible_minor", 0),
        reading_window_months=months,
        m0=_frozen(outcome),
        holdout_last_year=holdout.flag("last_year", default=True),
        holdout_person_share=holdout.decimal("person_share", "0.10", most="0.5"),
    )
    trend.done()
    outcome.done()
    holdout.done()
    return found


def refuse_other_causes(section: Section, causes: Collection[str]) -> None:
    """Note every cause of the section that the book does not have.

    A misspelt one would leave claims without trend, cap or given development, and nobody told.
    """
    by_cause = [section.section("trend").section("yearly"), section.section("large_loss_minor")]
    if not section.is_text("development"):
        by_cause.append(section.section("development"))
    for below in by_cause:
        for cause in below.names():
            if cause not in (*causes, "source"):
                text = f"is no cause of book.causes ({', '.join(causes)}): mend it, or take it out"
                below.fault(cause, "UNKNOWN_CAUSE", text)


def _frozen(section: Section) -> dict[tuple[str, str], float]:
    below = section.section("m0")
    return {
        (outcome, condition): conditions.decimal(condition, "1", least="1", most="300")
        for outcome, conditions in below.sections()
        for condition in conditions.names()
    }


def _dated(section: Section) -> tuple[tuple[date, float], ...]:
    found = []
    for key in section.names():
        day = section.day_of(key, key)
        rate = section.decimal(key, "0", least="-0.5", most="1", required=True)
        if day is not None:
            found.append((day, rate))
    days = [day for day, _ in found]
    if days != sorted(set(days)):
        section.fault(section.names()[0], "DATES", "the days must ascend")
    return tuple(found)


def _development(section: Section) -> tuple[dict[str, Development], str]:
    if section.is_text("development"):
        section.choice("development", ("triangle",), "triangle")
        return {}, "the book's own chain ladder"
    below = section.section("development")
    source = below.text("source", required="development" in section)
    found = {}
    for cause, shares in below.sections(besides=("source",)):
        counts, amounts = shares.decimals("counts"), shares.decimals("amounts")
        for name, listed in (("counts", counts), ("amounts", amounts)):
            good = bool(listed) and listed[-1] == 1 and list(listed) == sorted(listed)
            if not good or listed[0] <= 0:
                text = "must rise from above 0 to 1, one share for each whole quarter of delay"
                shares.fault(name, "SHARES", text)
        found[cause] = Development(counts=counts, amounts=amounts)
        shares.done()
    return found, source or "the book's own chain ladder"


STUDY = SectionKind(settings=StudySettings, read=read_study, template=TEMPLATE)
