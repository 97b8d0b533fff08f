"""Claims of the simulated book and who joins a programme, without readings, as a study gives it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from services.pricing.fitting.experience.splitting import DAYS_A_YEAR, attach_claims, split
from services.pricing.fitting.experience.tables import open_frames
from services.pricing.fitting.simulated import book
from services.pricing.fitting.simulated.calendar import month_starts
from services.pricing.fitting.simulated.events import claims_and_expected
from services.pricing.fitting.simulated.paths import paths
from services.pricing.fitting.simulated.population import people, policies
from services.pricing.fitting.simulated.truth import CAUSES, truth
from tests.services.pricing.fitting.books import BOOK

PEOPLE = 10_000
FIRST, AFTER = date(2023, 1, 1), date(2026, 1, 1)
# The purposes that simulated.book draws apart, in its order.
_STREAMS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """The frames that an evaluation reads."""

    experience: pd.DataFrame
    claims: pd.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Tables of a book before its study; `enrolments` may be replaced."""

    people: pd.DataFrame
    policies: pd.DataFrame
    claims: pd.DataFrame
    enrolments: pd.DataFrame


def made(seed: int, effect: float, size: int = PEOPLE) -> Made:
    """A book whose programmes have this rate ratio on inpatient and outpatient care."""
    given = truth(effect)
    streams = np.random.SeedSequence((seed, 0)).spawn(_STREAMS)
    rng = [np.random.Generator(np.random.PCG64(stream)) for stream in streams]
    who = people(given, size, rng[0])
    covered = policies(given, who)
    path = paths(given, who, month_starts(given.after_day), rng[1])
    claims, _ = claims_and_expected(given, who, covered, path, rng[4])
    return Made(
        people=book._people(who, 0).to_pandas(),
        policies=book._policies(given, who, covered, 0, 0).to_pandas(),
        claims=book._claims(claims, covered, 0, 0, 0).to_pandas(),
        enrolments=book._enrolments(given, who, path, 0).to_pandas(),
    )


def studied(given: Made) -> Joining:
    """Segments and claims as the study cuts and attaches them; cover and delay are left as 1."""
    con = open_frames(
        {
            "people": given.people,
            "policies": given.policies,
            "claims": given.claims,
            "enrolments": given.enrolments,
        },
        BOOK,
    )
    split(con, FIRST, AFTER, factors=[], window_months=12)
    attach_claims(con, AFTER)
    experience = con.sql("SELECT * FROM segments ORDER BY segment_id").df()
    claims = con.sql(
        "SELECT * FROM attached WHERE segment_id IS NOT NULL ORDER BY segment_id, claim_id"
    ).df()
    con.close()
    experience["exposure"] = experience["exposure_days"] / DAYS_A_YEAR
    claims["zero"] = claims["amount_minor"] == 0
    claims["loss_minor"] = claims["amount_minor"].astype(np.float64)
    for cause in CAUSES:
        mine = claims.loc[(claims["cause"] == cause) & ~claims["zero"], "segment_id"]
        experience[f"claims_{cause}"] = np.bincount(mine, minlength=len(experience))
        experience[f"frequency_offset_{cause}"] = 1.0
    return Joining(experience=experience, claims=claims)
