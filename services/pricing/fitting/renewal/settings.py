"""Section `renewal` of pricing.yaml: the expiring book, the collar, the approved change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.pricing.core.renewal import Collar
from services.pricing.core.tariff import MILLION
from services.pricing.fitting.section import Section, SectionKind

TEMPLATE = """\
renewal:
  book: renewal/book.parquet     # one row an expiring policy; Parquet or CSV
  tariff: tariff/tariff.json     # the sealed tariff that prices it
  # Least and most renewal premium as shares of the expiring one, both without credit.
  collar: {low: '0.85', high: '1.25', source: declared assumption}
  approved_change: '0'           # of what the same book is charged in all, e.g. '0.035'
  # The law's bound on credits; a book with credits is refused without it.
  # legal_cap: {share: '0.20', source: where it is written}
  shards: 64                     # by a hash of the policy; the same number gives the same files
  groups: [sex]                  # columns by which dislocation is shown, protected groups first
  columns: {}                    # ours: yours
"""
_MOST_SHARDS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class RenewalSettings:
    """What `lipei pricing renew` does; shares are whole millionths."""

    book: str
    tariff: str
    collar: Collar
    collar_source: str
    change_millionths: int
    cap_millionths: int | None
    cap_source: str
    shards: int
    groups: tuple[str, ...]
    columns: Mapping[str, str]


def read_renewal(section: Section) -> RenewalSettings:
    """The settings of the section; its faults are noted there."""
    collar = section.section("collar")
    low = _millionths(collar.decimal("low", "0.85", least="0.01", most="1"))
    high = _millionths(collar.decimal("high", "1.25", least="1", most="9"))
    cap = section.section("legal_cap")
    given = "legal_cap" in section
    share = cap.decimal("share", "0", most="0.5", required=given)
    found = RenewalSettings(
        book=section.text("book", "renewal/book.parquet"),
        tariff=section.text("tariff", "tariff/tariff.json"),
        collar=Collar(low, high),
        collar_source=collar.text("source", "declared assumption"),
        change_millionths=_millionths(
            section.decimal("approved_change", "0", least="-0.9", most="5")
        ),
        cap_millionths=_millionths(share) if given else None,
        cap_source=cap.text("source", required=given),
        shards=section.whole("shards", 64, least=1, most=_MOST_SHARDS),
        groups=section.texts("groups", ("sex",)),
        columns=section.mapping("columns"),
    )
    collar.done()
    cap.done()
    return found


def _millionths(share: float) -> int:
    return round(share * MILLION)


RENEWAL = SectionKind(settings=RenewalSettings, read=read_renewal, template=TEMPLATE)
