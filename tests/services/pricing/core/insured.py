"""The demo tariff with a sum insured that it prices."""

from __future__ import annotations

from typing import Any

from tests.services.pricing.at_hand import demo_tree

SUM = "sum_insured_yuan"
# Factor of inpatient care by the sum insured, band by band.
BANDS = (
    ("100000", "199999", 1_000_000),
    ("200000", "299999", 1_040_000),
    ("300000", "499999", 1_080_000),
    ("500000", "1000000", 1_300_000),
)


def insured_tree(*, required: bool = False) -> dict[str, Any]:
    """The tree of the tariff's file, not sealed."""
    tree = demo_tree()
    tariff = tree["tariff"]
    tariff["id"] = "insured-demo"
    age = next(one for one in tariff["features"] if one["name"] == "age")
    feature = {
        **age,
        "name": SUM,
        "zh": "保额",
        "en": "sum insured",
        "unit_ucum": "1",
        "unit_zh": "元",
        "unit_en": "yuan",
        "plausible_first": "1",
        "plausible_last": "100000000",
        "priced_first": "100000",
        "priced_last": "1000000",
        "required": required,
    }
    tariff["features"].append(feature)
    table = {
        "kind": "bands",
        "name": "sum_insured",
        "feature": SUM,
        "layer": "risk",
        "interpolation": "none",
        "monotone": "rising",
        "applies_to": None,
        "absent_factor_millionths": None if required else 1_000_000,
        "cells": [
            {"first": first, "last": last, "factor_millionths": factor}
            for first, last, factor in BANDS
        ],
    }
    tariff["causes"][0]["tables"].append(table)
    return tree
