"""Windows of outcome features, held to the study on which the relativities were fitted.

A quote makes u with the tariff's Z and m0. If they were not the study's, u would stand in other
bands than the same person's did in the fit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.pricing.core.checks import Fault
from services.pricing.core.tariff import MILLION, written
from services.pricing.fitting.models.fit_result import Fit
from services.pricing.fitting.selection.settings import Window

# How far a stated Z may lie outside those of the study's strata, for it may be rounded.
_Z_TOLERANCE = 0.02


def filled(
    windows: Mapping[str, Window], strata: Sequence[Mapping[str, Any]], fit: Fit
) -> tuple[dict[str, Window], list[Fault]]:
    """The windows with Z and m0 where they were left out, and what disagrees with the study.

    `strata` are those of study/study.json: outcome, condition, m0, z, person_months. A tariff has
    one m0 and one Z for a feature: the means over the strata, weighted by their months.
    """
    places = {f.name: f.places for f in fit.features if hasattr(f, "places")}
    found: dict[str, Window] = {}
    faults: list[Fault] = []
    for name, window in windows.items():
        mine = [one for one in strata if one["outcome"] == f"u_{name}"]
        found[name] = window
        if not mine or name not in places:
            continue
        faults += _disagreements(name, window, mine, places[name])
        if window.credibility is None or not window.stratum_mean:
            steps = round(_mean(mine, "m0") * 10 ** places[name])
            found[name] = dataclasses.replace(
                window,
                credibility=window.credibility or round(_mean(mine, "z") * MILLION),
                stratum_mean=window.stratum_mean or written(steps, places[name]),
            )
    return found, faults


def _mean(strata: Sequence[Mapping[str, Any]], name: str) -> float:
    months = sum(float(one["person_months"]) for one in strata)
    return sum(float(one[name]) * float(one["person_months"]) for one in strata) / months


def _disagreements(
    name: str, window: Window, strata: Sequence[Mapping[str, Any]], places: int
) -> Iterator[Fault]:
    path = f"tariff.windows.{name}"
    text = "the relativities were fitted on the study's, {0:g} to {1:g}; leave it out to take them"
    if window.stratum_mean:
        least, most = (bound(float(one["m0"]) for one in strata) for bound in (min, max))
        step = 10.0**-places
        if not least - step <= float(window.stratum_mean) <= most + step:
            yield Fault(f"{path}.stratum_mean", "NOT_THE_STUDYS", text.format(least, most))
    if window.credibility is not None:
        least, most = (bound(float(one["z"]) for one in strata) for bound in (min, max))
        stated = window.credibility / MILLION
        if not least - _Z_TOLERANCE <= stated <= most + _Z_TOLERANCE:
            yield Fault(f"{path}.credibility", "NOT_THE_STUDYS", text.format(least, most))
