"""The collar and the legal cap of a renewal: the tariff's own, or narrower ones of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.pricing.core.tariff import Basis, Collar, CreditCap, Tariff
from services.pricing.fitting.renewal.settings import RenewalSettings


class TermsRefused(ValueError):
    """No collar is stated anywhere, or the settings go beyond the tariff; `faults` say it all."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(faults))


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What binds every policy of the book; without a cap no credit is given."""

    collar: Collar
    cap: CreditCap | None


def terms_of(settings: RenewalSettings, tariff: Tariff) -> Terms:
    """What is stated in the settings, and else in the tariff, whose gates judged it.

    Raises: TermsRefused.
    """
    basis = tariff.basis if isinstance(tariff.basis, Basis) else None
    faults = []
    collar, cap = settings.collar, settings.cap
    if collar is None:
        collar = basis.collar if basis else None
    elif basis and _wider(collar, basis.collar):
        faults.append("renewal.collar: is wider than the tariff's own, which its approval rests on")
    if cap is None:
        cap = basis.credit_cap if basis else None
    elif basis and cap.share_millionths > basis.credit_cap.share_millionths:
        faults.append("renewal.credit_cap: is above the tariff's own, which its approval rests on")
    if collar is None:
        faults.append("renewal.collar: must be given, for the tariff states none; no default")
    if faults or collar is None:
        raise TermsRefused(faults)
    return Terms(collar=collar, cap=cap)


def _wider(one: Collar, other: Collar) -> bool:
    return (
        one.least_millionths < other.least_millionths
        or one.greatest_millionths > other.greatest_millionths
    )
