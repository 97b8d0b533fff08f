"""What of a kill's time counts as its recovery."""

from __future__ import annotations

from tests.fault.recovery import BOUND_S, Recovery


def test_only_what_a_rule_demands_is_no_recovery() -> None:
    def kill(work_s: float, by_rule_s: float = 0) -> Recovery:
        known = {"process": "claims", "load": "quiet", "work": "all paid"}
        return Recovery(**known, in_flight=16, ready_s=0.8, work_s=work_s, by_rule_s=by_rule_s)

    assert kill(BOUND_S - 0.1).within_bound
    assert not kill(BOUND_S).within_bound
    assert kill(30 + BOUND_S - 0.1, by_rule_s=30).within_bound
    assert not kill(30 + BOUND_S, by_rule_s=30).within_bound
