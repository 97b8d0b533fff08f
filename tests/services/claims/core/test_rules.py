"""Conditions from before the cover whose agreed terms and share do not fit together."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from services.claims.core.adjudicate import adjudicate
from services.claims.core.decision import LineOutcome
from services.claims.core.facts import (
    Coding,
    DiagnosisFacts,
    DisclosedCondition,
    PreExistingTerms,
    UsageSnapshot,
)
from services.claims.core.reasons import Reason
from tests.services.claims.core.bills import ICD_10, bill, plan_named, policy

HYPERTENSION = DiagnosisFacts(number=1, code=Coding(system=ICD_10, code="I10"), principal=True)
FACTS = msgspec.structs.replace(bill(), diagnoses=(HYPERTENSION,))


@pytest.mark.parametrize(
    ("terms", "share"),
    [(PreExistingTerms.AT_SHARE, None), (PreExistingTerms.EXCLUDED, Decimal("0.5"))],
)
def test_a_condition_whose_share_is_not_sure_is_excluded(
    terms: PreExistingTerms, share: Decimal | None
) -> None:
    agreed = DisclosedCondition(code_prefix="I10", terms=terms, share=share)
    insured = policy(disclosed=(agreed,))
    (decided,) = adjudicate(plan_named("every-term"), insured, UsageSnapshot(), FACTS).lines
    assert (decided.outcome, decided.reason) == (LineOutcome.DENIED, Reason.PRE_EXISTING)
    sure = msgspec.structs.replace(agreed, terms=PreExistingTerms.AT_SHARE, share=Decimal("0.5"))
    insured = policy(disclosed=(sure,))
    (decided,) = adjudicate(plan_named("every-term"), insured, UsageSnapshot(), FACTS).lines
    assert decided.benefit == 4_000  # (100 - 20) * 0.5
