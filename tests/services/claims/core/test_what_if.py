"""A household's claims under another plan: what each reads of those before it, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec
import pytest

from services.claims.core.accumulators import with_changes
from services.claims.core.adjudicate import adjudicate, allowed_lines
from services.claims.core.canonical import Inputs, decision_bytes, inputs_bytes
from services.claims.core.decision import Bearer, Decision
from services.claims.core.difference import Difference
from services.claims.core.facts import (
    BillFacts,
    EarlierService,
    LinePayment,
    PolicySnapshot,
    PriorPayment,
    PriorPayments,
    Review,
    ReviewedLine,
    Scope,
    UsageSnapshot,
    usage_snapshot,
)
from services.claims.core.plan import Plan
from services.claims.core.reasons import Reason
from services.claims.core.repeats import Allowed
from services.claims.core.what_if import (
    BalancesAltered,
    Cannot,
    Cause,
    Change,
    Held,
    Household,
    Outcome,
    Part,
    StoredClaim,
    decide_household,
    first_service_day,
    share_rank,
)
from services.common.dated import Dated
from tests.services.claims.core.bills import DAY, bill, line, plan_named, policy

replace = msgspec.structs.replace
# Lines S: a share of 0.7, at most 600 a claim and 1000 a year; F: a share of 1.
PLAN = plan_named("conventions-money")
SHARED = (Scope.FAMILY, Scope.POLICY)
NOBODY = PriorPayments()


def _with(plan: Plan, kind: str, changes: Mapping[str, int | None]) -> Plan:
    terms = tuple(
        replace(one, values=Dated(((plan.first_day, changes[one.id]),)))
        if one.id in changes
        else one
        for one in getattr(plan, kind)
    )
    return replace(plan, **{kind: terms})


DEARER = _with(PLAN, "ceilings", {"year-ceiling": 200_000})
CHEAPER = _with(PLAN, "ceilings", {"year-ceiling": 50_000})


@dataclass(slots=True)
class _Story:
    """Claims decided one after the other as a service does, and what is stored of them."""

    plan: Plan
    policies: dict[str, UsageSnapshot] = field(default_factory=dict)
    claims: list[StoredClaim] = field(default_factory=list)
    services: list[EarlierService] = field(default_factory=list)

    def claim(
        self,
        facts: BillFacts,
        part: Part = Part.AGAIN,
        *,
        insured: PolicySnapshot | None = None,
        prior: PriorPayments = NOBODY,
        review: Review | None = None,
        **more: Any,
    ) -> Decision:
        """One claim more."""
        insured = insured or policy()
        balances = self.policies.get(insured.policy_id, UsageSnapshot()).balances
        own = (facts.provider_id, facts.bill_number)
        others = [one for one in self.services if (one.provider_id, one.bill_number) != own]
        usage = usage_snapshot(balances, others)
        inputs = Inputs(
            plan_version="", policy=insured, usage=usage, bill=facts, prior=prior, review=review
        )
        decision = adjudicate(self.plan, insured, usage, facts, prior, review=review)
        self.policies[insured.policy_id] = with_changes(usage, decision.usage_changes)
        allowed = allowed_lines(facts, decision)
        self.services += [one.service for one in allowed]
        self.claims.append(_stored(len(self.claims), part, inputs, decision, allowed, **more))
        return decision

    def under(self, plan: Plan) -> list[Outcome]:
        """What the claims would have come to."""
        return decide_household(plan, self.household())

    def household(self) -> Household:
        """The claims, in no order, and what the balances hold today."""
        held = [
            Held(
                policy_id=name,
                subject="" if balance.scope in SHARED else "member",
                balance=balance,
            )
            for name, usage in self.policies.items()
            for balance in usage.balances
        ]
        return Household(claims=tuple(reversed(self.claims)), held=tuple(held))


def _stored(
    seq: int,
    part: Part,
    inputs: Inputs,
    decision: Decision,
    allowed: list[Allowed],
    **more: Any,
) -> StoredClaim:
    keeps = part in (Part.EARLIER, Part.STANDS)
    return StoredClaim(
        seq=seq,
        name=f"claims/{seq}",
        policy_id=inputs.policy.policy_id,
        member_id="member",
        person=more.pop("person", "ann"),
        received=DAY,
        part=part,
        output=b"" if part is Part.EARLIER else decision_bytes(decision),
        inputs=inputs_bytes(inputs) if part is Part.AGAIN else b"",
        services=msgspec.json.encode(allowed) if keeps else b"",
        **more,
    )


def _bill(number: str, *lines: tuple[str, str], **more: Any) -> BillFacts:
    charged = [line(at, code, price) for at, (code, price) in enumerate(lines, start=1)]
    return bill(*charged, number=number, **more)


def _paid(outcomes: list[Outcome]) -> list[tuple[int, int, Change]]:
    return [(one.before, one.after, one.change) for one in outcomes]


# --- what runs through the period ---


def test_use_runs_through_the_period_in_the_order_received() -> None:
    story = _Story(PLAN)
    for number, code in (("B1", "S1"), ("B2", "S2"), ("B3", "S3")):
        story.claim(_bill(number, (code, "1000.00")))
    # 600 of 700, then 400 of the 1000 a year that are left, then nothing.
    assert _paid(story.under(PLAN)) == [
        (60_000, 60_000, Change.SAME),
        (40_000, 40_000, Change.SAME),
        (0, 0, Change.SAME),
    ]
    assert _paid(story.under(DEARER)) == [
        (60_000, 60_000, Change.SAME),
        (40_000, 60_000, Change.UP),
        (0, 60_000, Change.NEWLY_PAID),
    ]
    assert _paid(story.under(CHEAPER)) == [
        (60_000, 50_000, Change.DOWN),
        (40_000, 0, Change.DENIED),
        (0, 0, Change.SAME),
    ]


@pytest.mark.parametrize(
    ("part", "left"), [(Part.EARLIER, 40_000), (Part.STANDS, 40_000), (Part.LATER, 60_000)]
)
def test_only_what_came_before_uses_something_up(part: Part, left: int) -> None:
    story = _Story(PLAN)
    story.claim(_bill("B1", ("S1", "1000.00")), part)
    story.claim(_bill("B2", ("S2", "1000.00")))
    ((_, after, _),) = _paid(story.under(PLAN))
    assert after == left


def test_balances_that_hold_less_than_decisions_used_are_an_alarm() -> None:
    story = _Story(PLAN)
    story.claim(_bill("B1", ("S1", "1000.00")))
    with pytest.raises(BalancesAltered):
        decide_household(PLAN, replace(story.household(), held=()))


@pytest.mark.parametrize("part", [Part.EARLIER, Part.STANDS, Part.AGAIN])
def test_an_earlier_service_denies_what_repeats_it_and_names_its_claim(part: Part) -> None:
    story = _Story(PLAN)
    story.claim(_bill("B1", ("F1", "100.00"), ("F2", "50.00")), part)
    story.claim(_bill("B2", ("F1", "100.00"), ("F2", "51.00")))
    *_, again = story.under(PLAN)
    assert (again.before, again.after, again.change) == (5_100, 5_100, Change.SAME)
    of_another = _Story(PLAN)
    of_another.claim(_bill("B1", ("F1", "100.00")), part, person="ben")
    of_another.services.clear()
    of_another.claim(_bill("B2", ("F1", "100.00")))
    assert of_another.under(PLAN)[-1].after == 10_000


def test_a_claim_that_came_later_repeats_nothing_of_one_before() -> None:
    story = _Story(PLAN)
    story.claim(_bill("B1", ("F1", "100.00")))
    story.claim(_bill("B2", ("F1", "100.00")), Part.LATER)
    assert _paid(story.under(PLAN)) == [(10_000, 10_000, Change.SAME)]


# --- a bill under two policies ---

SECOND = replace(policy(), policy_id="second")


def _from_first(amount: int) -> PriorPayments:
    paid = PriorPayment(
        payer="policy", amount=amount, lines=(LinePayment(number=1, amount=amount),)
    )
    return PriorPayments(payments=(paid,))


def test_a_second_policy_sees_what_the_first_would_pay_and_others_as_they_paid() -> None:
    half = _with(PLAN, "ceilings", {"member-ceiling": 40_000})
    story = _Story(PLAN)
    facts = _bill("B1", ("F1", "1000.00"), ("F2", "10.00"))
    story.claim(facts)
    elder = PriorPayment(payer="ELDER", amount=500, lines=(LinePayment(number=2, amount=500),))
    both = PriorPayments(payments=(*_from_first(100_000).payments, elder))
    story.claim(facts, insured=SECOND, prior=both)
    # The first paid 1000 + 10, the second nothing but what ELDER left of the second line.
    assert _paid(story.under(PLAN))[0] == (101_000, 101_000, Change.SAME)
    first, second = story.under(half)
    # 400 of 1010 now; the second policy has a ceiling of 400 of its own.
    assert (first.after, second.after) == (40_000, 40_000)
    borne = {(one.bearer, one.reason): one.after for one in second.shares}
    assert borne[Bearer.PRIOR_PAYER, Reason.PRIOR_PAYER_PAID] == 40_500


def test_a_first_policy_that_would_pay_nothing_has_paid_the_second_nothing() -> None:
    nothing = _with(PLAN, "ceilings", {"member-ceiling": None, "year-ceiling": None})
    dearer = _with(nothing, "deductibles", {"claim-deductible": 200_000})
    story = _Story(PLAN)
    facts = _bill("B1", ("D1", "1000.00"))
    story.claim(facts)
    story.claim(facts, insured=SECOND, prior=_from_first(72_000))
    first, second = story.under(dearer)
    assert (first.before, first.after) == (72_000, 0)
    assert second.after == 0
    assert {(one.bearer, one.after) for one in second.shares if one.after} == {
        (Bearer.PATIENT, 100_000)
    }


# --- what differs, and what cannot be decided ---


def test_what_each_bears_is_told_in_order_of_precedence_before_and_after() -> None:
    story = _Story(PLAN)
    story.claim(_bill("B1", ("S1", "1000.00"), ("S2", "100.00")))
    (told,) = story.under(CHEAPER)
    patient, insurer = Bearer.PATIENT, Bearer.INSURER
    # 0.7 of 1000 and of 100 are 770; 600 a claim, and under the other plan 500 a year. What is
    # used up by the first line denies the second.
    assert [(one.bearer, one.reason, one.before, one.after) for one in told.shares] == [
        (patient, Reason.COINSURANCE, 30_000, 30_000),
        (patient, Reason.SECTION_CEILING, 20_000, 30_000),
        (insurer, Reason.BENEFIT, 60_000, 50_000),
    ]


def test_what_nobody_bears_any_more_is_told_as_nothing() -> None:
    story = _Story(PLAN)
    story.claim(_bill("B1", ("S1", "1000.00")))
    free = _with(PLAN, "ceilings", {"claim-ceiling": None, "year-ceiling": None})
    (told,) = story.under(free)
    moved = {one.reason: (one.before, one.after) for one in told.shares}
    assert moved[Reason.SECTION_CEILING] == (10_000, 0)
    (back,) = _again_under(PLAN, free)
    assert {one.reason: (one.before, one.after) for one in back.shares}[Reason.SECTION_CEILING] == (
        0,
        10_000,
    )


def _again_under(plan: Plan, decided_under: Plan) -> list[Outcome]:
    story = _Story(decided_under)
    story.claim(_bill("B1", ("S1", "1000.00")))
    return story.under(plan)


@pytest.mark.parametrize(("was", "todays"), [(PLAN, None), (CHEAPER, 50_000)])
def test_what_todays_engine_alone_would_do_is_told_where_an_earlier_one_decided(
    was: Plan, todays: int | None
) -> None:
    """As if the earlier engine had decided under `was` what today's decides under PLAN."""
    story = _Story(PLAN)
    story.claim(_bill("B1", ("S1", "1000.00")), earlier_under="v")
    (told,) = decide_household(DEARER, story.household(), {"v": was})
    assert (told.before, told.after, told.todays) == (60_000, 60_000, todays)
    (control,) = decide_household(DEARER, story.household())
    assert control.todays is None


def test_of_one_reason_bearers_stand_in_the_order_of_their_names() -> None:
    ranks = [share_rank((one, Reason.PRICE_ABOVE_CONTRACT)) for one in Bearer]
    assert [name for _, name in ranks] == [one.value for one in Bearer]
    assert len({rank for rank, _ in ranks}) == 1


def test_what_waits_under_another_plan_pays_what_is_undisputed() -> None:
    flow = plan_named("conventions-flow")
    story = _Story(flow)
    insured = policy(end=date(2027, 1, 1))
    facts = _bill("B1", ("R1", "100.00"), ("P1", "40.00"), day=date(2026, 3, 1))
    decision = story.claim(facts, insured=insured, family_sizes={1: 1})
    assert decision.disposition.waits
    (told,) = story.under(flow)
    assert (told.before, told.after, told.change) == (4_000, 4_000, Change.SAME)
    assert (told.pended_before, told.pended_after) == (True, True)
    assert (told.proposed_before, told.proposed_after) == (0, 0)  # 40 is paid, not proposed again
    (never,) = story.under(replace(flow, undisputed_first=None))
    assert (never.before, never.after, never.change) == (4_000, 0, Change.DOWN)
    assert (never.proposed_before, never.proposed_after) == (0, 4_000)


def test_what_was_paid_and_would_wait_is_pended() -> None:
    flow = plan_named("conventions-flow")
    loose = replace(flow, auto_pay_ceiling=None)
    story = _Story(loose)
    story.claim(_bill("B1", ("P1", "950.00")), family_sizes={1: 1})
    (told,) = story.under(flow)
    assert (told.before, told.after, told.change) == (95_000, 0, Change.PENDED)
    assert (told.pended_before, told.pended_after) == (False, True)
    assert _paid(_reversed(flow, loose)) == [(0, 95_000, Change.NEWLY_PAID)]


def _reversed(flow: Plan, loose: Plan) -> list[Outcome]:
    story = _Story(flow)
    story.claim(_bill("B1", ("P1", "950.00")), family_sizes={1: 1})
    return story.under(loose)


def test_a_waiting_first_policy_has_paid_the_second_nothing() -> None:
    flow = plan_named("conventions-flow")
    loose = replace(flow, auto_pay_ceiling=None)
    story = _Story(loose)
    facts = _bill("B1", ("P1", "950.00"))
    story.claim(facts, family_sizes={1: 1})
    story.claim(facts, insured=SECOND, prior=_from_first(95_000), family_sizes={1: 1})
    _, second = story.under(flow)
    assert (second.before, second.after) == (0, 0)
    assert second.pended_after
    assert Reason.PRIOR_PAYER_PAID not in {one.reason for one in second.shares if one.after}


def test_what_waits_is_proposed_and_in_no_reason() -> None:
    flow = plan_named("conventions-flow")
    loose = replace(flow, auto_pay_ceiling=None)
    for decided_by, again_by in ((loose, flow), (flow, loose)):
        story = _Story(decided_by)
        story.claim(_bill("B1", ("P1", "950.00")), family_sizes={1: 1})
        told = Difference()
        (one,) = story.under(again_by)
        told.add(one, "ann")
        # Either side that waits pays nothing, and says what it would propose.
        borne = {key: (of.before, of.after) for key, of in told.shares()}
        paid = borne[Bearer.INSURER, Reason.BENEFIT]
        assert paid == (told.total.before, told.total.after)
        proposed = (told.proposed.before, told.proposed.after)
        assert (one.pended_before, one.pended_after) == tuple(map(bool, proposed))
        assert sorted(paid) == sorted(proposed)
        assert sum(paid) > 0 == min(paid)


def test_every_cause_why_a_claim_cannot_be_decided_is_named_once() -> None:
    story = _Story(PLAN)
    cut = ReviewedLine(number=1, clause="4.1", unit_price=line().unit_price)
    story.claim(_bill("B1", ("D1", "100.00")), review=Review(lines=(cut,)))
    other = replace(
        PLAN,
        clauses=tuple(one for one in PLAN.clauses if one.id != "4.1"),
        deductibles=(),
    )
    (told,) = story.under(other)
    assert (told.before, told.after, told.change) == (0, 0, Change.UNDECIDABLE)
    assert told.cannot == (Cannot(cause=Cause.UNKNOWN_CLAUSE, about="4.1"),)
    bare = replace(
        PLAN, code_systems=(), code_sets=(), providers=replace(PLAN.providers, listing=())
    )
    (told,) = story.under(bare)
    systems = {one.code.system for one in bill().lines}
    systems |= {one.code.system for one in bill().diagnoses}
    assert told.cannot == tuple(
        Cannot(cause=Cause.UNKNOWN_CODE_SYSTEM, about=one) for one in sorted(systems)
    )
    (told,) = story.under(replace(PLAN, first_day=date(2030, 1, 1)))
    assert told.cannot == (Cannot(cause=Cause.NO_TERMS),)
    (told,) = story.under(replace(PLAN, currency="USD"))
    assert Cannot(cause=Cause.OTHER_FAULT, about="WRONG_CURRENCY") in told.cannot
    assert len(set(told.cannot)) == len(told.cannot)


def test_a_first_policy_whose_claim_cannot_be_decided_has_paid_the_second_nothing() -> None:
    story = _Story(PLAN)
    facts = _bill("B1", ("F1", "100.00"))
    kept = ReviewedLine(number=1, clause="6.3", unit_price=line().unit_price)
    story.claim(facts, review=Review(lines=(kept,)))
    story.claim(facts, insured=SECOND, prior=_from_first(10_000))
    lost = tuple(one for one in PLAN.clauses if one.id != "6.3")
    first, second = story.under(replace(PLAN, clauses=lost))
    assert first.change is Change.UNDECIDABLE
    assert (second.before, second.after) == (0, 10_000)


def test_a_claim_that_cannot_be_decided_uses_nothing_up_and_allows_nothing() -> None:
    story = _Story(PLAN)
    early = bill(line(1, "S1", "1000.00"), number="B1", day=date(2025, 2, 1))
    story.claim(early)
    story.claim(_bill("B2", ("S1", "1000.00")))
    gone = replace(PLAN, first_day=date(2025, 3, 1))
    first, second = story.under(gone)
    assert first.change is Change.UNDECIDABLE
    assert (second.before, second.after) == (40_000, 60_000)


# --- facts that the other plan reads ---


def test_the_size_of_the_family_is_read_where_the_other_plan_does() -> None:
    flow = plan_named("conventions-flow")
    story = _Story(_without_steps(flow))
    story.claim(_bill("B1", ("F1", "900.00")), family_sizes={1: 3, 2: 9})
    # 500 for two, and 200 more for the third.
    (told,) = story.under(flow)
    assert (told.before, told.after, told.change) == (50_000, 70_000, Change.UP)


def _without_steps(flow: Plan) -> Plan:
    plain = replace(flow, ceilings=tuple(replace(one, family_step=None) for one in flow.ceilings))
    return replace(
        plain, deductibles=tuple(replace(one, family_step=None) for one in flow.deductibles)
    )


def test_the_day_of_arrival_is_read_where_the_other_plan_does() -> None:
    edits = plan_named("conventions-edits")
    assert edits.edits is not None
    assert edits.edits.filing is not None
    strict = replace(edits.edits.filing, values=Dated(((edits.first_day, 3),)), exceptions=None)
    story = _Story(edits)
    story.claim(_bill("B1", ("V1", "10.00"), day=date(2025, 3, 1)))  # nine days before it came
    asked = replace(edits, edits=replace(edits.edits, filing=strict))
    (told,) = story.under(asked)
    assert (told.before, told.after, told.change) == (1_000, 0, Change.DENIED)
    unasked = replace(edits, edits=replace(edits.edits, filing=None))
    assert _paid(story.under(unasked)) == [(1_000, 1_000, Change.SAME)]


def test_the_first_day_of_service_is_the_earliest_lines_or_the_bills_last() -> None:
    story = _Story(PLAN)
    early = replace(line(1, "F1"), service_date=date(2025, 3, 8))
    stay = replace(bill(early, line(2, "F2")), start_date=date(2025, 3, 8))
    story.claim(stay)
    story.claim(_bill("B2", ("F3", "1.00")))
    assert [first_service_day(one) for one in story.claims] == [date(2025, 3, 8), DAY]
