"""Clocks of a plan that give an insurer more days than the law does.

It is no fault, since the law lets a contract say otherwise of some of them; but whoever writes it
must know. What the clocks count is the plan's days all the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.claims.core.clocks import DECISION_DAYS, MINIMUM_DAYS, NOTICE_DAYS, PAYMENT_DAYS
from services.claims.core.plan import Plan
from services.common.strict_yaml import Fault, YamlMap, load

# The days of each key of `clocks`, and the article of the Insurance Law that gives them.
LAW = {
    "decision_days": (DECISION_DAYS, 23),
    "payment_days": (PAYMENT_DAYS, 23),
    "minimum_days": (MINIMUM_DAYS, 25),
    "notice_days": (NOTICE_DAYS, 24),
}


def longer_than_law(plan: Plan, yaml: bytes | str, source: str) -> tuple[Fault, ...]:
    """A warning for each value above the law's at its line, in the order of the file.

    `yaml` is what the plan was loaded from.
    """
    written = load(yaml, source).get("clocks")
    if plan.clocks is None or not isinstance(written, YamlMap):
        return ()
    return tuple(sorted(_longer(written), key=lambda one: one.line))


def _longer(written: YamlMap) -> Iterator[Fault]:
    for key, (law, article) in LAW.items():
        values = written.get(key)
        if not isinstance(values, YamlMap):
            continue
        for day, days in values.items():
            if days is not None and days > law:
                yield Fault(
                    path=f"clocks.{key}.{day}",
                    line=values.lines[day],
                    reason="LONGER_THAN_LAW",
                    text=f"{days} days are more than the {law} of the Insurance Law, article"
                    f" {article}; the clocks count by the plan",
                )
