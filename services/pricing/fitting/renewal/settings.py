"""Section `renewal` of pricing.yaml: the expiring book, the collar, the approved change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.pricing.core.tariff import MILLION, Collar, CreditCap
from services.pricing.fitting.section import Section, SectionKind

TEMPLATE = """\
renewal:
  book: renewal/book.parquet     # one row an expiring policy; Parquet or CSV
  tariff: tariff/my-tariff.json  # the tariff that prices it, as `propose` writes it
  # Least and most renewal premium as shares of the expiring one, both without credit, and the law's
  # bound on credits. Left out, they are the tariff's own; what is written may only be narrower.
  # collar: {least: '0.85', greatest: '1.25', source: who decided it}
  # credit_cap: {share: '0.20', source: where it is written}
  credit_as: premium             # a book's credits come off its premiums (docs/renewals.md)
  approved_change: '0'           # of what the same book is charged in all, e.g. '0.035'
  shards: 64                     # by SHA-256 of the policy: the same number, the same files
  groups: [sex]                  # columns by which dislocation is shown, protected groups first
  columns: {}                    # ours: yours
"""
_MOST_SHARDS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class RenewalSettings:
    """What `lipei pricing renew` does; shares are whole millionths."""

    book: str
    tariff: str
    collar: Collar | None
    change_millionths: int
    cap: CreditCap | None
    shards: int
    groups: tuple[str, ...]
    columns: Mapping[str, str]


def read_renewal(section: Section) -> RenewalSettings:
    """The settings of the section; its faults are noted there."""
    if section.choice("credit_as", ("premium", "sum_insured"), "premium") == "sum_insured":
        text = (
            "a book is renewed with credits off the premium only; quote members of a programme "
            "that takes them as sum insured one by one (QuotePremium), and leave them out of it"
        )
        section.fault("credit_as", "NOT_HERE", text)
    return RenewalSettings(
        book=section.text("book", "renewal/book.parquet"),
        tariff=section.text("tariff", "tariff/my-tariff.json"),
        collar=_collar(section),
        change_millionths=_millionths(
            section.decimal("approved_change", "0", least="-0.9", most="5")
        ),
        cap=_cap(section),
        shards=section.whole("shards", 64, least=1, most=_MOST_SHARDS),
        groups=section.texts("groups", ("sex",)),
        columns=section.mapping("columns"),
    )


def _collar(section: Section) -> Collar | None:
    below = section.section("collar")
    given = "collar" in section
    below.renamed("low", "least")
    below.renamed("high", "greatest")
    least = below.decimal("least", "1", least="0.01", most="1", required=given)
    greatest = below.decimal("greatest", "1", least="1", most="9", required=given)
    source = below.text("source", required=given)
    below.done()
    if not given:
        return None
    return Collar(
        least_millionths=_millionths(least),
        greatest_millionths=_millionths(greatest),
        source=source,
    )


def _cap(section: Section) -> CreditCap | None:
    section.renamed("legal_cap", "credit_cap")
    below = section.section("credit_cap")
    given = "credit_cap" in section
    share = below.decimal("share", "0", most="0.5", required=given)
    source = below.text("source", required=given)
    below.done()
    return CreditCap(share_millionths=_millionths(share), source=source) if given else None


def _millionths(share: float) -> int:
    return round(share * MILLION)


RENEWAL = SectionKind(settings=RenewalSettings, read=read_renewal, template=TEMPLATE)
