"""A policy's arm is a hash: the same for ever, in the share that was asked for."""

from __future__ import annotations

import msgspec

from services.pricing.core.routing import Arm, arm_of, comparable
from services.pricing.core.tariff import Tariff
from tests.services.pricing.proposals import format_2_tree, proposal


def test_a_share_is_what_it_says_and_another_salt_draws_anew() -> None:
    arms = [arm_of(f"p{number}", "a", 250_000) for number in range(20_000)]
    share = arms.count(Arm.CHALLENGER) / len(arms)
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / len(arms)) ** 0.5
    other = [arm_of(f"p{number}", "b", 250_000) for number in range(20_000)]
    both = sum(one is two is Arm.CHALLENGER for one, two in zip(arms, other, strict=True))
    assert abs(both / len(arms) - 0.0625) < 4 * (0.0625 * 0.9375 / len(arms)) ** 0.5


def test_arms_are_those_of_the_written_hash_and_stay_so() -> None:
    r"""`printf '2027\np1' | sha256sum` begins with the share, whatever program computes it."""
    for policy, place in (("p1", 497_977), ("p2", 384_349), ("p3", 607_047)):
        assert arm_of(policy, "2027", place) is Arm.CHAMPION
        assert arm_of(policy, "2027", place + 1) is Arm.CHALLENGER


def test_no_share_takes_nobody_and_the_whole_everybody() -> None:
    policies = [f"p{number}" for number in range(2_000)]
    assert {arm_of(one, "s", 0) for one in policies} == {Arm.CHAMPION}
    assert {arm_of(one, "s", 1_000_000) for one in policies} == {Arm.CHALLENGER}


def test_only_tariffs_that_ask_for_the_same_are_compared() -> None:
    one = proposal()[0]
    assert comparable(one, msgspec.structs.replace(one, profit_millionths=0))
    assert not comparable(one, msgspec.structs.replace(one, currency="JPY"))
    assert not comparable(one, msgspec.structs.replace(one, features=one.features[:-1]))
    tree = format_2_tree()
    for cause in tree["causes"]:
        for table in cause["tables"]:
            if table["feature"] == "systolic_mmhg":
                table["layer"] = "risk"
    assert not comparable(one, msgspec.convert(tree, Tariff))
