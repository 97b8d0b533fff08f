"""Which tariff, features and programme a quote rests on, or every reason why it cannot be made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import grpc

from services.common.grpc_edge import Refused, Violation, invalid
from services.pricing.core.banned import Ban
from services.pricing.core.book import Book, TariffNotInForce, UnknownTariff, is_tariff_name
from services.pricing.core.features import (
    NOT_PRICED,
    FeatureFault,
    Features,
    outcome_features,
    read,
)
from services.pricing.core.incentive import LegalCap
from services.pricing.core.programme import Programme, Programmes, UnknownProgramme
from services.pricing.core.quote import Asked
from services.pricing.core.rates import Rates
from services.pricing.core.sum_insured import sum_feature
from services.pricing.requests import MAX_FEATURES, Part, day_of, part_of

# The status travels in a header; loaded versions beyond this many are left to the operator.
_LISTED_VERSIONS = 10
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}", re.ASCII)
CONDITION = "condition"

NOT_IN_FORCE = "NOT_IN_FORCE"
NOT_IN_PROGRAMME = "NOT_IN_PROGRAMME"
NO_SUM_INSURED = "NO_SUM_INSURED"
NO_SUCH_TARIFF = "NO_SUCH_TARIFF"
NO_SUCH_PROGRAMME = "NO_SUCH_PROGRAMME"
# Faults of a request that is well formed, but for which this tariff has no price.
_NO_PRICE = frozenset({NOT_PRICED, NOT_IN_FORCE, NOT_IN_PROGRAMME, NO_SUM_INSURED})


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the service prices and judges by: tariffs, programmes, what the law bounds and bans.

    `backfill`: whether typed readings may state when they were received.
    """

    book: Book
    programmes: Programmes
    cap: LegalCap | None = None
    backfill: bool = False
    bans: tuple[Ban, ...] = ()


@dataclass(frozen=True, slots=True)
class Ground:
    """What one quote rests on; `part` and `programme` are there with a participation only."""

    rates: Rates
    features: Features
    part: Part | None
    programme: Programme | None


def judged(shelf: Shelf, asked: Asked, violations: list[Violation]) -> Ground:
    """The tariff, the features that it can price, and the programme that takes the person.

    Raises: Refused with every violation of the request, these and those found here.
    """
    found = list(violations)
    part, programme = None, None
    if asked.participation is not None:
        part, faults = part_of(asked.participation, asked.start_date, "start_date")
        found += faults
        programme = named_programme(shelf, asked.participation.programme, found)
    rates = _rates(shelf, asked, found)
    features = Features((), ())
    if rates is not None and len(asked.features) <= MAX_FEATURES:
        features = read(rates.tariff.features, asked.features)
        found += [_violation(fault) for fault in features.faults]
        if asked.participation is not None:
            found += _from_readings(rates, asked)
        if programme is not None and not any(f.feature == CONDITION for f in features.faults):
            found += _not_in_programme(programme, asked)
        if programme is not None:
            found += _no_sum_insured(programme, rates, asked)
    if found or rates is None:
        raise refusal(shelf, found)
    if asked.participation is not None and shelf.cap is None:
        raise Refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            "NO_LEGAL_CAP",
            "no legal cap for credits is set; have the operator set LIPEI_PRICING_CREDIT_CAP and "
            "LIPEI_PRICING_CREDIT_CAP_SOURCE, or ask without participation",
        )
    return Ground(rates, features, part, programme)


def named_programme(shelf: Shelf, name: str, violations: list[Violation]) -> Programme | None:
    """The programme of a name; a well-formed name that is not loaded is a violation."""
    if not is_tariff_name(name):
        return None
    try:
        return shelf.programmes.named(name)
    except UnknownProgramme:
        text = "no such programme is loaded"
        violations.append(Violation("participation.programme", NO_SUCH_PROGRAMME, text))
        return None


def refusal(shelf: Shelf, violations: list[Violation]) -> Refused:
    """What these violations are answered with: a thing not found, no price, or a bad request."""
    reasons = {violation.reason for violation in violations}
    if NO_SUCH_TARIFF in reasons and reasons <= {NO_SUCH_TARIFF, NO_SUCH_PROGRAMME}:
        return _no_such("tariff", [rates.version for rates in shelf.book.versions()])
    if reasons == {NO_SUCH_PROGRAMME}:
        return _no_such("programme", list(shelf.programmes.versions()))
    if not reasons <= _NO_PRICE:
        return invalid(violations)
    return Refused(
        grpc.StatusCode.FAILED_PRECONDITION,
        "NO_PRICE",
        "; ".join(f"{v.field}: {v.text}" for v in violations),
        violations=violations,
    )


def _rates(shelf: Shelf, asked: Asked, violations: list[Violation]) -> Rates | None:
    if not is_tariff_name(asked.tariff):
        return None
    day = day_of(asked.start_date)
    try:
        # Without a readable day any version serves to judge the features by.
        return shelf.book.on(asked.tariff, day) if day else _any(shelf.book, asked.tariff)
    except UnknownTariff:
        violations.append(Violation("tariff", NO_SUCH_TARIFF, "no such tariff is loaded"))
        return None
    except TariffNotInForce as out:
        violations.append(Violation("start_date", NOT_IN_FORCE, str(out)))
        return _any(shelf.book, asked.tariff)


def _any(book: Book, name: str) -> Rates:
    for rates in reversed(book.versions()):
        if name in (rates.tariff.id, rates.version):
            return rates
    raise UnknownTariff(name)


def _from_readings(rates: Rates, asked: Asked) -> Iterable[Violation]:
    """The outcome layer and the incentive would reward the same control of the disease twice."""
    for name in sorted(outcome_features(rates.tariff) & asked.features.keys()):
        text = "the programme's readings stand for it; leave it out"
        yield Violation(f'features["{name}"]', "OUTCOME_FROM_READINGS", text)


def _not_in_programme(programme: Programme, asked: Asked) -> Iterable[Violation]:
    said = asked.features.get(CONDITION)
    known = ", ".join(programme.conditions)
    field = f'features["{CONDITION}"]'
    if said is None:
        text = f"the programme needs the diagnosis, one of {known}"
        yield Violation(field, "MISSING_FEATURE", text)
    elif said not in programme.conditions:
        yield Violation(field, NOT_IN_PROGRAMME, f"the programme is for {known} only")


def _no_sum_insured(programme: Programme, rates: Rates, asked: Asked) -> Iterable[Violation]:
    """What a credit as sum insured needs: a tariff that prices the sum, and the sum itself."""
    day = day_of(asked.start_date)
    terms = programme.credit_as_on(day) if day else None
    if terms is None or not terms.is_sum_insured:
        return
    if sum_feature(rates.tariff, terms) is None:
        text = "gives credits as sum insured, which this tariff does not price; ask another tariff"
        yield Violation("participation.programme", NO_SUM_INSURED, text)
    elif terms.feature not in asked.features:
        text = "the programme raises this sum by the credit; give what is asked for"
        yield Violation(f'features["{terms.feature}"]', "MISSING_FEATURE", text)


def _violation(fault: FeatureFault) -> Violation:
    if not fault.feature:
        return Violation("features", fault.reason, fault.text)
    # A caller may put anything into a key, also a name: only what looks like one of ours goes back.
    key = fault.feature if _KEY.fullmatch(fault.feature) else "?"
    return Violation(f'features["{key}"]', fault.reason, fault.text)


def _no_such(what: str, versions: list[str]) -> Refused:
    return Refused(
        grpc.StatusCode.NOT_FOUND,
        f"NO_SUCH_{what.upper()}",
        f"no such {what} is loaded; the metadata lists those that are",
        metadata={"loaded": " ".join(versions[:_LISTED_VERSIONS])},
    )
