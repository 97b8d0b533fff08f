"""Claims of the simulated book, without its readings, against the truth they were drawn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.pricing.fitting.models.design import Category, Design, Floats, Number
from services.pricing.fitting.models.regression import regress
from services.pricing.fitting.simulated.calendar import month_starts
from services.pricing.fitting.simulated.events import claims_and_expected
from services.pricing.fitting.simulated.paths import paths
from services.pricing.fitting.simulated.population import people, policies
from services.pricing.fitting.simulated.truth import CAUSES, CENTRE_AGE, CONDITIONS, REGIONS, truth

PEOPLE = 10_000
YEAR = 365.25
# The purposes that simulated.book draws apart, in its order.
_STREAMS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """One coefficient of a covariate that is known without error, with what it truly is."""

    cause: str
    name: str
    off: float
    se_naive: float
    se_clustered: float

    def covered(self, error: float) -> bool:
        """Whether the 95 % interval of this error holds the truth."""
        return abs(self.off) < 1.959964 * error


def recovered(seed: int) -> Iterator[Recovered]:
    """Frequency of each cause on age, sex, coinsurance and region, of one book."""
    given = truth()
    streams = np.random.SeedSequence((seed, 0)).spawn(_STREAMS)
    rng = [np.random.Generator(np.random.PCG64(stream)) for stream in streams]
    who = people(given, PEOPLE, rng[0])
    covered = policies(given, who)
    path = paths(given, who, month_starts(given.after_day), rng[1])
    claims, expected = claims_and_expected(given, who, covered, path, rng[4])
    observed = np.flatnonzero(expected.days > 0)
    person = covered.person[observed]
    middle = covered.entry_day[observed] + expected.days[observed] / 2
    design = Design(
        terms=(
            Number(name="age_10y", values=((middle - who.birth[person]) / YEAR - CENTRE_AGE) / 10),
            Number(name="female", values=who.female[person].astype(np.float64)),
            Number(
                name="ln_coinsurance",
                values=np.log1p(who.coinsurance[person].astype(np.float64)),
            ),
            Category(name="region", levels=REGIONS, codes=who.region[person].astype(np.int32)),
            # It stands for the true HbA1c and blood pressure too, which nobody knows.
            Category(
                name="condition", levels=CONDITIONS, codes=who.condition[person].astype(np.int32)
            ),
        ),
        size=len(observed),
    )
    for place, cause in enumerate(CAUSES):
        of_cause = claims.policy[claims.cause == place]
        counts = np.bincount(of_cause, minlength=len(expected.days))[observed].astype(np.float64)
        years: Floats = expected.days[observed] / YEAR
        model = regress("poisson", design, counts, years, person, where=cause).model
        own = given.frequency[cause]
        known = {"age_10y": own.age_10y, "female": own.female, "ln_coinsurance": own.ln_coinsurance}
        known |= {f"region{name}": effect for name, effect in own.region.items()}
        for one in model.coefficients:
            true = known.get(f"{one.name}{one.level}")
            if true is not None:
                yield Recovered(
                    cause=cause,
                    name=f"{one.name}{one.level}",
                    off=one.estimate - true,
                    se_naive=one.se_naive,
                    se_clustered=one.se_clustered,
                )
