"""What a renewal's request must look like beside a quote's, and what a tariff says against it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import msgspec

from lipei.pricing.v1 import pricing_pb2 as pb
from services.common.grpc_edge import Violation
from services.pricing.core.balance import LEAST_BILLIONTHS, MOST_BILLIONTHS
from services.pricing.core.incentive import LegalCap
from services.pricing.core.programme import Programme
from services.pricing.core.quote import Asked
from services.pricing.core.renewal import (
    MOST_EXPIRING_MINOR,
    BookFactor,
    Expiring,
    collar_of,
    wider_than_own,
)
from services.pricing.core.tariff import MILLION, Basis, Collar, Tariff
from services.pricing.requests import asked_of, day_of

# As `renewal.collar` in pricing.yaml.
_LEAST, _GREATEST = 10_000, 9 * MILLION
_LONGEST_SOURCE = 200
_PREMIUM = "expiring.rerated_premium_without_credit"


def renewal_asked_of(request: pb.RenewPolicyRequest) -> tuple[Asked, list[Violation]]:
    """What a renewal was asked for, word for word, and what is wrong with it but the features."""
    asked, violations = asked_of(request)
    money = request.expiring.rerated_premium_without_credit
    last, start = day_of(request.expiring.last_date), day_of(request.start_date)
    if last is None:
        text = "must be a day of the calendar as YYYY-MM-DD"
        violations.append(Violation("expiring.last_date", "BAD_DATE", text))
    elif start is not None and start <= last:
        text = "must lie after expiring.last_date: a renewal begins where the cover has ended"
        violations.append(Violation("start_date", "BEFORE_EXPIRY", text))
    if not 1 <= money.minor_units <= MOST_EXPIRING_MINOR:
        text = f"must be whole minor units from 1 to {MOST_EXPIRING_MINOR}"
        violations.append(Violation(f"{_PREMIUM}.minor_units", "AMOUNT", text))
    expiring = Expiring(
        last_date=request.expiring.last_date,
        uncredited_minor=money.minor_units,
        currency=money.currency_code,
        factor=_factor(request, violations),
        collar=_collar(request, violations),
    )
    return msgspec.structs.replace(asked, expiring=expiring), violations


def _factor(request: pb.RenewPolicyRequest, violations: list[Violation]) -> BookFactor | None:
    if not request.HasField("off_balance"):
        return None
    said = request.off_balance
    if not LEAST_BILLIONTHS <= said.factor_billionths <= MOST_BILLIONTHS:
        text = f"must be {LEAST_BILLIONTHS} to {MOST_BILLIONTHS}, as a book's renewal finds it"
        violations.append(Violation("off_balance.factor_billionths", "OUT_OF_RANGE", text))
    _source(said.source, "off_balance.source", violations)
    return BookFactor(said.factor_billionths, said.source)


def _collar(request: pb.RenewPolicyRequest, violations: list[Violation]) -> Collar | None:
    if not request.HasField("collar"):
        return None
    said = request.collar
    bounds = (
        ("least_millionths", said.least_millionths, _LEAST, MILLION),
        ("greatest_millionths", said.greatest_millionths, MILLION, _GREATEST),
    )
    for field, value, least, most in bounds:
        if not least <= value <= most:
            text = f"must be {least} to {most}"
            violations.append(Violation(f"collar.{field}", "OUT_OF_RANGE", text))
    _source(said.source, "collar.source", violations)
    return Collar(
        least_millionths=said.least_millionths,
        greatest_millionths=said.greatest_millionths,
        source=said.source,
    )


def _source(text: str, field: str, violations: list[Violation]) -> None:
    if not (text.strip() and text.isprintable() and len(text) <= _LONGEST_SOURCE):
        said = f"must be given: 1 to {_LONGEST_SOURCE} characters on one line"
        violations.append(Violation(field, "LENGTH", said))


def renewal_faults(
    expiring: Expiring, tariff: Tariff, programme: Programme | None, start: date | None
) -> Iterable[Violation]:
    """What the tariff and the programme have against a renewal of this policy."""
    if expiring.currency != tariff.currency:
        text = f"must be the tariff's currency, {tariff.currency}; rerate the expiring premium"
        yield Violation(f"{_PREMIUM}.currency_code", "CURRENCY_DIFFERS", text)
    if collar_of(expiring.collar, tariff) is None:
        yield Violation("collar", "NO_COLLAR", "must be given: the tariff states none; no default")
    if wider_than_own(expiring.collar, tariff):
        text = "is wider than the tariff's own, which its approval rests on"
        yield Violation("collar", "WIDER_THAN_TARIFF", text)
    terms = None if programme is None or start is None else programme.credit_as_on(start)
    if terms is not None and terms.is_sum_insured:
        text = "gives credits as sum insured, which no collar holds; ask QuotePremium"
        yield Violation("participation.programme", "CREDIT_AS_SUM_INSURED", text)


def renewal_cap(cap: LegalCap | None, tariff: Tariff) -> LegalCap | None:
    """The lower of the law's bound and the tariff's own, as in the renewal of a book."""
    if cap is None or not isinstance(tariff.basis, Basis):
        return cap
    own = tariff.basis.credit_cap
    return (
        cap
        if cap.share_millionths <= own.share_millionths
        else LegalCap(own.share_millionths, own.source)
    )
