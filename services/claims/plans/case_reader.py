"""Reads case files: facts and a sequence of events with what must come out. Format: docs/cases.md.

Unknown keys are refused; every fault of a file is told at once with its line. Runs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from services.claims.core.facts import (
    Balance,
    BillFacts,
    CareType,
    Coding,
    DiagnosisFacts,
    EarlierService,
    LineFacts,
    LinePayment,
    PolicySnapshot,
    PriorPayment,
    PriorPayments,
    SocialInsuranceFacts,
)
from services.claims.core.intake import priced
from services.claims.core.plan import Plan
from services.claims.plans.accumulator_units import Accumulator
from services.claims.plans.case_coding import (
    read_bill_coding,
    read_days_supply,
    read_line_coding,
    read_modifiers,
)
from services.claims.plans.case_expectations import ExpectationReader, Expected
from services.claims.plans.case_facts import (
    CaseProvider,
    read_boolean,
    read_case_providers,
    read_coding,
    read_policy,
    read_quantity,
)
from services.claims.plans.code_systems import CODE_SYSTEMS
from services.claims.plans.context import each, system_uri
from services.claims.plans.reader import Faults, Mapping, Value
from services.common.money import MAX_MINOR_UNITS


@dataclass(frozen=True, slots=True)
class Event:
    """A claim, or the withdrawal of an earlier one (`bill` None)."""

    name: str
    line: int
    who: str
    bill: BillFacts | None
    prior: PriorPayments
    expected: Expected


@dataclass(frozen=True, slots=True)
class Case:
    """One sentence, its facts and its events. History without a member's name is everybody's."""

    name: str
    line: int
    policies: dict[str, PolicySnapshot]
    balances: tuple[tuple[str, Balance], ...]
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
    top = Mapping(faults, faults.tree(yaml))
    written_for = top.get("plan")
    if written_for.text() != plan.id:
        written_for.fault("OTHER_PLAN", f"these cases are for {written_for.value}, not {plan.id}")
    given = top.maybe("given")
    reader = _CaseReader(plan, given.mapping() if given is not None else None)
    cases = tuple(each(top, "cases", reader.case))
    if not cases and top.has("cases"):
        top.fault("NO_CASES", "write at least one case", "cases")
    top.get("cases")
    top.done()
    names = [case.name for case in cases]
    for case in cases:
        if names.count(case.name) > 1:
            faults.add("cases", case.line, "DUPLICATE_NAME", f"two cases are named {case.name!r}")
    faults.check()
    return cases


class _CaseReader:
    """Reads cases under one plan and one `given`."""

    def __init__(self, plan: Plan, given: Mapping | None) -> None:
        self._plan = plan
        self._expectations = ExpectationReader(plan)
        self._accumulators = self._expectations.accumulators
        self._given = given
        if given is not None:
            for key in ("codes", "diagnoses", "member", "members", "policy", "providers"):
                given.maybe(key)
            given.done()

    def case(self, term: Mapping) -> Case:
        """One case; what it does not say itself is taken from `given`."""
        setting = _Setting(
            codes=self._system(term, "codes"),
            diagnoses=self._system(term, "diagnoses"),
            providers=read_case_providers(self._either(term, "providers"), self._plan.currency),
        )
        policies = self._policies(term)
        history = term.maybe("history")
        balances: tuple[tuple[str, Balance], ...] = ()
        services: tuple[tuple[str, EarlierService], ...] = ()
        if history is not None:
            told = history.mapping()
            balances = each(told, "balances", lambda t: self._balance(t, policies))
            services = each(told, "services", lambda t: self._service(t, setting, policies))
            told.done()
        name = term.get("case").text()
        events = each(term, "events", lambda t: self._event(t, setting, policies))
        if not events:
            term.fault("NO_EVENTS", "write at least one event", "events")
        return Case(name, term.line, policies, balances, services, events)

    def _either(self, term: Mapping, key: str) -> Value | None:
        found = term.maybe(key)
        if found is None and self._given is not None:
            return self._given.maybe(key)
        return found

    def _system(self, term: Mapping, key: str) -> str:
        found = self._either(term, key)
        return CODE_SYSTEMS["icd-10"].uri if found is None else system_uri(found)

    def _policies(self, term: Mapping) -> dict[str, PolicySnapshot]:
        """One snapshot a member; a case has `member`, or `members` by name."""
        many, one = self._either(term, "members"), self._either(term, "member")
        policy = self._either(term, "policy")
        if policy is None or (many is None and one is None):
            term.fault("MISSING_KEY", "a case needs a member and a policy, its own or given")
            return {}
        if term.has("member") and term.has("members"):
            term.fault("CONTRADICTION", "write member or members, not both", "members")
        if many is not None and not term.has("member"):
            members = many.mapping()
            people = {name: members.get(name) for name in members.names()}
        else:
            people = {"": one} if one is not None else {}
        return {name: read_policy(policy, name, person) for name, person in people.items()}

    def _who(self, term: Mapping, policies: dict[str, PolicySnapshot]) -> str:
        found = term.maybe("member")
        if found is not None:
            return found.reference(policies, "member")
        return next(iter(policies), "")

    def _balance(self, term: Mapping, policies: dict[str, PolicySnapshot]) -> tuple[str, Balance]:
        accumulator = self._accumulator(term.get("accumulator"))
        period = term.maybe("period")
        used = self._expectations.quantity(accumulator, term.get("used"))
        balance = Balance(
            accumulator=accumulator.id,
            scope=accumulator.scope,
            period_start=None if period is None else period.day(),
            amount=0 if accumulator.counts else used,
            count=used if accumulator.counts else 0,
        )
        return self._who(term, policies), balance

    def _service(
        self, term: Mapping, setting: _Setting, policies: dict[str, PolicySnapshot]
    ) -> tuple[str, EarlierService]:
        service = EarlierService(
            bill_number=term.get("bill").text(),
            provider_id=term.get("provider").text(),
            code=read_coding(term, setting.codes),
            service_date=term.get("day").day(),
            quantity=read_quantity(term.maybe("quantity")),
            unit_price=term.get("price").decimal(places=6),
            modifiers=read_modifiers(term),
            days_supply=read_days_supply(term),
            claim=term.get("bill").text(),
        )
        return self._who(term, policies), service

    def _accumulator(self, value: Value) -> Accumulator:
        name = value.reference(self._accumulators, "accumulator in the plan")
        return self._accumulators.get(name) or next(
            iter(self._accumulators.values()), Accumulator.nothing()
        )

    def _event(
        self, term: Mapping, setting: _Setting, policies: dict[str, PolicySnapshot]
    ) -> Event:
        who = self._who(term, policies)
        withdrawn = term.maybe("withdraw")
        if withdrawn is not None:
            name, bill, prior = withdrawn.text(), None, PriorPayments()
        else:
            name = term.get("claim").text()
            bill = self._bill(term, name, setting)
            prior = PriorPayments(payments=each(term, "earlier_insurers", self._payment))
        expected = self._expectations.expected(term.get("expect").mapping())
        return Event(name, term.line, who, bill, prior, expected)

    def _bill(self, term: Mapping, name: str, setting: _Setting) -> BillFacts:
        day = term.maybe("day")
        start = term.get("from").day() if day is None else day.day()
        end = term.get("to").day() if day is None else day.day()
        care, provider_id = term.maybe("care"), term.get("provider").text()
        provider = setting.providers.get(provider_id, CaseProvider(None, None, ()))
        diagnoses = term.items("diagnoses")
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
            diagnoses=tuple(
                DiagnosisFacts(
                    number=number,
                    code=Coding(system=setting.diagnoses, code=one.text()),
                    principal=number == 1,
                )
                for number, one in enumerate(diagnoses, start=1)
            ),
            social_insurance=self._social_insurance(term),
            price_list=provider.prices,
            direct_billing=read_boolean(term.maybe("direct_billing")) or False,
            licences=provider.licences,
            **read_bill_coding(term),
        )

    def _line(self, term: Mapping, number: int, last: date, setting: _Setting) -> LineFacts:
        quantity = read_quantity(term.maybe("quantity"))
        price = term.get("price").decimal(places=6)
        day, fund = term.maybe("day"), term.maybe("fund_paid")
        service_day = None if day is None else day.day()
        billed = priced(quantity, price, self._plan.currency)
        if billed > MAX_MINOR_UNITS:
            term.fault("OUT_OF_RANGE", "quantity × price is above 10^15 minor units", "price")
        line = LineFacts(
            number=number,
            code=read_coding(term, setting.codes),
            quantity=quantity,
            unit_price=price,
            billed=billed,
            service_date=service_day,
            diagnosis_numbers=tuple(item.whole(least=1) for item in term.items("diagnoses")),
            fund_paid=None if fund is None else fund.money(self._plan.currency),
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
