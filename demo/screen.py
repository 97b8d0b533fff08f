"""The last screen of a run: counts, money, times, the truth beside it, one claim and one premium.

What it shows is worked out in `figures`, and what must hold in `checks`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from demo.checks import checks
from demo.comparison import Comparison
from demo.figures import (
    half_and_most,
    is_seen,
    money,
    money_e4,
    premium_parts,
    quote_worth_showing,
    said_of_credit,
    said_of_members,
    who_bears,
)
from demo.pricing import MemberQuote
from demo.progress import WIDTH, Reporter
from demo.results import Results
from lipei.claims.v1 import claims_pb2

_REASONS = 8
_ASIDE = 10


def show(
    results: Results,
    explained: claims_pb2.ExplainClaimResponse | None,
    reporter: Reporter,
    *,
    hints: Sequence[tuple[str, str]],
) -> None:
    """Print the screen. `explained` is one claim in words; `hints` are what to see, and where."""
    console = reporter.console
    _heading(reporter, "lipei 理赔 · a hospital's bills become money")
    console.print(_counts(results), width=WIDTH)
    if results.comparison is not None:
        _truth(results.comparison, results.scenario.currency, reporter)
    else:
        _set_aside(results, reporter)
    if explained is not None:
        _explain(explained, reporter)
    quote = quote_worth_showing(results.quotes)
    if quote is not None:
        _premium(quote, len(results.quotes), reporter)
    _checks(results, reporter)
    _next(reporter, hints)


def _counts(results: Results) -> Table:
    currency = results.scenario.currency
    paid = sum(claim.paid.minor_units for claim in results.paid)
    nothing = results.untouched - results.denied - len(results.owed)
    outside = results.scenario.outside
    bears = who_bears(results)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", min_width=8)
    table.add_column()
    table.add_row(
        "Bills",
        f"{results.pulled.bills:,} pulled · {len(results.quarantine)} set aside · "
        f"{results.pulled.refused} refused by the insurer"
        + (f" · {len(results.held)} held for want of a consent" if results.held else "")
        + (f" · {outside} outside the period kept out" if outside else ""),
    )
    table.add_row(
        "Claims",
        f"{len(results.claims):,} opened · {results.untouched:,} decided without a person "
        f"({len(results.owed)} owe money, {nothing} nothing, {results.denied} are denied) · "
        f"{results.pended} wait for a person"
        + (f" · {results.withdrawn} ended with a withdrawn consent" if results.withdrawn else ""),
    )
    table.add_row(
        "Money",
        " · ".join(
            f"{name} {money(amount, currency)}"
            for name, amount in {"billed": sum(bears.values()), **bears}.items()
        ),
    )
    table.add_row("Paid", f"{money(paid, currency)} in {len(results.paid)} confirmed payouts")
    table.add_row("Why", _reasons(results))
    if results.quotes:
        table.add_row("Premiums", said_of_members(results.quotes))
    for index, (label, found) in enumerate(results.times().items()):
        half, most = half_and_most(found)
        table.add_row("" if index else "Times", f"{label}: {half} (p99 {most})")
    table.add_row("", f"all in {results.elapsed_s:.0f} s")
    return table


def _reasons(results: Results) -> str:
    found = results.reasons()
    shown = [
        f"{name.lower().replace('_', ' ')} {money(amount, results.scenario.currency)}"
        for name, (_, amount) in list(found.items())[:_REASONS]
    ]
    more = len(found) - len(shown)
    return " · ".join(shown) + (f" · {more} more" if more > 0 else "")


def _truth(comparison: Comparison, currency: str, reporter: Reporter) -> None:
    _heading(reporter, "against the truth that was planted before anybody decided")
    table = _columns("planted", "bills", "right", "overpaid", "underpaid", "waits", "other")
    table.add_column(f"paid {currency}", justify="right")
    for kind, tally in comparison.by_planted().items():
        wrong = (tally.false_approvals, tally.false_denials, tally.false_pends, tally.missed)
        table.add_row(
            kind.value,
            f"{tally.bills:,}",
            Text(f"{tally.as_expected:,}", "bold red" if any(wrong) else "green"),
            *(str(count) if count else "" for count in wrong),
            money(tally.paid_fen, currency),
        )
    _inside(reporter, table)
    _indented(reporter, "overpaid to other count bills that did not end as the truth says")


def _explain(explained: claims_pb2.ExplainClaimResponse, reporter: Reporter) -> None:
    _heading(reporter, f"one claim: {explained.claim.name}")
    for text in (explained.text_zh, explained.text_en):
        for paragraph in text.splitlines():
            _indented(reporter, paragraph)


def _premium(quote: MemberQuote, quoted: int, reporter: Reporter) -> None:
    """Two premiums side by side, part by part."""
    before, after = quote.before, quote.after
    _heading(reporter, f"one premium of {quoted}: a person who lives with diabetes, year by year")
    table = _columns("part", f"from {before.start_date}", f"from {after.start_date}")
    columns = [{part.name: part for part in premium_parts(one)} for one in (before, after)]
    currency = before.premium.currency_code
    for name in dict.fromkeys(name for column in columns for name in column):
        parts = [column.get(name) for column in columns]
        if any(part is not None and is_seen(part) for part in parts):
            words = next(part for part in parts if part is not None)
            table.add_row(
                f"{words.text_zh} {words.text_en}",
                *("" if part is None else money_e4(part.difference_e4, currency) for part in parts),
            )
    table.add_row(
        Text("保费 premium", "bold"),
        *(Text(money(one.premium.minor_units, currency), "bold") for one in (before, after)),
    )
    _inside(reporter, table)
    _indented(reporter, said_of_credit(after))


def _set_aside(results: Results, reporter: Reporter) -> None:
    if not results.quarantine and not results.refusals:
        return
    _heading(reporter, "set aside, with reasons")
    kinds = Counter(
        f"{record.stage}: {fault.reason}: {fault.text}"
        for record in results.quarantine
        for fault in record.faults[:1]
    )
    kinds.update(
        f"insurer: {', '.join(released.delivery.refusal_reasons)}" for released in results.refusals
    )
    for text, count in list(kinds.items())[:_ASIDE]:
        _line(reporter, f"{count} × {text}")
    if len(kinds) > _ASIDE:
        _line(reporter, f"and {len(kinds) - _ASIDE} more kinds: lipei his quarantine HOSPITAL")


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
    _inside(reporter, grid)


def _next(reporter: Reporter, hints: Sequence[tuple[str, str]]) -> None:
    _heading(reporter, "next")
    for what, where in hints:
        # A command must survive being copied: it may be wider, but never broken.
        reporter.console.print(Text(f" {what}: {where}"), soft_wrap=True)


def _heading(reporter: Reporter, text: str) -> None:
    reporter.console.print(Rule(Text(text, "bold"), characters="─"), width=WIDTH)


def _columns(first: str, *others: str) -> Table:
    """A table whose first column is words and whose others are numbers."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _inside(reporter: Reporter, table: Table) -> None:
    reporter.console.print(Padding(table, (0, 0, 0, 1), expand=False), width=WIDTH)


def _line(reporter: Reporter, text: str) -> None:
    """One line of the screen, cut where it would wrap."""
    line = Text(f" {text}")
    line.truncate(WIDTH, overflow="ellipsis")
    reporter.console.print(line)


def _indented(reporter: Reporter, text: str) -> None:
    reporter.console.print(Padding(Text(text), (0, 0, 0, 1), expand=False), width=WIDTH)
