"""`lipei quote`, also `lipei pricing quote`: one premium with every step of the waterfall."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from lipei.type.v1.money_pb2 import Money
from services.common.money import currency_exponent, grouped_minor
from services.pricing.core.tariff import factor_text
from stack import chinese
from stack.commands.calling import Failed, calling, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, Lang, Language, RequestId, State
from stack.commands.pricing_folder import say_next
from stack.commands.printing import plain, print_json, print_table, rows, say, table
from stack.commands.readings import (
    DEFAULT_ZONE,
    ExpiringStartDate,
    TimeZone,
    participation_if_any,
    show_incentive,
)
from stack.commands.withheld import WITHHELD, Withheld, ask

Features = Annotated[
    list[str] | None,
    typer.Option("--feature", metavar="NAME=VALUE", help="Repeat per feature."),
]
CreditMember = Annotated[
    str, typer.Option("--member", help="Token of the member whose readings count.")
]
CreditProgramme = Annotated[
    str, typer.Option("--programme", help='"{programme}" or "{programme}@sha256:{hash}"')
]
_E4 = 10_000  # steps count in 1/10,000 of the minor unit


def quote(  # noqa: PLR0913, PLR0917 - one parameter per option of the command line
    context: typer.Context,
    tariff: Annotated[str, typer.Argument(help='"{tariff}" or "{tariff}@sha256:{hash}"')],
    start_date: Annotated[str, typer.Option("--start-date", help="First day, YYYY-MM-DD.")],
    feature: Features = None,
    policy: Annotated[str, typer.Option("--policy", help="The policy that it is for.")] = "quote",
    member: CreditMember = "",
    programme: CreditProgramme = "",
    time_zone: TimeZone = DEFAULT_ZONE,
    expiring_start_date: ExpiringStartDate = "",
    request_id: RequestId = "",
    lang: Lang = Language.EN,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Price one person's next policy year and explain every step. Binds nobody.

    With --member and --programme the member's readings may earn a credit.
    """
    request = pb.QuotePremiumRequest(
        request_id=fresh_request_id(request_id),
        parent=f"policies/{policy.removeprefix('policies/')}",
        tariff=tariff,
        start_date=start_date,
        features=features_of(feature or []),
        participation=participation_if_any(member, programme, time_zone, expiring_start_date),
    )
    with calling(state, "pricing", "chief_actuary") as channel:
        given, held_back = ask(PricingServiceStub(channel).QuotePremium, request)
    print_quote(given.quote, held_back.below("quote"), lang, as_json=as_json)
    if not as_json and context.command_path.endswith("pricing quote"):
        say_next("lipei pricing renew -f FOLDER")


def print_quote(answer: pb.Quote, withheld: Withheld, lang: Language, *, as_json: bool) -> None:
    """Print a quote or a renewal, for people or machines.

    Raises: Failed when its steps do not add up.
    """
    if as_json:
        print_json(withheld.marked(plain(answer)))
    else:
        show_quote(answer, lang, withheld)
    if "steps" in withheld:
        return
    if sum(step.difference_e4 for step in answer.steps) != answer.premium.minor_units * _E4:
        raise Failed("the steps do not add up to the premium; stop and investigate")


def features_of(texts: list[str]) -> dict[str, str]:
    """NAME=VALUE, each name once.

    Raises: Failed with every fault.
    """
    found: dict[str, str] = {}
    faults = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            faults.append(f'  "{text}": write NAME=VALUE')
        elif name in found:
            faults.append(f'  "{name}": given twice')
        found[name] = value
    if faults:
        raise Failed("--feature:", *faults, exit_code=2)
    return found


def show_quote(answer: pb.Quote, lang: Language, withheld: Withheld) -> None:
    """Print the premium with its steps, and how a credit came about."""
    currency = answer.premium.currency_code

    def said(english: str) -> str:
        return chinese.said(english, lang)

    start = f"{said('start')} {answer.start_date}"
    say(f"{answer.name}\n{answer.tariff}, {start}, {said('amounts in')} {currency}")
    if "steps" in withheld:
        say(f"{said('steps')} {WITHHELD}")
    else:
        _show_steps(answer, lang)
    if answer.HasField("incentive"):
        show_incentive(answer.incentive, withheld.below("incentive"), lang)
        field = "premium_without_credit"
        before = withheld.shown(field, _grouped(getattr(answer, field)))
        say(f"{said('premium without credit')} {before}")
    if answer.HasField("renewal"):
        _show_renewal(answer.renewal, withheld.below("renewal"), lang)
    if answer.HasField("raised_sum_insured") and "raised_sum_insured" not in withheld:
        found = answer.raised_sum_insured
        say(f"{said('sum insured')} {found.before} + {found.increase} = {found.after} {found.unit}")
    total = _major(sum(step.difference_e4 for step in answer.steps), currency)
    whole = withheld.shown("steps", total)
    sums = f"{said('sum of the differences')} {whole}"
    say(f"{said('premium')} {_grouped(answer.premium)} = {sums}")


def _show_renewal(found: pb.Renewal, withheld: Withheld, lang: Language) -> None:
    """What a renewal's premium without credit came of, beside the steps."""

    def amount(field: str) -> str:
        return withheld.shown(field, _grouped(getattr(found, field)))

    def said(english: str) -> str:
        return chinese.said(english, lang)

    before = _grouped(found.expiring.rerated_premium_without_credit)
    whole = "expiring" in withheld
    hidden = withheld.below("expiring").shown("rerated_premium_without_credit", before)
    say(f"{said('expiring premium without credit, rerated')} {WITHHELD if whole else hidden}")
    say(f"{said('technical premium')} {amount('technical_premium')}")
    bounds = f"{amount('least_premium')} – {amount('greatest_premium')}"
    ends = (found.collar.least_millionths, found.collar.greatest_millionths)
    least, greatest = (factor_text(end) for end in ends)
    say(f"{said('collar')} {least}–{greatest} ({found.collar.source}): {bounds}")
    if found.HasField("off_balance"):
        factor = Decimal(found.off_balance.factor_billionths).scaleb(-9)
        say(f"{said('off-balance factor')} {factor:f} ({found.off_balance.source})")
    else:
        say(f"{said('off-balance factor')} 1 ({said('none given')})")
    tier = withheld.shown("outcome_tier", found.outcome_tier)
    if tier:
        say(f"{said('outcome tier')} {tier}")


def _show_steps(answer: pb.Quote, lang: Language) -> None:
    currency = answer.premium.currency_code
    english = ("step", "cell", "factor", "difference", "premium", "meaning")
    headings = [chinese.heading(one, lang) for one in english]
    made = table(*headings, right=headings[2:5], prose=headings[5:])
    for step in answer.steps:
        factor = f"{Decimal(step.factor_millionths).scaleb(-6):f}" if step.factor_millionths else ""
        meaning = {
            Language.EN: step.text_en,
            Language.ZH: step.text_zh,
            Language.BOTH: f"{step.text_zh} {step.text_en}",
        }[lang]
        amounts = (_major(step.difference_e4, currency), _major(step.premium_e4, currency))
        rows(made, [(step.step, step.cell, factor, *amounts, meaning)])
    print_table(made)


def _major(amount_e4: int, currency: str) -> str:
    return f"{Decimal(amount_e4).scaleb(-4 - currency_exponent(currency)):,f}"


def _grouped(amount: Money) -> str:
    """As the amounts beside it; empty when there is none."""
    if not amount.currency_code:
        return ""
    return f"{grouped_minor(amount.minor_units, amount.currency_code)} {amount.currency_code}"
