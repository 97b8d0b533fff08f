"""From a plan file to a plan, or to every fault of the file with its line.

What today's engine cannot apply is an unknown key and refused; nothing is silently ignored. The
language: docs/plans.md.
"""

from __future__ import annotations

from services.claims.core.codes import comparable
from services.claims.core.decision import Bearer
from services.claims.core.facts import CareType
from services.claims.core.plan import (
    Category,
    Clause,
    CodeSet,
    Coordination,
    General,
    GivenName,
    Place,
    Plan,
    PreExisting,
    PreExistingRule,
    Prices,
    Section,
    SocialInsuranceTerms,
    StayDay,
    SystemCodes,
    WithoutList,
)
from services.claims.plans.amount_terms import (
    read_auto_pay_ceiling,
    read_ceilings,
    read_copays,
    read_count_limits,
    read_deductibles,
    read_fixed_limits,
    read_out_of_pocket,
    read_shares,
    read_unit_limits,
)
from services.claims.plans.benefit_checks import check_benefits
from services.claims.plans.benefit_terms import (
    read_authorisations,
    read_clocks,
    read_four_eyes,
    read_outcome_tier_day,
    read_payees,
    read_redecision,
    read_sampling,
    read_undisputed_first,
)
from services.claims.plans.checks import check_plan
from services.claims.plans.code_systems import CODE_SYSTEMS, CodeSystem
from services.claims.plans.context import (
    Context,
    choices,
    dated_word,
    each,
    read_code_systems,
    read_systems,
    read_text,
)
from services.claims.plans.edit_terms import read_edits
from services.claims.plans.reader import Faults, Mapping, Value
from services.claims.plans.required_keys import WRITE
from services.claims.plans.rule_terms import (
    read_eligibility,
    read_exclusions,
    read_mutual_recognition,
    read_pre_existing_value,
    read_providers,
    read_waiting_periods,
)
from services.common.money import currencies

FORMAT = 1
_NO_CODES = "write at least one code; null in place of the day's codes ends the set"


def load_plan(yaml: bytes | str, source: str) -> Plan:
    """The plan that a file holds. `source` names the file in faults.

    Raises: StrictYamlError with every fault of the file: unknown or duplicate keys, floats,
    impossible or unordered dates, unknown code systems and references, shares outside [0, 1],
    terms without clause, code sets that overlap, terms that conflict or require each other in a
    circle, shares that can never be reached, a plan that can never pay.
    """
    faults = Faults(source)
    top = Mapping(faults, faults.tree(yaml))
    plan = read_plan(top)
    check_plan(plan, top)
    check_benefits(plan, top)
    faults.check()
    return plan


def read_plan(top: Mapping) -> Plan:
    """The plan as it stands in the file; whether its terms fit together is not asked."""
    written = top.get("format", WRITE["format"])
    if written.whole() != FORMAT:
        written.fault("UNKNOWN_FORMAT", f"this version reads format {FORMAT}")
    plan_id, name = top.get("id", WRITE["id"]).ident(), read_text(top.get("name", WRITE["name"]))
    context = Context(
        currency=_currency(top), first_day=top.get("first_day", WRITE["first_day"]).day()
    )
    systems = read_systems(top)
    context.name_systems(systems)
    clauses = _clauses(top)
    context.clauses = tuple(one.id for one in clauses)
    code_sets = _code_sets(top, context)
    context.code_sets = tuple(one.id for one in code_sets)
    sections = _sections(top, context)
    context.sections = tuple(one.id for one in sections)
    categories, default_category = _categories(top, context)
    context.categories = tuple(one.id for one in categories)
    plan = Plan(
        format=FORMAT,
        id=plan_id,
        name=name,
        currency=context.currency,
        first_day=context.first_day,
        clauses=clauses,
        systems=systems,
        code_systems=read_code_systems(top, context),
        code_sets=code_sets,
        names=_names(top),
        sections=sections,
        categories=categories,
        default_category=default_category,
        providers=read_providers(top, context),  # first: it defines the networks
        general=_general(top, context),
        eligibility=read_eligibility(top, context),
        exclusions=read_exclusions(top, context),
        pre_existing=_pre_existing(top, context),
        waiting_periods=read_waiting_periods(top, context),
        mutual_recognition=read_mutual_recognition(top, context),
        prices=_prices(top, context),
        social_insurance=_social_insurance(top, context),
        fixed_limits=read_fixed_limits(top, context),
        unit_limits=read_unit_limits(top, context),
        deductibles=read_deductibles(top, context),
        copays=read_copays(top, context),
        shares=read_shares(top, context),
        out_of_pocket=read_out_of_pocket(top, context),
        ceilings=read_ceilings(top, context),
        count_limits=read_count_limits(top, context),
        coordination=_coordination(top, context),
        auto_pay_ceiling=read_auto_pay_ceiling(top, context),
        authorisations=read_authorisations(top, context),
        payees=read_payees(top, context),
        sampling=read_sampling(top, context),
        four_eyes=read_four_eyes(top, context),
        undisputed_first=read_undisputed_first(top, context),
        outcome_tier_day=read_outcome_tier_day(top, context),
        redecision=read_redecision(top, context),
        clocks=read_clocks(top, context),
        edits=read_edits(top, context),
    )
    top.done()
    return plan


def _currency(top: Mapping) -> str:
    text = "write an ISO 4217 code that plans may use, such as CNY"
    return (
        top.get("currency", WRITE["currency"]).word(currencies(), "UNKNOWN_CURRENCY", text) or "CNY"
    )


def _clauses(top: Mapping) -> tuple[Clause, ...]:
    clauses = top.get("clauses", WRITE["clauses"]).mapping()
    return tuple(
        Clause(id=clauses.label(key), text=read_text(clauses.get(key))) for key in clauses.names()
    )


def _code_sets(top: Mapping, context: Context) -> tuple[CodeSet, ...]:
    found = top.maybe("code_sets")
    if found is None:
        return ()
    sets = found.mapping()
    return tuple(
        CodeSet(
            id=sets.name(key),
            codes=sets.get(key).dated(lambda value: _codes(value, context), context.first_day),
        )
        for key in sets.names()
    )


def _names(top: Mapping) -> tuple[GivenName, ...]:
    found = top.maybe("names")
    if found is None:
        return ()
    names = found.mapping()
    return tuple(
        GivenName(id=names.name(key), name=read_text(names.get(key))) for key in names.names()
    )


def _codes(value: Value, context: Context) -> tuple[SystemCodes, ...]:
    """Codes by system: "E11*" and every code of a hierarchical system stand for those below."""
    by_system = value.mapping()
    found = []
    for name in by_system.names(of=CODE_SYSTEMS):
        codes = by_system.get(name)
        system = context.systems.get(by_system.name(name))
        if system is None:
            known = ", ".join(context.systems)
            text = f"{name!r} is not a code system; known: {known}; name others under systems"
            codes.fault("UNKNOWN_CODE_SYSTEM", text)
            system = CodeSystem("?")
        if codes.value == []:
            codes.fault("EMPTY_LIST", _NO_CODES)
        exact: list[str] = []
        prefixes: list[str] = []
        for item in codes.items():
            code = item.text()
            star = code.endswith("*")
            if not code.removesuffix("*") or "*" in code[:-1]:
                item.fault("BAD_CODE", 'write a code, or its beginning and one star: "0031*"')
            (prefixes if star or system.hierarchical else exact).append(code.removesuffix("*"))
        if len({comparable(one) for one in (*exact, *prefixes)}) != len(exact) + len(prefixes):
            codes.fault("DUPLICATE_CODE", "a code stands twice in the list")
        found.append(SystemCodes(system=system.uri, exact=tuple(exact), prefixes=tuple(prefixes)))
    if value.value == {}:
        value.fault("EMPTY_LIST", _NO_CODES)
    return tuple(found)


def _sections(top: Mapping, context: Context) -> tuple[Section, ...]:
    if not top.get("sections", WRITE["sections"]).items():
        top.fault("MISSING_KEY", "a plan has at least one section", "sections")
    return each(
        top,
        "sections",
        lambda term: Section(
            id=term.get("id").ident(),
            clause=context.clause(term),
            name=read_text(term.get("name")),
            in_force=context.in_force(term),
            care_types=choices(term, "care_types", CareType),
            codes=context.sets(term, "codes"),
        ),
    )


def _categories(top: Mapping, context: Context) -> tuple[tuple[Category, ...], str]:
    found = top.maybe("categories")
    if found is None:
        return (), ""
    block = found.mapping()

    def read(term: Mapping) -> Category:
        overnight = term.maybe("overnight")
        return Category(
            id=term.get("id").ident(),
            name=read_text(term.get("name")),
            sections=context.of_sections(term),
            care_types=choices(term, "care_types", CareType),
            overnight=False if overnight is None else overnight.boolean(),
        )

    categories = each(block, "order", read)
    default = block.get("default").reference((one.id for one in categories), "category")
    block.done()
    return categories, default


def _general(top: Mapping, context: Context) -> General:
    block = top.get("general", WRITE["general"]).mapping()

    def day(key: str, otherwise: StayDay) -> StayDay:
        found = block.maybe(key)
        return otherwise if found is None else found.choice(StayDay)

    general = General(
        not_covered=context.clause(block, "not_covered"),
        outside_sections=context.clause(block, "outside_sections"),
        duplicates=context.clause(block, "duplicates"),
        impossible_dates=context.clause(block, "impossible_dates"),
        missing_facts=context.clause(block, "missing_facts"),
        cover_day=day("cover_day", StayDay.START),
        terms_day=day("terms_day", StayDay.END),
    )
    block.done()
    return general


def _pre_existing(top: Mapping, context: Context) -> PreExisting:
    block = top.get("pre_existing", WRITE["pre_existing"]).mapping()

    def read(term: Mapping) -> PreExistingRule:
        if not term.has("sections"):
            term.get("diagnoses")
        return PreExistingRule(
            id=term.get("id").ident(),
            clause=context.clause(term),
            diagnoses=context.sets(term, "diagnoses"),
            values=term.get("values").dated(read_pre_existing_value, context.first_day),
            sections=context.of_sections(term),
        )

    found = PreExisting(
        clause=context.clause(block),
        otherwise=block.get("otherwise").dated(read_pre_existing_value, context.first_day),
        rules=each(block, "rules", read),
    )
    block.done()
    return found


def _prices(top: Mapping, context: Context) -> Prices:
    block = top.get("prices", WRITE["prices"]).mapping()
    above, without = block.maybe("above_contract"), block.maybe("without_list")
    direct, otherwise = Bearer.PROVIDER, Bearer.PATIENT
    if above is not None:
        bearers = above.mapping()
        direct = _bearer(bearers.get("direct_billing"), Bearer.PROVIDER, Bearer.PATIENT)
        otherwise = _bearer(bearers.get("otherwise"), Bearer.PROVIDER, Bearer.PATIENT)
        bearers.done()
    prices = Prices(
        clause=context.clause(block),
        above_contract_direct=direct,
        above_contract_otherwise=otherwise,
        without_list=None if without is None else dated_word(without, WithoutList, context),
    )
    block.done()
    return prices


def _social_insurance(top: Mapping, context: Context) -> SocialInsuranceTerms:
    block = top.get("social_insurance", WRITE["social_insurance"]).mapping()
    account = block.maybe("account_paid_is")
    terms = SocialInsuranceTerms(
        clause=context.clause(block),
        account_paid_is=Bearer.PATIENT
        if account is None
        else _bearer(account, Bearer.PATIENT, Bearer.PRIOR_PAYER),
    )
    block.done()
    return terms


def _coordination(top: Mapping, context: Context) -> Coordination:
    block = top.get("coordination", WRITE["coordination"]).mapping()
    place = block.maybe("place")
    found = Coordination(
        clause=context.clause(block),
        place=None if place is None else dated_word(place, Place, context),
    )
    block.done()
    return found


def _bearer(value: Value, *allowed: Bearer) -> Bearer:
    words = [one.value for one in allowed]
    word = value.word(words, "UNKNOWN_WORD", f"write {' or '.join(words)}")
    return allowed[0] if word is None else Bearer(word)
