"""Terms that are summed together give the factor that they give one by one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest

from services.pricing.core.arithmetic import MAX_COLUMN_E4, less_credit
from services.pricing.core.balance import MOST_BILLIONTHS, OutOfReach
from services.pricing.core.renewal import offered_e4
from services.pricing.fitting.renewal import balancing
from services.pricing.fitting.renewal.balancing import Shard, balance, reach_of

# Technical premium and bounds (10⁻⁴ minor units) and credit of one policy.
Policy = tuple[int, int, int, int]


def shard_of(policies: Sequence[Policy]) -> Shard:
    technical, least, most, credit = (pa.array(column) for column in zip(*policies, strict=True))
    cells, kinds = technical.dictionary_encode(), credit.dictionary_encode()
    return Shard(
        cell=cells.indices.to_numpy(),
        technical_e4=cells.dictionary.to_numpy(),
        least_e4=least.to_numpy(),
        most_e4=most.to_numpy(),
        credit_kind=kinds.indices.to_numpy(),
        credits=kinds.dictionary.to_numpy(),
    )


def one_by_one(policies: Sequence[Policy], k_billionths: int) -> int:
    return sum(
        less_credit(offered_e4(technical, k_billionths, least, most), credit)
        for technical, least, most, credit in policies
    )


def alike(count: int) -> list[Policy]:
    """Few premiums and credits, so that many policies have the same."""
    drawn = random.Random(3)
    found = []
    for _ in range(count):
        technical = drawn.choice([2_345_678_901, 3_000_000_001, 4_111_111_113])
        expiring = technical * drawn.randint(60, 160) // 100
        credit = drawn.choice([0, 33_333, 100_000])
        found.append((technical, expiring * 85 // 100, expiring * 125 // 100, credit))
    return found


def all_different(count: int) -> list[Policy]:
    drawn = random.Random(4)
    found = []
    for number in range(count):
        technical = drawn.randint(1_000_000_000, 5_000_000_000)
        expiring = technical * drawn.randint(60, 160) // 100
        found.append((technical, expiring * 85 // 100, expiring * 125 // 100, number))
    return found


def misleading(count: int) -> list[Policy]:
    """Every 64th policy, at which is looked first, asks for a third of the others' factor."""
    found = alike(count)
    for number in range(0, count, 64):
        technical, least, most, credit = found[number]
        found[number] = (technical * 3, least, most, credit)
    return found


@pytest.mark.parametrize("believed", [balancing._BELIEVED, (1e-9,), ()])
@pytest.mark.parametrize("book", [alike, all_different, misleading])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_factor_is_the_least_at_which_the_sum_one_by_one_reaches_the_target(
    monkeypatch: pytest.MonkeyPatch,
    book: Callable[[int], list[Policy]],
    share: float,
    believed: tuple[float, ...],
) -> None:
    policies = book(1_500)
    shards = [shard_of(policies[:1_000]), shard_of(policies[1_000:])]
    reach = reach_of(shards)
    assert reach.least_e4 == one_by_one(policies, 1)
    assert reach.most_e4 == one_by_one(policies, MOST_BILLIONTHS)
    target = reach.least_e4 + round((reach.most_e4 - reach.least_e4) * share)
    monkeypatch.setattr(balancing, "_BELIEVED", believed)
    k = balance(shards, target, reach)
    assert one_by_one(policies, k - 1) < target <= one_by_one(policies, k)


def test_between_two_factors_few_terms_stand_for_many_policies() -> None:
    policies = alike(1_500)
    low, high = 1_050_000_000, 1_052_000_000
    still, moving = balancing._between(shard_of(policies), low, high)
    for k in (low, 1_051_234_567, high):
        assert still + sum(terms.total_e4(k) for terms in moving) == one_by_one(policies, k)
    assert 0 < sum(terms.count.size for terms in moving) < 100
    assert sum(int(terms.count.sum()) for terms in moving) > 500, "the control: many move"


@pytest.mark.parametrize("beyond", [-1, 1])
def test_a_target_just_out_of_reach_is_refused(beyond: int) -> None:
    shards = [shard_of(alike(300))]
    reach = reach_of(shards)
    target = reach.least_e4 - 1 if beyond < 0 else reach.most_e4 + 1
    with pytest.raises(OutOfReach) as refused:
        balance(shards, target, reach)
    assert refused.value.reach == reach
    within = reach.most_e4 if beyond > 0 else reach.least_e4 + 10**9
    assert balance(shards, within, reach) > 1, "the control: the end of the reach is met"


def test_no_sum_of_many_policies_of_one_premium_leaves_63_bits() -> None:
    most = MAX_COLUMN_E4
    policy = (most, most - 20_000, most, 0)
    one, count = shard_of([policy]), 500_000
    shard = Shard(
        cell=np.repeat(one.cell, count),
        technical_e4=one.technical_e4,
        least_e4=np.repeat(one.least_e4, count),
        most_e4=np.repeat(one.most_e4, count),
        credit_kind=np.repeat(one.credit_kind, count),
        credits=one.credits,
    )
    shards = [shard, shard, shard]
    reach = reach_of(shards)
    assert reach.most_e4 == most * count * 3 > 2**63
    target = (reach.least_e4 + reach.most_e4) // 2
    k = balance(shards, target, reach)
    assert one_by_one([policy], k - 1) < target / (count * 3) <= one_by_one([policy], k)
