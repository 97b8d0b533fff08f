"""The Z and m0 of a quote are those of the study that the relativities were fitted on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from services.pricing.fitting.selection.settings import Window
from services.pricing.fitting.selection.windows import filled

STRATA = [
    {"outcome": "u_hba1c_percent", "m0": 8.40, "z": 0.90, "person_months": 3_000},
    {"outcome": "u_hba1c_percent", "m0": 8.20, "z": 0.87, "person_months": 1_000},
    {"outcome": "u_systolic_mmhg", "m0": 145.7, "z": 0.89, "person_months": 2_000},
]
FIT: Any = SimpleNamespace(
    features=[
        SimpleNamespace(name="hba1c_percent", places=1),
        SimpleNamespace(name="systolic_mmhg", places=0),
    ]
)


def window(credibility: int | None = None, mean: str = "") -> Window:
    return Window(
        months=12,
        one_reading_months=3,
        credibility=credibility,
        stratum_mean=mean,
        source="the study",
    )


def test_what_is_left_out_is_the_studys_mean_by_months() -> None:
    """(3 × 8.40 + 8.20) / 4 = 8.35, rounded as the feature is; Z (3 × 0.90 + 0.87) / 4."""
    found, faults = filled({"hba1c_percent": window(), "systolic_mmhg": window()}, STRATA, FIT)
    assert not faults
    assert found["hba1c_percent"].stratum_mean in ("8.3", "8.4")
    assert found["hba1c_percent"].credibility == 892_500
    assert found["systolic_mmhg"].stratum_mean == "146"


def test_what_is_written_and_disagrees_is_refused_by_path_and_both_at_once() -> None:
    _, faults = filled({"hba1c_percent": window(600_000, "8.6")}, STRATA, FIT)
    assert [fault.path for fault in faults] == [
        "tariff.windows.hba1c_percent.stratum_mean",
        "tariff.windows.hba1c_percent.credibility",
    ]
    assert "8.2 to 8.4" in faults[0].text


def test_what_is_written_and_agrees_stays_and_without_a_study_too() -> None:
    said = {"hba1c_percent": window(880_000, "8.3")}
    assert filled(said, STRATA, FIT) == (said, [])
    assert filled({"hba1c_percent": window(600_000, "8.6")}, [], FIT)[1] == []
