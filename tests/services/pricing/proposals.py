"""A tariff of format 2 with its evidence, made of the demo: passes every gate until altered."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from services.pricing.core.banned import Ban
from services.pricing.core.evidence import Evidence, evidence_digest
from services.pricing.core.features import read
from services.pricing.core.incentive import LegalCap
from services.pricing.core.off_balance import totals
from services.pricing.core.rates import compile_rates
from services.pricing.core.tariff import Tariff, canonical_bytes, content_hash
from services.pricing.core.waterfall import price
from services.pricing.tariffs.banned_factors import known_bans, load_bans
from tests.services.pricing.at_hand import demo_tree

LAW = LegalCap(400_000, "a regulation")
DATA = "d" * 64
ASSUMED = "assumed for the test"


def bans() -> tuple[Ban, ...]:
    return load_bans(known_bans())


def evidence_tree(tariff: dict[str, Any]) -> dict[str, Any]:
    """Evidence that indicated just what the tariff has, every cell with the same claims."""
    return {
        "format": 1,
        "data_sha256": DATA,
        "fit_sha256": "f" * 64,
        "run_card": "runs/0001-fit.json",
        "synthetic": True,
        "previous": None,
        "warnings": [],
        "causes": [_cause(cause) for cause in tariff["causes"]],
        "large_losses": [
            {
                "cause": tariff["causes"][0]["name"],
                "claims": 40,
                "persons": 38,
                "load_e4": tariff["large_loss_load_e4"],
                "low95_e4": tariff["large_loss_load_e4"] * 7 // 10,
                "high95_e4": tariff["large_loss_load_e4"] * 14 // 10,
                "largest_millionths": 110_000,
            }
        ],
    }


def _cause(cause: dict[str, Any]) -> dict[str, Any]:
    model = {
        "family": "poisson",
        "rows": 1000,
        "iterations": 6,
        "converged": True,
        "coefficients": [
            {"name": "intercept", "estimate_millionths": -2_120_000, "se_millionths": 31_000}
        ],
    }
    return {
        "name": cause["name"],
        "indicated_base_e4": cause["base_e4"],
        "models": [{"part": part, **copy.deepcopy(model)} for part in ("frequency", "severity")],
        "tables": [
            {"name": table["name"], "cells": list(_cells(table))} for table in cause["tables"]
        ],
    }


def _cells(table: dict[str, Any]) -> Any:
    named = [
        (cell.get("level") or f"{cell['first']}-{cell['last']}", cell["factor_millionths"])
        for cell in table["cells"]
    ]
    if table["absent_factor_millionths"] is not None:
        named.append(("absent", table["absent_factor_millionths"]))
    for name, factor in named:
        yield {
            "cell": name,
            "exposure_millionths": 100_000_000,
            "claims": 40,
            "amount_minor": 0 if name == "absent" else 5_000_000,
            "indicated_millionths": factor,
            "low95_millionths": factor,
            "high95_millionths": factor,
            "previous_millionths": None,
            "selected_millionths": factor,
            "reason": "",
        }


def format_2_tree(tariff_id: str = "registered") -> dict[str, Any]:
    """The demo's tariff as format 2; digests, totals and golden quotes are set by `proposal`."""
    tree: dict[str, Any] = copy.deepcopy(demo_tree()["tariff"])
    tree["format"] = 2
    tree["id"] = tariff_id
    lowest = {"hba1c_percent": "7.0", "systolic_mmhg": "130"}
    for feature in tree["features"]:
        if feature["name"] in lowest:
            feature["flat_below"] = lowest[feature["name"]]
    window = {
        "months": 12,
        "one_reading_months": 3,
        "credibility_millionths": 600_000,
        "readings_count_from": "day_after_receipt",
        "source": ASSUMED,
    }
    alternative = {"zh": "按医生方案随访满一年", "en": "a year of visits by the doctor's plan"}
    tree["basis"] = {
        "jurisdiction": "CN",
        "data_sha256": DATA,
        "evidence_sha256": "0" * 64,
        "windows": [
            {"feature": "hba1c_percent", "stratum_mean": "8.5", **window},
            {"feature": "systolic_mmhg", "stratum_mean": "150", **window},
        ],
        "one_reading_most_millionths": 120_000,
        "credit_cap": {"share_millionths": 300_000, "source": ASSUMED},
        "collar": {
            "least_millionths": 800_000,
            "greatest_millionths": 1_250_000,
            "source": ASSUMED,
        },
        "least_premium_minor": 100_000,
        "off_balance": {"indicated_e4": 0, "selected_e4": 0, "approved_change_millionths": 0},
        "alternatives": [
            {"feature": name, "source": ASSUMED, **alternative}
            for name in ("hba1c_percent", "systolic_mmhg")
        ],
    }
    return tree


def proposal(
    tree: dict[str, Any] | None = None, evidence: dict[str, Any] | None = None
) -> tuple[Tariff, Evidence]:
    """Tariff and evidence that agree in digests, totals and golden quotes, whatever was altered."""
    tree = format_2_tree() if tree is None else tree
    said = msgspec.convert(evidence_tree(tree) if evidence is None else evidence, Evidence)
    bases = {cause["name"]: cause["base_e4"] for cause in tree["causes"]}
    basis = tree["basis"]
    basis["evidence_sha256"] = evidence_digest(said)
    balance = basis["off_balance"]
    balance["indicated_e4"], balance["selected_e4"] = totals(said, bases)
    rates = compile_rates(msgspec.convert(tree, Tariff))
    for golden in tree["golden_quotes"]:
        found = read(rates.tariff.features, golden["features"])
        golden["premium_minor"] = price(rates, found.values).premium_minor
    return msgspec.convert(tree, Tariff), said


def as_file(tariff: Tariff) -> bytes:
    """The tariff as a file under its hash."""
    return canonical_bytes({"sha256": content_hash(tariff), "tariff": tariff})
