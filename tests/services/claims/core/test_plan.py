"""What a plan says of itself: whether the size of the family matters, and its clauses."""

from __future__ import annotations

import msgspec
import pytest

from services.claims.core.plan import clause_text, reads_family_size, reads_outcome_tier
from tests.services.claims.core.bills import plan_named

replace = msgspec.structs.replace


def test_the_size_of_the_family_matters_when_any_one_limit_grows_with_it() -> None:
    plan = plan_named("every-benefit")
    assert reads_family_size(plan)
    assert not reads_family_size(plan_named("every-term"))
    step = next(one.family_step for one in plan.ceilings if one.family_step is not None)
    bare = replace(
        plan,
        deductibles=tuple(replace(one, family_step=None) for one in plan.deductibles),
        out_of_pocket=tuple(replace(one, family_step=None) for one in plan.out_of_pocket),
        ceilings=tuple(replace(one, family_step=None) for one in plan.ceilings),
    )
    assert not reads_family_size(bare)
    for name in ("deductibles", "out_of_pocket", "ceilings"):
        first, *others = getattr(bare, name)
        assert others
        grows = (replace(first, family_step=step), *others)
        assert reads_family_size(replace(bare, **{name: grows})), name


def test_a_tier_matters_when_any_one_term_hangs_on_it() -> None:
    plan = plan_named("hypertension-tiers")  # one of its shares is for whoever has no tier
    assert reads_outcome_tier(plan)
    assert not reads_outcome_tier(replace(plan, shares=()))
    assert not reads_outcome_tier(plan_named("every-term"))


def test_a_clause_is_found_by_its_number_or_refused() -> None:
    plan = plan_named("every-term")
    assert clause_text(plan, "1.2").en == "Insured people"
    assert clause_text(plan, "8.6").en == "Mutual recognition of examinations"
    with pytest.raises(KeyError):
        clause_text(plan, "9.9")
