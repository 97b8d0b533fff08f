"""A renewal's dislocation as JSON and as a workbook for an actuary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
from openpyxl import Workbook
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from services.common.money import currency_exponent
from services.pricing.fitting.packing import packed
from services.pricing.fitting.renewal.dislocation import Dislocation, Group, Mover
from services.pricing.fitting.renewal.result import Manifest
from services.pricing.fitting.renewal.work import write

Major = Callable[[float], Decimal]
_WIDTH = 18


def write_workbook(found: Dislocation, manifest: Manifest, folder: Path) -> tuple[Path, ...]:
    """Write `dislocation.json` and `dislocation.xlsx` into the folder and return their paths."""
    json, xlsx = folder / "dislocation.json", folder / "dislocation.xlsx"
    write(json, msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=1))
    places = currency_exponent(manifest.currency)

    def major(minor: float) -> Decimal:
        return Decimal(round(minor)).scaleb(-places)

    book = Workbook()
    book.remove(book.worksheets[0])
    for title, rows in _sheets(found, manifest, major):
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
        for cell in sheet[1]:
            cell.font = Font(bold=True)
            sheet.column_dimensions[get_column_letter(cell.column)].width = _WIDTH
        sheet.freeze_panes = "B2"
    write(xlsx, packed(book))
    return json, xlsx


def _sheets(
    found: Dislocation, manifest: Manifest, major: Major
) -> Iterable[tuple[str, Sequence[Sequence[object]]]]:
    said = "synthetic, not for sale" if manifest.synthetic else ""
    yield (
        "renewal",
        [
            ("what", "value", said),
            ("tariff", manifest.tariff),
            ("currency", manifest.currency),
            ("policies renewed", manifest.renewed),
            ("policies referred", manifest.referred),
            ("off-balance factor", manifest.off_balance_billionths / 10**9),
            ("collar, least", manifest.collar.least_millionths / 10**6),
            ("collar, most", manifest.collar.greatest_millionths / 10**6),
            ("collar's source", manifest.collar.source),
            ("approved change", manifest.change_millionths / 10**6),
            ("expiring charged", major(manifest.expiring_charged_minor)),
            ("charged", major(manifest.charged_minor)),
            *((f"referred: {reason}", policies) for reason, policies in found.referred.items()),
        ],
    )
    head = (
        *("group", "policies", "expiring", "technical", "without credit", "charged", "change"),
        *("change without credit", "charged / technical", "at lower end", "at upper end", "credit"),
        *(f"p{round(at * 100)} of change" for at in found.quantiles_at),
    )
    yield "change", [head, *(_line(group, major) for group in (found.book, *found.bands))]
    for name, groups in found.groups.items():
        yield f"by {name}"[:31], [head, *(_line(group, major) for group in groups)]
    for title, listed in (("largest rises", found.up), ("largest falls", found.down)):
        moved = [_moved(mover, major) for mover in listed]
        yield title, [("policy", "expiring", "technical", "charged", "change"), *moved]


def _moved(mover: Mover, major: Major) -> Sequence[object]:
    amounts = (mover.expiring_minor, mover.technical_minor, mover.charged_minor)
    return (mover.policy_id, *(major(amount) for amount in amounts), mover.change)


def _line(group: Group, major: Major) -> Sequence[object]:
    amounts = (
        group.expiring_minor,
        group.technical_minor,
        group.uncredited_minor,
        group.charged_minor,
    )
    return (
        group.name,
        group.policies,
        *(major(amount) for amount in amounts),
        group.change,
        group.uncredited_change,
        group.charged_to_technical,
        group.held_up,
        group.held_down,
        group.credit,
        *group.quantiles,
    )
