"""What the last screen and the report both show of a run: sums, spans, the claim worth a look.

Reads answers of the services; decides nothing and asks nobody.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from demo.pricing import MemberQuote
from demo.results import Results, percentile
from lipei.claims.v1 import claims_pb2, decision_pb2
from lipei.pricing.v1 import pricing_pb2
from services.common.money import format_minor

# Whoever may bear an amount, in the order in which sums are shown.
BEARERS = {
    decision_pb2.BEARER_PRIOR_PAYER: "social insurance or others",
    decision_pb2.BEARER_INSURER: "insurer",
    decision_pb2.BEARER_PATIENT: "patient",
    decision_pb2.BEARER_PROVIDER: "provider",
}
WAITING = "waits for a person"
_EXPLAINED_LINES = 4
_E4 = 10_000
_SUBJECT = re.compile("[：，:,]")
_SIGNS = {"CNY": "¥", "USD": "$"}


@dataclass(frozen=True, kw_only=True)
class PremiumPart:
    """One part of a premium as people read it: a cause with all its factors, a load, a credit.

    Amounts in 1/10,000 of the minor unit; `difference_e4` may be negative.
    """

    name: str
    text_zh: str
    text_en: str
    difference_e4: int
    premium_e4: int


def money(minor_units: int, currency: str) -> str:
    """An amount as people write it.

    >>> money(-123456, "CNY")
    '-¥1,234.56'
    """
    whole, _, rest = format_minor(abs(minor_units), currency).partition(".")
    return f"{'-' if minor_units < 0 else ''}{_SIGNS[currency]}{int(whole):,}.{rest}"


def money_e4(amount_e4: int, currency: str) -> str:
    """An amount in 1/10,000 of the minor unit, rounded to the minor unit for the eye."""
    half = _E4 // 2
    sign = -1 if amount_e4 < 0 else 1
    return money(sign * ((abs(amount_e4) + half) // _E4), currency)


def span(milliseconds: float) -> str:
    """A time as people say it.

    >>> span(112.4), span(65_300)
    ('112 ms', '65.3 s')
    """
    return f"{milliseconds:.0f} ms" if milliseconds < 1_000 else f"{milliseconds / 1000:.1f} s"


def half_and_most(ascending: Sequence[float]) -> tuple[str, str]:
    """The median and the 99th percentile in words; of nothing, two dashes."""
    half, most = percentile(ascending, 0.5), percentile(ascending, 0.99)
    return ("–", "–") if half is None or most is None else (span(half), span(most))


def who_bears(results: Results) -> dict[str, int]:
    """Bearer → minor units of the decisions that stand, and what still waits for a person."""
    waiting = {WAITING: results.waiting_minor_units} if results.waiting_minor_units else {}
    return by_bearer(results.settled) | waiting


def by_bearer(claims: Iterable[claims_pb2.Claim]) -> dict[str, int]:
    """Bearer → minor units over all lines of the claims; whoever bears nothing is left out."""
    totals = dict.fromkeys(BEARERS, 0)
    for claim in claims:
        for line in claim.decision.lines:
            for share in line.shares:
                totals[share.bearer] += share.amount.minor_units
    return {BEARERS[bearer]: amount for bearer, amount in totals.items() if amount}


def worth_explaining(results: Results) -> claims_pb2.Claim | None:
    """A claim that shows most in few lines: benefit, several reasons, at most so many lines.

    Where bills are planted, one with which nothing is wrong or odd.
    """
    clean = {one.found.claim for one in results.comparison.clean} if results.comparison else None

    def worth(claim: claims_pb2.Claim) -> tuple[bool, int, int]:
        lines = claim.decision.lines
        reasons = {share.reason for line in lines for share in line.shares}
        return claim.decision.benefit.minor_units > 0, len(reasons), len(lines)

    short = [
        one
        for one in results.settled
        if 0 < len(one.decision.lines) <= _EXPLAINED_LINES and (clean is None or one.name in clean)
    ]
    return max(short, key=worth, default=None)


def quote_worth_showing(quotes: Iterable[MemberQuote]) -> MemberQuote | None:
    """Premiums of a diabetic who got well controlled within the year and owes less for the next."""

    def worth(one: MemberQuote) -> tuple[bool, int, bool, int]:
        months = one.after.incentive.months
        improved = any(month.result == pricing_pb2.MONTH_RESULT_OFF_TARGET for month in months)
        less = one.after.premium.minor_units < one.before.premium.minor_units
        evidence = sum(len(month.evidence) for month in months)
        return less, one.after.incentive.credit_millionths, improved, evidence

    return max((one for one in quotes if one.participant.person.diabetic), key=worth, default=None)


def said_of_members(quotes: Sequence[MemberQuote]) -> str:
    """How many programme members earn what, and what all of them owe without and with it."""
    earned = Counter(one.after.incentive.credit_millionths for one in quotes)
    shares = ", ".join(
        f"{count} {'earns' if count == 1 else 'earn'} {Decimal(share).scaleb(-4).normalize():f} %"
        if share
        else f"{count} nothing"
        for share, count in sorted(earned.items(), reverse=True)
    )
    currency = quotes[0].after.premium.currency_code
    whole = sum(one.after.premium_without_credit.minor_units for one in quotes)
    owed = sum(one.after.premium.minor_units for one in quotes)
    return (
        f"{len(quotes)} members of a health programme: {shares}; together they owe "
        f"{money(owed, currency)} for next year in place of {money(whole, currency)}"
    )


def said_of_credit(quote: pricing_pb2.Quote) -> str:
    """What the programme's months earn on a premium, in one sentence."""
    incentive = quote.incentive
    whole = money(quote.premium_without_credit.minor_units, quote.premium.currency_code)
    owed = money(quote.premium.minor_units, quote.premium.currency_code)
    if not incentive.credit_millionths:
        return f"Without a month on target {owed} is owed."
    share, cap = (
        f"{Decimal(millionths).scaleb(-4).normalize():f} %"
        for millionths in (incentive.credit_millionths, incentive.legal_cap.share_millionths)
    )
    return (
        f"{incentive.run_months} months on target in a row ({incentive.run_first_month} to "
        f"{incentive.run_last_month}) take {share} off {whole}: {owed} is owed. The law's bound on "
        f"credits is set at {cap}."
    )


def premium_parts(quote: pricing_pb2.Quote) -> list[PremiumPart]:
    """The steps of a quote, with those of one cause taken together; the differences still add up.

    A cause begins with its step "{cause}.base". What the words of a step say beyond their subject
    (the share, the months) is in the steps themselves.
    """
    parts: list[PremiumPart] = []
    for step in quote.steps:
        cause, _, rest = step.step.partition(".")
        goes_on = rest not in ("", "base") and bool(parts) and parts[-1].name == f"{cause}.base"
        before = parts.pop() if goes_on else None
        parts.append(
            PremiumPart(
                name=before.name if before else step.step,
                text_zh=before.text_zh if before else _SUBJECT.split(step.text_zh)[0],
                text_en=before.text_en if before else _SUBJECT.split(step.text_en)[0],
                difference_e4=step.difference_e4 + (before.difference_e4 if before else 0),
                premium_e4=step.premium_e4,
            )
        )
    return parts


def is_seen(part: PremiumPart) -> bool:
    """Whether the part moves the premium by at least half of the minor unit."""
    return abs(part.difference_e4) >= _E4 // 2
