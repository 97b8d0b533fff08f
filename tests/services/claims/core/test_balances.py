"""Balances before and after a line or a claim: which are told, in which unit, and what is left."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from msgspec import structs

from services.claims.core.balances import Accumulators, BalanceChange, Kind, Unit
from services.claims.core.decision import UsageChange
from services.claims.core.facts import Authorisation, Balance, Scope, usage_snapshot
from services.claims.core.terms import terms_on
from tests.services.claims.core.bills import DAY, plan_named, policy

YEAR, MONTH = date(2025, 1, 1), date(2025, 3, 1)
HELD = (
    Balance(accumulator="visits", scope=Scope.MEMBER, period_start=MONTH, count=1),
    Balance(
        accumulator="inpatient-ceiling", scope=Scope.MEMBER, period_start=YEAR, amount=2_999_000
    ),
)


def _accumulators() -> Accumulators:
    terms = terms_on(plan_named("every-term"), DAY)
    return Accumulators(terms, policy(), usage_snapshot(HELD), DAY)


def _added(
    accumulator: str,
    *,
    scope: Scope = Scope.MEMBER,
    start: date | None = YEAR,
    amount: int = 0,
    count: int = 0,
) -> UsageChange:
    return UsageChange(
        accumulator=accumulator, scope=scope, period_start=start, amount=amount, count=count
    )


def _by_name(told: tuple[BalanceChange, ...]) -> dict[str, tuple[int, int, int | None]]:
    return {one.accumulator: (one.before, one.after, one.left) for one in told}


def test_over_a_claim_what_moved_what_held_something_and_what_a_clause_names_is_told() -> None:
    changes = (_added("member-deductible", amount=300), _added("inpatient-ceiling", amount=500))
    told = _accumulators().over(changes, frozenset({"5.9"}))
    assert _by_name(told) == {
        "visits": (1, 1, 1),
        "member-deductible": (0, 300, 99_700),
        "inpatient-ceiling": (2_999_000, 2_999_500, 500),
        "dental-ceiling": (0, 0, 50_000),
    }
    assert len(told) == 4  # each once
    assert _by_name(_accumulators().over((), frozenset())).keys() == {
        "visits",
        "inpatient-ceiling",
    }


def test_what_counts_one_treatment_only_has_no_balance() -> None:
    stay = _added("stay-deductible", scope=Scope.TREATMENT, start=None, amount=200)
    told = _accumulators().over((stay,), frozenset({"3.2"}))
    assert "stay-deductible" not in _by_name(told)


def test_an_accumulator_whose_term_has_ended_is_told_by_its_id() -> None:
    changes = (_added("old-money", amount=7), _added("old-count", count=1))
    told = {one.accumulator: one for one in _accumulators().over(changes, frozenset())}
    money, count = told["old-money"], told["old-count"]
    assert (money.unit, money.before, money.after, money.left) == (Unit.MONEY, 0, 7, None)
    assert (count.unit, count.before, count.after, count.kind) == (Unit.COUNT, 0, 1, None)
    assert money.name.en == "old-money"
    both = _accumulators().over((_added("old", amount=7, count=1),), frozenset())
    assert both[-1].unit is Unit.MONEY


def test_an_accumulator_is_called_by_kind_scope_period_and_by_the_names_that_the_plan_gives() -> (
    None
):
    stay = _added("stay-deductible", scope=Scope.TREATMENT, start=None, amount=200)
    (told,) = _accumulators().between((), (stay,))
    assert told.name.zh == "每次就诊免赔额（住院）"
    assert told.name.en == "deductible per treatment (inpatient)"

    def units(plan: str, accumulator: str) -> tuple[str, str]:
        terms = terms_on(plan_named(plan), DAY)
        found = Accumulators(terms, policy(), usage_snapshot(), DAY)
        (one,) = found.over((_added(accumulator, amount=10_000),), frozenset())
        return one.name.zh, one.name.en

    assert units("million-medical", "rehabilitation") == (
        "个人保单年度数量限额（康复治疗）",
        "unit limit per member and policy year (rehabilitation)",
    )
    # Its code set has no name, and an id is none.
    assert units("conventions-money", "units") == (
        "个人保单年度数量限额",
        "unit limit per member and policy year",
    )


def test_what_an_authorisation_has_been_used_for_is_told_in_its_unit_with_what_is_left() -> None:
    held = Authorisation(id="A1", start=DAY, end=date(2026, 1, 1), units=Decimal(2), amount=5_000)
    member = structs.replace(policy().member, authorisations=(held,))
    terms = terms_on(plan_named("every-term"), DAY)
    known = Accumulators(terms, structs.replace(policy(), member=member), usage_snapshot(HELD), DAY)
    changes = (
        _added("authorisation A1 units", start=None, amount=10_000),
        _added("authorisation A1 amount", start=None, amount=700),
        _added("authorisation A9 units", start=None, amount=10_000),
        _added("authorisation A9 amount", start=None, amount=700),
    )
    units, amount, gone, gone_amount = known.between((), changes)
    assert (units.unit, units.after, units.left) == (Unit.UNITS, 10_000, 10_000)
    assert units.name.zh == "授权 A1 的数量"
    assert (amount.unit, amount.after, amount.left) == (Unit.MONEY, 700, 4_300)
    assert (gone.unit, gone.left) == (Unit.UNITS, None)
    assert (gone_amount.unit, gone_amount.after, gone_amount.left) == (Unit.MONEY, 700, None)


def test_a_ceiling_that_is_called_authorisation_is_a_ceiling() -> None:
    plan = plan_named("every-term")
    called = tuple(
        structs.replace(one, id="authorisation") if one.id == "lifetime-ceiling" else one
        for one in plan.ceilings
    )
    terms = terms_on(structs.replace(plan, ceilings=called), DAY)
    known = Accumulators(terms, policy(), usage_snapshot(()), DAY)
    (told,) = known.between((), (_added("authorisation", start=None, amount=700),))
    assert (told.kind, told.clause, told.left) == (Kind.CEILING, "5.5", 9_999_300)


def test_between_two_states_only_what_moved_is_told() -> None:
    accumulators = _accumulators()
    first = (_added("visits", start=MONTH, count=1), _added("member-deductible", amount=100))
    second = (first[0], _added("member-deductible", amount=250))
    assert _by_name(accumulators.between((), first)) == {
        "visits": (1, 2, 0),
        "member-deductible": (0, 100, 99_900),
    }
    assert _by_name(accumulators.between(first, second)) == {
        "member-deductible": (100, 250, 99_750)
    }
    (units,) = accumulators.between((), (_added("rehabilitation-units", amount=25_000),))
    assert (units.kind, units.unit, units.left) == (Kind.UNIT_LIMIT, Unit.UNITS, 75_000)


def test_nothing_is_left_below_nothing() -> None:
    (told,) = _accumulators().between((), (_added("inpatient-ceiling", amount=9_000),))
    assert (told.after, told.left) == (3_008_000, 0)
