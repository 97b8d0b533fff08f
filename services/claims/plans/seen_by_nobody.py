"""Benefits above `four_eyes` that are paid although no person looks at them.

`four_eyes` says how many people review a claim that is looked at; `auto_pay_ceiling` says which is.
It is no fault, since the threshold holds for reversals and recoveries all the same; but whoever
writes it without the other may believe that nothing above it is paid unseen.
"""

from __future__ import annotations

from services.claims.core.plan import Plan
from services.common.strict_yaml import Fault, YamlMap, load


def paid_unseen(plan: Plan, yaml: bytes | str, source: str) -> tuple[Fault, ...]:
    """A warning where, on some day, `auto_pay_ceiling` is above `four_eyes` or none.

    `yaml` is what the plan was loaded from.
    """
    tree = load(yaml, source)
    if plan.four_eyes is None or not isinstance(tree, YamlMap):
        return ()
    two, ceiling = plan.four_eyes.values, plan.auto_pay_ceiling
    alone = ceiling.values if ceiling else None
    for day in sorted({day for dated in (two, alone) if dated for day, _ in dated.values}):
        threshold = two.on(day)
        most = alone.on(day) if alone else None
        if threshold is not None and (most is None or most > threshold):
            limit = "without `auto_pay_ceiling`" if most is None else "`auto_pay_ceiling` is above"
            text = (
                f"{limit}: from {day} on a benefit above this is paid though nobody looks at it;"
                " two people review only what a person looks at"
            )
            line = tree.lines["four_eyes"]
            return (Fault(path="four_eyes", line=line, reason="PAID_UNSEEN", text=text),)
    return ()
