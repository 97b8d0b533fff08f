"""Factors that the law keeps out of a price, as dated data. Knows no file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date

import msgspec

from services.pricing.core.fault import Fault
from services.pricing.core.tariff import CategoryFeature, Tariff

_WORD = re.compile(r"[a-z0-9]+")


class Ban(msgspec.Struct, frozen=True, kw_only=True):
    """One banned factor: where, from when to when (both days inside), by which law.

    `words` are matched against the words of a feature's name and English title, `phrases` against
    its Chinese titles, levels included. A list of words finds what is named openly, no proxy.
    """

    name: str
    jurisdiction: str
    first: date
    last: date | None
    words: tuple[str, ...]
    phrases: tuple[str, ...]
    source: str


def banned_faults(tariff: Tariff, jurisdiction: str, bans: Sequence[Ban]) -> Iterator[Fault]:
    """Each feature that is banned where the tariff is used on any day on which it is valid.

    A ban for CN holds in CN-44 too.
    """
    for index, feature in enumerate(tariff.features):
        english = f"{feature.name} {feature.en}"
        chinese = feature.zh
        if isinstance(feature, CategoryFeature):
            english += "".join(f" {level.name} {level.en}" for level in feature.levels)
            chinese += "".join(f" {level.zh}" for level in feature.levels)
        words = set(_WORD.findall(english.lower()))
        for ban in bans:
            here = jurisdiction == ban.jurisdiction or jurisdiction.startswith(
                f"{ban.jurisdiction}-"
            )
            named = words & set(ban.words) or any(phrase in chinese for phrase in ban.phrases)
            if here and named and _together(tariff, ban):
                text = f"{ban.name} may not price in {ban.jurisdiction} from {ban.first}"
                path = f"tariff.features[{index}]"
                yield Fault(path, "BANNED_FACTOR", f"{text} ({ban.source}); take it out")


def _together(tariff: Tariff, ban: Ban) -> bool:
    ends_before = ban.last is not None and ban.last < tariff.valid_first
    begins_after = tariff.valid_last is not None and tariff.valid_last < ban.first
    return not ends_before and not begins_after
