"""The outcome tiers of a finished renewal, to be handed to whoever settles claims."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from services.pricing.fitting.renewal.columns import POLICY, TIER


class NoTiers(LookupError):
    """The renewal was made of a book without the column of outcome tiers."""


def has_tiers(result: Path) -> bool:
    """Whether a finished renewal carries outcome tiers."""
    return TIER in _renewed(result).schema.names


def tiers_of(result: Path, policies: Iterable[str]) -> dict[str, str]:
    """Policy → its outcome tier, "" for none; a policy that was not renewed is left out.

    Raises: NoTiers.
    """
    renewed = _renewed(result)
    if TIER not in renewed.schema.names:
        raise NoTiers
    wanted = pc.field(POLICY).isin(pa.array(sorted(set(policies)), pa.string()))
    found = renewed.to_table(columns=[POLICY, TIER], filter=wanted)
    pairs = zip(found[POLICY].to_pylist(), found[TIER].to_pylist(), strict=True)
    return {policy: tier or "" for policy, tier in pairs}


def _renewed(result: Path) -> ds.Dataset:
    files = sorted(str(path) for path in result.glob("renewals-*.parquet"))
    return ds.dataset(files, format="parquet")
