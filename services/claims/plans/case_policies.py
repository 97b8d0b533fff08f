"""Reads the policies of a case: one, or several under plans of their own, and whom they insure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from services.claims.core.coordination import Candidate, coordinated, place_on
from services.claims.core.facts import BillFacts, MemberFacts, PolicySnapshot
from services.claims.core.plan import Plan, StayDay, reads_family_size
from services.claims.plans.case_facts import CasePeriod, read_insured, read_period
from services.claims.plans.context import Context
from services.claims.plans.loader import load_plan
from services.claims.plans.reader import Mapping, Value
from services.common.strict_yaml import StrictYamlError

_EXAMPLES = Path(__file__).parent
_LONGEST_PATH = 255

People = dict[str, Value]


@dataclass(frozen=True, kw_only=True, slots=True)
class CasePolicy:
    """One policy of a case, its plan, and the people whom it insures.

    `choice` is where the member wants it among several, 0 for not chosen; `renews` the policy that
    it goes on from without a gap.
    """

    plan: Plan
    insured: dict[str, PolicySnapshot]
    period: CasePeriod
    choice: int = 0
    renews: str = ""

    def changed(
        self, name: str, who: str, told: Value, codes: str, context: Context
    ) -> PolicySnapshot:
        """The policy of a person of whom other facts hold now."""
        return read_insured(self.period, name, who, told, codes, context)

    def candidate(self, name: str, who: str, bill: BillFacts) -> Candidate | None:
        """What the order of coordination reads of it; None where the person is not insured."""
        snapshot = self.insured.get(who)
        if snapshot is None:
            return None
        looks_at_start = self.plan.general.cover_day is StayDay.START
        day = bill.start_date if looks_at_start else bill.end_date
        return Candidate(
            policy_id=name,
            covers=any(one.start <= day < one.end for one in snapshot.member.cover),
            renews=_renews(snapshot.member, bill),
            previous=self.renews,
            choice=self.choice,
            place=place_on(self.plan, bill.end_date),
        )


def _renews(member: MemberFacts, bill: BillFacts) -> bool:
    return any(
        one.continuous_since <= bill.start_date and one.start <= bill.end_date < one.end
        for one in member.cover
    )


def answering(
    policies: dict[str, CasePolicy], who: str, bill: BillFacts, *, in_force: bool = False
) -> list[str]:
    """The policies under which the bill opens a claim, in coordination order.

    Only those `in_force`, else without any the newest, whose claim is denied.
    """
    oldest_first = sorted(
        (one.insured[who].start, number, name)
        for number, (name, one) in enumerate(policies.items())
        if who in one.insured
    )
    found = (policies[name].candidate(name, who, bill) for _, _, name in oldest_first)
    candidates = [one for one in found if one is not None]
    if in_force:
        candidates = [one for one in candidates if one.covers or one.renews]
    return coordinated(candidates)


def read_case_policies(
    single: Value | None,
    several: Value | None,
    people: People,
    codes: str,
    plan: Plan,
    context: Context,
    source: Path,
    *,
    named: bool,
) -> dict[str, CasePolicy]:
    """The policies of a case by name; one that stands alone has none.

    `named` says that the people have names and so are the whole family.
    """
    if several is None:
        if single is None:
            return {}
        terms = single.mapping()
        alone = _policy("", terms, people, codes, plan, context, named=named)
        terms.done()
        return {"": alone}
    told = several.mapping()
    found: dict[str, CasePolicy] = {}
    for key in told.names():
        own = told.get(key).mapping()
        under, order, renews = own.maybe("plan"), own.maybe("order"), own.maybe("renews")
        policy = _policy(
            key,
            own,
            _whom(own, people),
            codes,
            plan if under is None else _other_plan(under, plan, source),
            context,
            named=named,
        )
        found[told.label(key)] = replace(
            policy,
            choice=0 if order is None else order.whole(least=1),
            renews="" if renews is None else renews.text(),
        )
        own.done()
    for key, one in found.items():
        if one.renews and one.renews not in found:
            text = f"the case has no policy {one.renews!r}"
            told.get(key).fault("UNKNOWN_REFERENCE", text)
    done: dict[str, CasePolicy] = {}
    for key in found:
        _continued(key, found, done)
    return done


def _continued(
    name: str, found: dict[str, CasePolicy], done: dict[str, CasePolicy]
) -> CasePolicy | None:
    """The policy with cover that goes on from the one it renews, where it does not say since when.

    Whose cover there had ended before has a gap.
    """
    if name in done or name not in found:
        return done.get(name)
    done[name] = one = found[name]  # a policy that renews itself goes on from nothing
    before = _continued(one.renews, found, done)
    if before is None or one.period.since is not None or before.period.end < one.period.start:
        return one
    done[name] = replace(
        one,
        insured={
            who: _going_on(snapshot, before.insured.get(who))
            for who, snapshot in one.insured.items()
        },
        period=replace(one.period, since=before.period.since or before.period.start),
    )
    return done[name]


def _going_on(snapshot: PolicySnapshot, before: PolicySnapshot | None) -> PolicySnapshot:
    if before is None:
        return snapshot
    last, cover = before.member.cover[-1], snapshot.member.cover[0]
    if not last.start < cover.start <= last.end:
        return snapshot
    going_on = msgspec.structs.replace(cover, continuous_since=last.continuous_since)
    member = msgspec.structs.replace(snapshot.member, cover=(going_on,))
    return msgspec.structs.replace(snapshot, member=member)


def _whom(own: Mapping, people: People) -> People:
    insures, member = own.maybe("insures"), own.maybe("member")
    insured = dict(people)
    if insures is not None:
        names = [item.reference(people, "member") for item in insures.items()]
        insured = {name: people[name] for name in names if name in people}
    if member is not None:
        if len(insured) != 1:
            text = "it is known of one person only; let the policy insure one"
            member.fault("CONTRADICTION", text)
        insured = dict.fromkeys(insured, member)
    return insured


def _policy(
    name: str,
    terms: Mapping,
    people: People,
    codes: str,
    plan: Plan,
    context: Context,
    *,
    named: bool,
) -> CasePolicy:
    period = read_period(terms)
    insured = {
        who: read_insured(period, name, who, person, codes, context)
        for who, person in people.items()
    }
    if named and reads_family_size(plan):
        # Members by name are the whole family, unless the policy says how many there are.
        insured = {
            who: msgspec.structs.replace(one, family_size=one.family_size or len(insured))
            for who, one in insured.items()
        }
    return CasePolicy(plan=plan, insured=insured, period=period)


def _other_plan(value: Value, plan: Plan, source: Path) -> Plan:
    """The plan of a file beside the case file, or of an example by its id."""
    name = value.text()[:_LONGEST_PATH]
    if name == plan.id:
        return plan
    places = (source.parent / name, source.parent / "plans" / f"{name}.yaml")
    path = next((one for one in (*places, _EXAMPLES / f"{name}.yaml") if one.is_file()), None)
    if path is None:
        text = "write the path of a plan file from this file's folder, or an example plan's id"
        value.fault("UNKNOWN_PLAN", text)
        return plan
    try:
        found = load_plan(path.read_bytes(), str(path))
    except StrictYamlError:
        value.fault("BAD_PLAN", f"{path.name} has faults; lipei plan check names them")
        return plan
    if found.currency != plan.currency:
        text = f"it pays in {found.currency}, the cases are in {plan.currency}"
        value.fault("OTHER_CURRENCY", text)
        return plan
    return found
