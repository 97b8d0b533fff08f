"""Every example plan is published as its file has it, over gRPC and on both databases."""

from __future__ import annotations

from services.claims.core.canonical import plan_version
from tests.services.claims.core.bills import PLANS, plan_of_file
from tests.services.claims.given import publish
from tests.services.claims.serving import served

EXAMPLES = sorted(path.stem for path in PLANS.glob("*.yaml"))


def test_six_plans_that_differ_in_kind_and_the_demo_s_are_published(database_url: str) -> None:
    assert len(EXAMPLES) == 7
    with served(database_url) as running:
        for name in EXAMPLES:
            version = plan_version(plan_of_file(PLANS / f"{name}.yaml"))
            assert publish(running, name) == version
            assert publish(running, name) == version  # again is the same plan, not another
