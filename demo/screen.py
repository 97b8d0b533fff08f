"""The last screen of a run: counts, money, times, one claim in words, what was set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from demo.checks import checks
from demo.progress import WIDTH, Reporter
from demo.results import Results, percentile
from lipei.claims.v1 import claims_pb2, decision_pb2
from services.common.money import format_minor

_REASONS = 8
_EXPLAINED_LINES = 4
_ASIDE = 10


class Explains(Protocol):
    """Whoever puts a claim's decision into words."""

    def explain(self, name: str) -> claims_pb2.ExplainClaimResponse:
        """One claim's decision in words."""


def show(results: Results, insurer: Explains, reporter: Reporter, *, hints: Sequence[str]) -> None:
    """Print the screen; asks the insurer for the words of one claim.

    `hints` say where to look next; "{claim}" in them stands for the claim that was explained.
    """
    console = reporter.console
    _heading(reporter, "lipei · a hospital's bills become money")
    console.print(_counts(results), width=WIDTH)
    explained = _worth_explaining(results.decided)
    if explained is not None:
        _explain(explained, insurer, reporter)
    _set_aside(results, reporter)
    _checks(results, reporter)
    _next(explained, reporter, hints)


def _counts(results: Results) -> Table:
    amounts = _by_bearer(results)
    decision, payout = results.decision_ms, results.payout_ms
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", min_width=8)
    table.add_column()
    table.add_row(
        "Bills",
        f"{results.pulled.bills:,} pulled · {len(results.quarantine)} set aside · "
        f"{results.pulled.refused} refused by the insurer · "
        f"{results.scenario.outside} outside the period kept out",
    )
    table.add_row(
        "Claims",
        f"{len(results.claims):,} opened · {results.untouched:,} decided without a person · "
        f"{results.denied} of them denied · {results.pended} wait for a person",
    )
    table.add_row("Money", " · ".join(amounts))
    paid = sum(claim.paid.minor_units for claim in results.paid)
    table.add_row("Paid", f"{_money(results, paid)} in {len(results.paid)} confirmed payouts")
    table.add_row("Why", _reasons(results))
    table.add_row(
        "Times",
        f"intake to decision {_times(decision)} · decision to confirmed payout {_times(payout)} · "
        f"all in {results.elapsed_s:.0f} s",
    )
    return table


def _by_bearer(results: Results) -> list[str]:
    totals: dict[int, int] = {}
    for claim in results.decided:
        for line in claim.decision.lines:
            for share in line.shares:
                totals[share.bearer] = totals.get(share.bearer, 0) + share.amount.minor_units
    names = {
        decision_pb2.BEARER_PRIOR_PAYER: "social insurance or others",
        decision_pb2.BEARER_INSURER: "insurer",
        decision_pb2.BEARER_PATIENT: "patient",
        decision_pb2.BEARER_PROVIDER: "provider",
    }
    billed = sum(claim.decision.billed.minor_units for claim in results.decided)
    parts = [f"billed {_money(results, billed)}"]
    parts += [
        f"{name} {_money(results, totals[bearer])}"
        for bearer, name in names.items()
        if totals.get(bearer)
    ]
    return parts


def _reasons(results: Results) -> str:
    found = results.reasons()
    shown = [
        f"{name.lower().replace('_', ' ')} {_money(results, amount)}"
        for name, (_, amount) in list(found.items())[:_REASONS]
    ]
    more = len(found) - len(shown)
    return " · ".join(shown) + (f" · {more} more" if more > 0 else "")


def _worth_explaining(claims: Iterable[claims_pb2.Claim]) -> claims_pb2.Claim | None:
    """A claim that shows most in few lines: benefit, several reasons, at most so many lines."""

    def worth(claim: claims_pb2.Claim) -> tuple[bool, int, int]:
        lines = claim.decision.lines
        reasons = {share.reason for line in lines for share in line.shares}
        return claim.decision.benefit.minor_units > 0, len(reasons), len(lines)

    short = [one for one in claims if len(one.decision.lines) <= _EXPLAINED_LINES]
    return max(short, key=worth, default=None)


def _explain(claim: claims_pb2.Claim, insurer: Explains, reporter: Reporter) -> None:
    words = insurer.explain(claim.name)
    _heading(reporter, f"one claim: {claim.name}")
    for paragraph in words.text_en.splitlines():
        _indented(reporter, paragraph)


def _set_aside(results: Results, reporter: Reporter) -> None:
    if not results.quarantine and not results.refusals:
        return
    _heading(reporter, "set aside, with reasons")
    kinds = Counter(
        (record.stage, fault.reason, fault.text)
        for record in results.quarantine
        for fault in record.faults[:1]
    )
    rows = [
        f"{count} × {stage}: {reason}: {text}" for (stage, reason, text), count in kinds.items()
    ]
    rows += [
        f"1 × insurer: {', '.join(released.delivery.refusal_reasons)}: "
        f"bill {released.bill.bill_number}"
        for released in results.refusals
    ]
    for row in rows[:_ASIDE]:
        _line(reporter, row)
    if len(rows) > _ASIDE:
        _line(reporter, f"and {len(rows) - _ASIDE} more kinds: lipei his quarantine HOSPITAL")


def _checks(results: Results, reporter: Reporter) -> None:
    _heading(reporter, "checks")
    grid = Table.grid(padding=(0, 3))
    cells = [
        Text(
            f"{'✓' if check.holds else '✗'} {check.name}: {check.found}",
            "green" if check.holds else "bold red",
        )
        for check in checks(results)
    ]
    half = -(-len(cells) // 2)
    for left, right in zip(cells[:half], [*cells[half:], Text("")], strict=False):
        grid.add_row(left, right)
    reporter.console.print(Padding(grid, (0, 0, 0, 1), expand=False), width=WIDTH)


def _next(claim: claims_pb2.Claim | None, reporter: Reporter, hints: Sequence[str]) -> None:
    _heading(reporter, "next")
    for hint in hints:
        text = hint.replace("{claim}", claim.name if claim is not None else "NAME")
        # A command must survive being copied: it may be wider, but never broken.
        reporter.console.print(Text(f" {text}"), soft_wrap=True)


def _heading(reporter: Reporter, text: str) -> None:
    reporter.console.print(Rule(Text(text, "bold"), characters="─"), width=WIDTH)


def _line(reporter: Reporter, text: str) -> None:
    """One line of the screen, cut where it would wrap."""
    line = Text(f" {text}")
    line.truncate(WIDTH, overflow="ellipsis")
    reporter.console.print(line)


def _indented(reporter: Reporter, text: str) -> None:
    reporter.console.print(Padding(Text(text), (0, 0, 0, 1), expand=False), width=WIDTH)


def _money(results: Results, amount: int) -> str:
    currency = results.scenario.currency
    whole, _, rest = format_minor(amount, currency).partition(".")
    sign = {"CNY": "¥", "USD": "$"}[currency]
    return f"{sign}{int(whole):,}.{rest}"


def _times(ascending: Sequence[float]) -> str:
    half, most = percentile(ascending, 0.5), percentile(ascending, 0.99)
    return "none" if half is None else f"{_span(half)} (p99 {_span(most or half)})"


def _span(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.1f} s"
