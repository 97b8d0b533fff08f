"""What a tariff says, as immutable data. Knows no file, no quote and no arithmetic.

A tariff's name is its content: "{id}@sha256:{hash}" over the canonical JSON. Factors are whole
numbers of 10⁻⁶ and amounts whole numbers of 10⁻⁴ of the currency's minor unit (fen), so that no
float can enter; band edges are plain decimals as text, in the unit of their feature.
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

MILLION = 1_000_000
E4 = 10_000
# 10⁹ yuan; far above any premium, so that a slipped digit is refused and not priced.
MAX_AMOUNT_E4 = 10**15

TariffId = Annotated[
    str, Meta(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\Z", description="a lower-case id")
]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z", description="a name such as hba1c")]
LevelName = Annotated[
    str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}\Z", description="a name such as F")
]
Text = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,600}\Z",
        description="text of 1 to 600 characters on one line",
    ),
]
PlainDecimal = Annotated[
    str,
    Meta(
        pattern=r"^(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,4})?\Z",
        description="a plain decimal as text, such as 7.0",
    ),
]
FactorMillionths = Annotated[
    int, Meta(ge=1, le=100 * MILLION, description="a whole number of millionths, 1 to 100000000")
]
AmountE4 = Annotated[
    int,
    Meta(ge=0, le=MAX_AMOUNT_E4, description="a whole number of 1/10,000 fen, 0 to 10^15"),
]
ShareMillionths = Annotated[
    int, Meta(ge=0, lt=MILLION, description="a whole number of millionths, 0 to 999999")
]


Sha256 = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 hexadecimal digits in lower case")
]
Jurisdiction = Annotated[
    str, Meta(pattern=r"^[A-Z]{2}(?:-[A-Z0-9]{1,3})?\Z", description="a code such as CN or US-CA")
]
Months = Annotated[int, Meta(ge=1, le=60, description="a whole number of months, 1 to 60")]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A piece of a tariff: every key must stand in the file, and no other."""


class Assumption(Part, frozen=True):
    """Something the tariff takes as given, and who says so."""

    name: Name
    zh: Text
    en: Text
    source: Text


class NumericFeature(Part, frozen=True, tag_field="kind", tag="numeric"):
    """A measured or counted fact about a person.

    A value is rounded half-up to `places` before anything compares it, or refused when it is finer
    and `when_finer` says so (completed years are not rounded up). Outside the plausible range it
    is an error of entry; inside it but outside the priced range this tariff offers no price.
    Ranges name their first and last value, both inside. `flat_below` is the clinical lower bound of
    a biometric: below it no factor changes, so that no price asks for a value that harms.
    """

    name: Name
    zh: Text
    en: Text
    unit_ucum: Text
    unit_zh: Text
    unit_en: Text
    places: Annotated[int, Meta(ge=0, le=4, description="a whole number from 0 to 4")]
    when_finer: Literal["round_half_up", "refuse"]
    plausible_first: PlainDecimal
    plausible_last: PlainDecimal
    priced_first: PlainDecimal
    priced_last: PlainDecimal
    required: bool
    biometric: bool
    # Not said is not written: what was published before there was the key keeps its hash.
    flat_below: PlainDecimal | msgspec.UnsetType = msgspec.UNSET


class Level(Part, frozen=True):
    """One value of a category; one that is not priced is understood and declined."""

    name: LevelName
    zh: Text
    en: Text
    priced: bool


class CategoryFeature(Part, frozen=True, tag_field="kind", tag="category"):
    """A fact about a person that is one of a few levels."""

    name: Name
    zh: Text
    en: Text
    required: bool
    levels: Annotated[tuple[Level, ...], Meta(min_length=1)]


Feature = NumericFeature | CategoryFeature


class AppliesTo(Part, frozen=True):
    """Limits a table to people of these levels; for others its step is a factor of 1."""

    feature: Name
    levels: Annotated[tuple[LevelName, ...], Meta(min_length=1)]


class Band(Part, frozen=True):
    """A factor for values from `first` to `last`, both inside."""

    first: PlainDecimal
    last: PlainDecimal
    factor_millionths: FactorMillionths


class LevelFactor(Part, frozen=True):
    """A factor for one level of a category."""

    level: LevelName
    factor_millionths: FactorMillionths


class BandTable(Part, frozen=True, tag_field="kind", tag="bands"):
    """Factors by bands of a number; within a band the factor is one, nothing is interpolated.

    A biometric stands in the risk layer (who the person is) or in the outcome layer (how well the
    disease is controlled), never in both. `absent_factor_millionths` prices a person without the
    value; null where the feature is required.
    """

    name: Name
    feature: Name
    layer: Literal["risk", "outcome"]
    interpolation: Literal["none"]
    monotone: Literal["no", "rising", "falling"]
    applies_to: AppliesTo | None
    absent_factor_millionths: FactorMillionths | None
    cells: Annotated[tuple[Band, ...], Meta(min_length=1)]


class CategoryTable(Part, frozen=True, tag_field="kind", tag="categories"):
    """Factors by the priced levels of a category; always in the risk layer."""

    name: Name
    feature: Name
    applies_to: AppliesTo | None
    absent_factor_millionths: FactorMillionths | None
    cells: Annotated[tuple[LevelFactor, ...], Meta(min_length=1)]


FactorTable = BandTable | CategoryTable


class Cause(Part, frozen=True):
    """A cause of claims: base frequency × severity as one yearly amount, then its own tables."""

    name: Name
    zh: Text
    en: Text
    base_e4: AmountE4
    tables: tuple[FactorTable, ...]


class FactorBounds(Part, frozen=True):
    """The least and greatest factor that any cell of the tariff may hold."""

    least_millionths: FactorMillionths
    greatest_millionths: FactorMillionths


class Rounding(Part, frozen=True):
    """The premium is a multiple of this many minor units (1: to the fen)."""

    mode: Literal["half_up"]
    to_minor_units: Annotated[int, Meta(ge=1, le=100_000, description="a whole number from 1")]


class GoldenQuote(Part, frozen=True):
    """Features as a caller writes them and the premium that they must give, for ever."""

    name: Text
    features: dict[str, str]
    premium_minor: Annotated[int, Meta(ge=0, description="a whole number of minor units")]


class FeatureWindow(Part, frozen=True):
    """How an outcome feature is made of readings: a mean over whole months (docs/conventions.md B).

    Z × mean + (1 − Z) × the stratum's mean, Z with every month assessed; a month is worth at most
    the stratum's mean. `one_reading_months` is the most of the months that a single reading
    decides: three for a laboratory HbA1c, and every month of a feature that is the latest reading.
    Readings count from the day after receipt.
    """

    feature: Name
    months: Months
    one_reading_months: Months
    credibility_millionths: Annotated[
        int, Meta(ge=0, le=MILLION, description="a whole number of millionths, 0 to 1000000")
    ]
    stratum_mean: PlainDecimal
    readings_count_from: Literal["day_after_receipt"]
    source: Text


class CreditCap(Part, frozen=True):
    """The law's bound on credits, and where it is written. It has no default."""

    share_millionths: ShareMillionths
    source: Text


class Collar(Part, frozen=True):
    """By how much a renewal may differ from the expiring premium: least and greatest multiple."""

    least_millionths: FactorMillionths
    greatest_millionths: FactorMillionths
    source: Text


class OffBalance(Part, frozen=True):
    """What the selection does to the expected claims of the book that was fitted.

    Both are yearly pure premiums of that book in 10⁻⁴ minor units, at the indicated and at the
    selected relativities, the latter with the bases as this tariff has them. The change that was
    approved is signed.
    """

    indicated_e4: Annotated[int, Meta(ge=0, description="a whole number of 1/10,000 fen")]
    selected_e4: Annotated[int, Meta(ge=0, description="a whole number of 1/10,000 fen")]
    approved_change_millionths: Annotated[
        int, Meta(gt=-MILLION, lt=MILLION, description="a whole number of millionths")
    ]


class AlternativeStandard(Part, frozen=True):
    """What somebody does instead who cannot reach a biometric's target, and who says so."""

    feature: Name
    zh: Text
    en: Text
    source: Text


class Basis(Part, frozen=True):
    """What a tariff rests on and is bounded by; every tariff of format 2 has one.

    The digests are of the experience that was fitted and of the evidence that was proposed with
    the tariff (`evidence`), so that neither can be exchanged afterwards.
    """

    jurisdiction: Jurisdiction
    data_sha256: Sha256
    evidence_sha256: Sha256
    windows: tuple[FeatureWindow, ...]
    one_reading_most_millionths: ShareMillionths
    credit_cap: CreditCap
    collar: Collar
    least_premium_minor: Annotated[int, Meta(ge=1, description="a whole number from 1")]
    off_balance: OffBalance
    alternatives: tuple[AlternativeStandard, ...]


class Tariff(Part, frozen=True):
    """Everything that a price depends on. `valid_last` null: until another version follows.

    Format 2 has a `basis`; format 1 has none and does not name the key, so that what was published
    before keeps its hash.
    """

    format: Literal[1, 2]
    id: TariffId
    title_zh: Text
    title_en: Text
    notice_zh: Text
    notice_en: Text
    synthetic: bool
    currency: Text
    valid_first: date
    valid_last: date | None
    assumptions: tuple[Assumption, ...]
    factor_bounds: FactorBounds
    features: Annotated[tuple[Feature, ...], Meta(min_length=1)]
    causes: Annotated[tuple[Cause, ...], Meta(min_length=1)]
    large_loss_load_e4: AmountE4
    fixed_expense_e4: AmountE4
    variable_expense_millionths: ShareMillionths
    profit_millionths: ShareMillionths
    rounding: Rounding
    golden_quotes: Annotated[tuple[GoldenQuote, ...], Meta(min_length=1)]
    basis: Basis | UnsetType = UNSET


_encoder = msgspec.json.Encoder(order="sorted")


def canonical_bytes(content: object) -> bytes:
    """The one JSON form of a tariff: keys sorted, no spaces, UTF-8, nothing left out.

    It may be a Tariff or the tree that one was read from; both give the same bytes, and so does
    any JSON writer with sorted keys and no spaces (`jq -jcS .tariff`).
    """
    return _encoder.encode(content)


def content_hash(content: object) -> str:
    """SHA-256 of the canonical bytes, in hex."""
    return hashlib.sha256(canonical_bytes(content)).hexdigest()


def tariff_from(canonical: bytes) -> Tariff:
    """The typed tariff of canonical bytes, as they are kept beside the quotes.

    Raises: msgspec.ValidationError when the bytes are not a tariff of this format.
    """
    return _decoder.decode(canonical)


_decoder = msgspec.json.Decoder(Tariff)


def version_of(tariff: Tariff) -> str:
    """The immutable name: "{id}@sha256:{hash}"."""
    return f"{tariff.id}@sha256:{content_hash(tariff)}"


def scaled(text: str, places: int) -> int:
    """An edge in steps of its feature: "7.4" with one place is 74.

    Raises: ValueError unless the text has exactly `places` decimal places, so that an edge has
    one way to be written and a tariff one hash.
    """
    whole, point, rest = text.partition(".")
    if len(rest) != places or bool(point) != bool(places):
        raise ValueError(f"must be written with exactly {places} decimal places")
    return int(whole + rest)


def written(value: int, places: int) -> str:
    """The edge as a file writes it.

    >>> written(74, 1), written(52, 0), written(5, 2)
    ('7.4', '52', '0.05')
    """
    if places == 0:
        return str(value)
    whole, rest = divmod(value, 10**places)
    return f"{whole}.{rest:0{places}d}"


def factor_text(millionths: int) -> str:
    """A factor as people write it.

    >>> factor_text(1_250_000), factor_text(940_000), factor_text(1_000_000)
    ('1.25', '0.94', '1')
    """
    return written(millionths, 6).rstrip("0").rstrip(".")
