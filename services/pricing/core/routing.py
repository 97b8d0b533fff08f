"""Which quotes a challenger prices: by a hash, so that the same policy always gets the same arm."""

from __future__ import annotations

import enum
import hashlib

from services.pricing.core.features import outcome_features
from services.pricing.core.tariff import MILLION, Tariff


class Arm(enum.StrEnum):
    """Which of two tariffs priced a quote; the names of lipei.pricing.v1.QuoteArm."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


def arm_of(policy_id: str, salt: str, share_millionths: int) -> Arm:
    """The arm of a policy, by the first 8 bytes of SHA-256 over salt, line feed and policy.

    A greater share takes policies in and lets none go; another salt draws anew.

    >>> arm_of("p-1", "2027", 0), arm_of("p-1", "2027", 1_000_000)
    (<Arm.CHAMPION: 'champion'>, <Arm.CHALLENGER: 'challenger'>)
    """
    digest = hashlib.sha256(f"{salt}\n{policy_id}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") * MILLION >> 64
    return Arm.CHALLENGER if place < share_millionths else Arm.CHAMPION


def comparable(champion: Tariff, challenger: Tariff) -> bool:
    """Whether both ask for the same features, price one currency, and take the same outcomes.

    Otherwise a person whom the one can price might be refused by the other, and the arms would
    differ by who is in them.
    """
    return (
        champion.features == challenger.features
        and champion.currency == challenger.currency
        and outcome_features(champion) == outcome_features(challenger)
    )
