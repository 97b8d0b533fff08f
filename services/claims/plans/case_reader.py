"""Reads case files: facts and a sequence of events with what must come out. Format: docs/cases.md.

Unknown keys are refused; every fault of a file is told at once with its line. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import msgspec

from services.claims.core.accumulators import period_start
from services.claims.core.facts import (
    Balance,
    BillFacts,
    CareType,
    Coding,
    DiagnosisFacts,
    EarlierService,
    HospitalTier,
    LineFacts,
    LinePayment,
    PolicySnapshot,
    PriceList,
    PriorPayment,
    PriorPayments,
    Scope,
    SocialInsuranceFacts,
    balance_key,
)
from services.claims.core.intake import priced
from services.claims.core.plan import Period, Plan
from services.claims.plans.accumulator_units import Accumulator, authorisation_accumulator
from services.claims.plans.case_benefits import read_optional_text
from services.claims.plans.case_book import owner_of
from services.claims.plans.case_coding import (
    read_bill_coding,
    read_days_supply,
    read_line_coding,
    read_modifiers,
)
from services.claims.plans.case_events import Event, EventReader, Parts
from services.claims.plans.case_expectations import ExpectationReader
from services.claims.plans.case_facts import (
    CasePeriod,
    CaseProvider,
    check_workings,
    read_boolean,
    read_case_providers,
    read_coding,
    read_quantity,
)
from services.claims.plans.case_policies import CasePolicy, People, read_case_policies
from services.claims.plans.code_systems import CODE_SYSTEMS
from services.claims.plans.context import Context, each, system_uri
from services.claims.plans.contract_prices import read_price_list
from services.claims.plans.reader import STAND_IN, Faults, Mapping, Value
from services.common.money import MAX_MINOR_UNITS

replace = msgspec.structs.replace
_HERE = Path("cases")
_DAY = timedelta(days=1)
_NO_PERIOD = CasePeriod(STAND_IN, STAND_IN, None, None)
_GIVEN = ("codes", "diagnoses", "member", "members", "policy", "policies", "providers")
# Facts of a bill that a completion may state, and the keys that state them.
_CODING_KEYS = {
    "liability": "liability",
    "papers": "papers",
    "received_date": "received",
    "late_reason": "late_reason",
    "appeal": "appeal",
    "admitted": "admitted",
    "emergency": "emergency",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One sentence, its facts and its events.

    Balances are by policy and member, services by member; the names of what a case has one of are
    empty.
    """

    name: str
    line: int
    policies: dict[str, CasePolicy]
    balances: tuple[tuple[str, str, Balance], ...]
    services: tuple[tuple[str, EarlierService], ...]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a file's `given` and a case's own keys say together."""

    codes: str
    diagnoses: str
    providers: dict[str, CaseProvider]


def read_cases(plan: Plan, yaml: bytes | str, source: str) -> tuple[Case, ...]:
    """The cases of a file written for this plan.

    Raises: StrictYamlError with every fault of the file.
    """
    faults = Faults(source)
    cases = read_case_file(plan, Mapping(faults, faults.tree(yaml)), Path(source))
    names = [case.name for case in cases]
    for case in cases:
        if names.count(case.name) > 1:
            faults.add("cases", case.line, "DUPLICATE_NAME", f"two cases are named {case.name!r}")
    faults.check()
    return cases


def read_case_file(plan: Plan, top: Mapping, source: Path = _HERE) -> tuple[Case, ...]:
    """The cases of a file for this plan, as they stand there; faults are noted.

    Other plans that it names are looked up beside `source`.
    """
    written_for = top.get("plan")
    if written_for.text() != plan.id:
        written_for.fault("OTHER_PLAN", f"these cases are for {written_for.value}, not {plan.id}")
    given = top.maybe("given")
    reader = _CaseReader(plan, given.mapping() if given is not None else None, source)
    cases = tuple(each(top, "cases", reader.case))
    if not cases and top.has("cases"):
        top.fault("NO_CASES", "write at least one case", "cases")
    top.get("cases")
    top.done()
    return cases


class _CaseReader:
    """Reads cases under one plan and one `given`."""

    def __init__(self, plan: Plan, given: Mapping | None, source: Path) -> None:
        self._plan = plan
        self._source = source
        # A price list may begin on any day.
        self._context = Context(currency=plan.currency, first_day=date.max)
        self._context.name_systems(plan.systems)
        self._given = given
        if given is not None:
            for key in _GIVEN:
                given.maybe(key)
            given.done()

    def case(self, term: Mapping) -> Case:
        """One case; what it does not say itself is taken from `given`."""
        setting = _Setting(
            codes=self._system(term, "codes"),
            diagnoses=self._system(term, "diagnoses"),
            providers=read_case_providers(self._either(term, "providers"), self._context),
        )
        people = self._people(term)
        policies = self._policies(term, people)
        expectations = {name: ExpectationReader(one.plan) for name, one in policies.items()}
        history = term.maybe("history")
        balances: tuple[tuple[str, str, Balance], ...] = ()
        services: tuple[tuple[str, EarlierService], ...] = ()
        if history is not None:
            told = history.mapping()
            balances = self._balances(told, people, policies, expectations)
            services = each(told, "services", lambda t: self._service(t, setting, people))
            told.done()
        name = term.get("case").text()
        check_workings(term)
        known = self._known_providers(term, policies, services)
        reader = self._events(setting, people, policies, expectations, known)
        events = tuple(one for item in each(term, "events", reader.events) for one in item)
        if not events:
            term.fault("NO_EVENTS", "write at least one event", "events")
        return Case(name, term.line, policies, balances, services, events)

    def _either(self, term: Mapping, key: str) -> Value | None:
        found = term.maybe(key)
        if found is None and self._given is not None:
            return self._given.maybe(key)
        return found

    def _known_providers(
        self,
        term: Mapping,
        policies: dict[str, CasePolicy],
        services: tuple[tuple[str, EarlierService], ...],
    ) -> frozenset[str] | None:
        """Whom plans and facts name beside `providers`; None knows all, where it is left out."""
        if self._either(term, "providers") is None:
            return None
        listed = (one.id for policy in policies.values() for one in policy.plan.providers.listing)
        members = (one.member for policy in policies.values() for one in policy.insured.values())
        doctors = (one.family_doctor.contracts for one in members if one.family_doctor)
        practices = (one.provider_id for contracts in doctors for one in contracts)
        return frozenset((*listed, *practices, *(one.provider_id for _, one in services)))

    def _system(self, term: Mapping, key: str) -> str:
        found = self._either(term, key)
        return CODE_SYSTEMS["icd-10"].uri if found is None else system_uri(found, self._context)

    def _people(self, term: Mapping) -> People:
        """What is said of each member; a case has `member`, or `members` by name."""
        many, one = self._either(term, "members"), self._either(term, "member")
        if many is None and one is None:
            term.fault("MISSING_KEY", "a case needs a member, its own or given")
            return {}
        if term.has("member") and term.has("members"):
            term.fault("CONTRADICTION", "write member or members, not both", "members")
        if many is not None and not term.has("member"):
            members = many.mapping()
            return {name: members.get(name) for name in members.names()}
        return {"": one} if one is not None else {}

    def _policies(self, term: Mapping, people: People) -> dict[str, CasePolicy]:
        """The policies by name; a case has `policy`, or `policies` by name."""
        several, single = self._either(term, "policies"), self._either(term, "policy")
        if several is None and single is None:
            term.fault("MISSING_KEY", "a case needs a policy, its own or given")
        if term.has("policy") and term.has("policies"):
            term.fault("CONTRADICTION", "write policy or policies, not both", "policies")
        if term.has("policy"):
            several = None
        found = read_case_policies(
            single,
            several,
            people,
            self._system(term, "codes"),
            self._plan,
            self._context,
            self._source,
            named="" not in people,
        )
        if several is not None and not found:
            several.fault("NO_POLICIES", "name at least one policy")
        return found or {"": CasePolicy(plan=self._plan, insured={}, period=_NO_PERIOD)}

    def _who(self, term: Mapping, people: Iterable[str]) -> str:
        found = term.maybe("member")
        if found is not None:
            return found.reference(people, "member")
        return next(iter(people), "")

    def _balances(
        self,
        told: Mapping,
        people: People,
        policies: dict[str, CasePolicy],
        expectations: dict[str, ExpectationReader],
    ) -> tuple[tuple[str, str, Balance], ...]:
        """What accumulators held before, each of a period once: two days of one period are one."""
        held: set[tuple[str, str, tuple[str, str, str]]] = set()

        def read(term: Mapping) -> tuple[str, str, Balance]:
            policy, who, balance = self._balance(term, people, policies, expectations)
            key = (policy, owner_of(balance.scope, who), balance_key(balance))
            if key in held:
                text = "an earlier balance is of the same accumulator and period; write their sum"
                term.fault("DUPLICATE_BALANCE", text, "accumulator")
            held.add(key)
            return policy, who, balance

        return each(told, "balances", read)

    def _balance(
        self,
        term: Mapping,
        people: People,
        policies: dict[str, CasePolicy],
        expectations: dict[str, ExpectationReader],
    ) -> tuple[str, str, Balance]:
        policy = next(iter(expectations))
        if policy:
            policy = term.get("policy").reference(expectations, "policy")
        reader = expectations.get(policy) or next(iter(expectations.values()))
        accumulator = self._accumulator(term.get("accumulator"), reader)
        who = self._who(term, people)
        period = term.maybe("period")
        day = None if period is None else period.fact_day()
        insured = policies[policy].insured.get(who) if policy in policies else None
        start = None if insured is None else _period_start(term, accumulator, insured, day)
        used = reader.quantity(accumulator, term.get("used"))
        balance = Balance(
            accumulator=accumulator.id,
            scope=accumulator.scope,
            period_start=start,
            amount=0 if accumulator.counts else used,
            count=used if accumulator.counts else 0,
        )
        return policy, who, balance

    def _service(
        self, term: Mapping, setting: _Setting, people: People
    ) -> tuple[str, EarlierService]:
        service = EarlierService(
            bill_number=term.get("bill").text(),
            provider_id=term.get("provider").text(),
            code=read_coding(term, setting.codes, self._context),
            service_date=term.get("day").fact_day(),
            quantity=read_quantity(term.maybe("quantity")),
            unit_price=term.get("price").decimal(places=6),
            modifiers=read_modifiers(term),
            days_supply=read_days_supply(term),
            claim=term.get("bill").text(),
        )
        return self._who(term, people), service

    def _accumulator(self, value: Value, reader: ExpectationReader) -> Accumulator:
        authorised = authorisation_accumulator(value.value)
        if authorised is not None:
            return authorised
        known = reader.accumulators
        name = value.reference(known, "accumulator in the plan")
        return known.get(name) or next(iter(known.values()), Accumulator.nothing())

    def _events(
        self,
        setting: _Setting,
        people: People,
        policies: dict[str, CasePolicy],
        expectations: dict[str, ExpectationReader],
        known: frozenset[str] | None,
    ) -> EventReader:
        return EventReader(
            {name: one.plan for name, one in policies.items()},
            expectations,
            Parts(
                who=lambda t: self._who(t, people),
                names_nobody=lambda t: _names_nobody(t, people),
                knows_provider=lambda one: known is None or one in known | setting.providers.keys(),
                bill=lambda t, name: self._bill(t, name, setting),
                prior=lambda t: PriorPayments(payments=each(t, "earlier_insurers", self._payment)),
                supplied=lambda t, bill: self._supplied(t, bill, setting),
                current=lambda bill: self._current(bill, setting),
                price_list=lambda t, provider: self._price_list(t, provider, setting),
                person=lambda who, told: {
                    name: one.changed(name, who, told, setting.codes, self._context)
                    for name, one in policies.items()
                    if who in one.insured
                },
            ),
        )

    def _supplied(self, term: Mapping, bill: BillFacts, setting: _Setting) -> BillFacts:
        """The bill with what papers say; what they do not say stays."""
        care, referral = term.maybe("care"), term.maybe("referral")
        authorisation, tier = term.maybe("authorisation"), term.maybe("tier")
        paid = self._social_insurance(term)
        if tier is not None:
            before = setting.providers.get(bill.provider_id, CaseProvider(None, None, ()))
            setting.providers[bill.provider_id] = CaseProvider(
                tier.choice(HospitalTier), before.prices, before.licences
            )
        coding = read_bill_coding(term)
        return replace(
            bill,
            care_type=bill.care_type if care is None else care.choice(CareType),
            referral=bill.referral if referral is None else referral.boolean(),
            authorisation=bill.authorisation if authorisation is None else authorisation.text(),
            diagnoses=self._diagnoses(term, setting) if term.has("diagnoses") else bill.diagnoses,
            social_insurance=bill.social_insurance if paid is None else paid,
            **{name: coding[name] for name, key in _CODING_KEYS.items() if term.has(key)},
        )

    def _current(self, bill: BillFacts, setting: _Setting) -> BillFacts:
        """The bill with what is known of its provider by now, whenever it was entered."""
        provider = setting.providers.get(bill.provider_id, CaseProvider(None, None, ()))
        return replace(
            bill,
            hospital_tier=provider.tier,
            price_list=provider.prices,
            licences=provider.licences,
        )

    def _price_list(self, term: Mapping, provider: str, setting: _Setting) -> None:
        before = setting.providers.get(provider, CaseProvider(None, None, ()))
        term.get("prices")
        prices = PriceList(prices=read_price_list(term, self._context))
        setting.providers[provider] = CaseProvider(before.tier, prices, before.licences)

    def _bill(self, term: Mapping, name: str, setting: _Setting) -> BillFacts:
        day = term.maybe("day")
        start = term.get("from").fact_day() if day is None else day.fact_day()
        end = term.get("to").fact_day() if day is None else day.fact_day()
        care, provider_id = term.maybe("care"), term.get("provider").text()
        provider = setting.providers.get(provider_id, CaseProvider(None, None, ()))
        return BillFacts(
            bill_number=name,
            provider_id=provider_id,
            start_date=start,
            end_date=end,
            currency=self._plan.currency,
            lines=tuple(
                self._line(item.mapping(), number, end, setting)
                for number, item in enumerate(term.items("lines"), start=1)
            ),
            hospital_tier=provider.tier,
            care_type=None if care is None else care.choice(CareType),
            diagnoses=self._diagnoses(term, setting),
            social_insurance=self._social_insurance(term),
            price_list=provider.prices,
            direct_billing=read_boolean(term.maybe("direct_billing")) or False,
            licences=provider.licences,
            **read_bill_coding(term),
            referral=read_boolean(term.maybe("referral")),
            authorisation=read_optional_text(term, "authorisation"),
        )

    def _diagnoses(self, term: Mapping, setting: _Setting) -> tuple[DiagnosisFacts, ...]:
        return tuple(
            DiagnosisFacts(
                number=number,
                code=Coding(system=setting.diagnoses, code=one.text()),
                principal=number == 1,
            )
            for number, one in enumerate(term.items("diagnoses"), start=1)
        )

    def _line(self, term: Mapping, number: int, last: date, setting: _Setting) -> LineFacts:
        quantity = read_quantity(term.maybe("quantity"))
        price = term.get("price").decimal(places=6)
        day, fund = term.maybe("day"), term.maybe("fund_paid")
        service_day = None if day is None else day.fact_day()
        billed = priced(quantity, price, self._plan.currency)
        if billed > MAX_MINOR_UNITS:
            term.fault("OUT_OF_RANGE", "quantity × price is above 10^15 minor units", "price")
        line = LineFacts(
            number=number,
            code=read_coding(term, setting.codes, self._context),
            quantity=quantity,
            unit_price=price,
            billed=billed,
            service_date=service_day,
            diagnosis_numbers=tuple(item.whole(least=1) for item in term.items("diagnoses")),
            fund_paid=None if fund is None else fund.money(self._plan.currency),
            authorisation=read_optional_text(term, "authorisation"),
            **read_line_coding(term, service_day or last),
        )
        term.done()
        return line

    def _social_insurance(self, term: Mapping) -> SocialInsuranceFacts | None:
        found = term.maybe("social_insurance")
        if found is None:
            return None
        told = found.mapping()
        paid, account = told.maybe("paid"), told.maybe("account_paid")
        facts = SocialInsuranceFacts(
            used=read_boolean(told.maybe("used")),
            fund_paid=None if paid is None else paid.money(self._plan.currency),
            account_paid=0 if account is None else account.money(self._plan.currency),
        )
        told.done()
        return facts

    def _payment(self, term: Mapping) -> PriorPayment:
        lines = term.maybe("lines")
        by_line: tuple[LinePayment, ...] = ()
        if lines is not None:
            told = lines.mapping()
            by_line = tuple(
                LinePayment(
                    number=told.number(key), amount=told.get(key).money(self._plan.currency)
                )
                for key in told.names()
            )
        return PriorPayment(
            payer=term.get("payer").text(),
            amount=term.get("paid").money(self._plan.currency),
            lines=by_line,
        )


def _names_nobody(term: Mapping, people: People) -> bool:
    """Whether a member is named whom the case does not have; what is no name is another fault."""
    said = term.get("member").value if term.has("member") else None
    return isinstance(said, str) and said not in people


def _period_start(
    term: Mapping, accumulator: Accumulator, policy: PolicySnapshot, told: date | None
) -> date | None:
    """First day of the period of a balance of history, in which the day lies that it tells.

    Without one it is the policy's year, where the policy has one only. A balance of no period would
    count for nothing in silence.
    """
    start = period_start(accumulator.period, policy, told or policy.start)
    if accumulator.scope is Scope.TREATMENT:
        term.fault("NO_BALANCE", "each claim begins with nothing of it used", "accumulator")
    if told is None and accumulator.period not in (None, Period.LIFETIME):
        only = accumulator.period is Period.POLICY_YEAR
        if not only or period_start(accumulator.period, policy, policy.end - _DAY) != start:
            text = f"of which {accumulator.period} was it used? write a day of it"
            term.fault("MISSING_KEY", text, "period")
    return start
