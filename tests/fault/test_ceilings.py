"""Fifty rounds of many bills at once against one ceiling, on both databases."""

from __future__ import annotations

import pytest

from tests.services.claims.ceilings import FAMILY, MEMBER, Shared
from tests.services.claims.test_ceilings import pay_exactly

pytestmark = [pytest.mark.fault, pytest.mark.timeout(3600)]
ROUNDS = 50


@pytest.mark.parametrize("shared", [MEMBER, FAMILY], ids=lambda shared: shared.scope)
def test_fifty_rounds_pay_exactly_the_ceiling(database_url: str, shared: Shared) -> None:
    pay_exactly(database_url, shared, ROUNDS)
