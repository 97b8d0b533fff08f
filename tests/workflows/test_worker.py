"""Where a worker finds the services: by setting, by run.json, or not at all."""

from __future__ import annotations

import pytest

from services.common.settings import UnknownSetting
from workflows.worker import target_of


def test_a_setting_goes_before_what_runs_here() -> None:
    known = {"pricing": "127.0.0.1:1"}
    assert target_of("pricing", {}, known) == "127.0.0.1:1"
    assert target_of("pricing", {"LIPEI_PRICING_TARGET": "there:2"}, known) == "there:2"


def test_a_hospital_without_pricings_address_is_told_what_to_set() -> None:
    with pytest.raises(UnknownSetting, match="set LIPEI_PRICING_TARGET to its host:port"):
        target_of("pricing", {"LIPEI_PRICING_TARGET": ""}, {"his_bridge": "127.0.0.1:1"})
