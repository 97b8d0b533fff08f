"""The demo tariff as a tree to alter, and as rates to price with."""

from __future__ import annotations

import copy
import json
from datetime import date
from functools import cache
from typing import Any

from services.pricing.core.features import read
from services.pricing.core.rates import Rates
from services.pricing.core.tariff import content_hash
from services.pricing.core.waterfall import Waterfall, price
from services.pricing.tariffs.loader import example_tariffs, load_folder

DEMO = "diabetes-hypertension-demo"
DEMO_FILE = example_tariffs() / f"{DEMO}.json"
DAY = date(2026, 12, 1)
WOMAN_52 = {"age": "52", "sex": "F", "condition": "type2_diabetes", "hba1c_percent": "7.2"}


@cache
def demo_rates() -> Rates:
    return load_folder(example_tariffs()).on(DEMO, DAY)


def demo_tree() -> dict[str, Any]:
    """The demo's file as a tree of its own, to be altered."""
    tree: dict[str, Any] = json.loads(DEMO_FILE.read_text("utf-8"))
    return copy.deepcopy(tree)


def sealed(tree: dict[str, Any]) -> bytes:
    """The tree as a file that names its own hash, so that only what was altered is at fault."""
    tree["sha256"] = content_hash(tree["tariff"])
    return unsealed(tree)


def unsealed(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree, ensure_ascii=False).encode()


def priced(rates: Rates, given: dict[str, str]) -> Waterfall:
    found = read(rates.tariff.features, given)
    assert not found.faults
    return price(rates, found.values)
