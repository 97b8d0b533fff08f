"""From a provider's price list to its prices, or to every fault of the file with its line.

The list is what an insurer has agreed with one provider, in one currency; the language is the
plans' own (docs/plans.md).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from datetime import date

import msgspec

from services.claims.core.codes import CodeKey, code_key
from services.claims.core.facts import Coding, ContractPrice, PriceList
from services.claims.plans.context import Context, read_systems
from services.claims.plans.contract_prices import read_price_list
from services.claims.plans.reader import Faults, Mapping, Value
from services.common.dated import Dated
from services.common.money import currency_exponent

FORMAT = 1


class ProviderPrices(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A provider's prices from `first_day` to `last_day`, and when it bills the insurer itself.

    `prices` ascend by their codes as compared, so that one of tens of thousands is found at once.
    """

    provider_id: str
    currency: str
    first_day: date
    prices: tuple[ContractPrice, ...]
    last_day: date | None = None
    direct_billing: Dated[bool] | None = None

    def in_force(self, day: date) -> bool:
        """Whether the list holds on a day at all; a code that it lacks then is not payable."""
        return self.first_day <= day and (self.last_day is None or day <= self.last_day)

    def bills_directly(self, day: date) -> bool:
        """Whether the provider bills the insurer on that day, and not the patient."""
        told = self.direct_billing
        return bool(self.in_force(day) and told is not None and told.on(day))

    def for_codes(self, codes: tuple[Coding, ...]) -> PriceList:
        """The list as far as these codes go."""
        found = []
        for wanted in sorted({code_key(code) for code in codes}):
            place = bisect_left(self.prices, wanted, key=_key)
            if place < len(self.prices) and _key(self.prices[place]) == wanted:
                found.append(self.prices[place])
        return PriceList(prices=tuple(found))


def _key(one: ContractPrice) -> CodeKey:
    return code_key(one.code)


_encode = msgspec.json.Encoder(order="deterministic").encode
_decoder = msgspec.json.Decoder(ProviderPrices)


def load_price_list(yaml: bytes, source: str) -> ProviderPrices:
    """The prices that a file holds. `source` names the file in faults.

    Raises: StrictYamlError with every fault of the file, as load_plan; also for a code that stands
    twice, for days that overlap, and for days that end before they begin.
    """
    faults = Faults(source)
    made = _price_list(Mapping(faults, faults.tree(yaml)))
    faults.check()
    return made


def price_list_bytes(made: ProviderPrices) -> bytes:
    """The list as it is stored and hashed, whatever the order of its codes in the file."""
    ordered = sorted(made.prices, key=lambda one: (one.code.system, one.code.code))
    return _encode(msgspec.structs.replace(made, prices=tuple(ordered)))


def price_list_from(stored: bytes) -> ProviderPrices:
    """The list of stored bytes.

    Raises: msgspec.ValidationError when this version does not know them.
    """
    made = _decoder.decode(stored)
    return msgspec.structs.replace(made, prices=tuple(sorted(made.prices, key=_key)))


def price_list_hash(made: ProviderPrices) -> str:
    """What names the list's content."""
    return hashlib.sha256(price_list_bytes(made)).hexdigest()


def _price_list(top: Mapping) -> ProviderPrices:
    written = top.get("format")
    if written.whole() != FORMAT:
        written.fault("UNKNOWN_FORMAT", f"this version reads format {FORMAT}")
    provider = top.get("provider").text()
    currency = _currency(top.get("currency"))
    first_day, last = top.get("first_day").day(), top.maybe("last_day")
    last_day = None if last is None else last.day()
    if last is not None and last_day is not None and last_day < first_day:
        last.fault("ENDS_BEFORE_START", "must not lie before first_day")
    direct = top.maybe("direct_billing")
    # A code may be agreed on later than the list began.
    context = Context(currency=currency, first_day=date.max)
    context.name_systems(read_systems(top))
    prices = read_price_list(top, context)
    if not top.has("prices"):
        top.fault("MISSING_KEY", 'the key "prices" is missing')
    elif not prices and not top.faults.found_in("prices"):
        top.fault("EMPTY_LIST", "a list without a price makes every code unpayable", "prices")
    made = ProviderPrices(
        provider_id=provider,
        currency=currency,
        first_day=first_day,
        last_day=last_day,
        prices=tuple(sorted(prices, key=_key)),
        direct_billing=None if direct is None else direct.dated(Value.boolean, first_day),
    )
    top.done()
    return made


def _currency(value: Value) -> str:
    text = value.text()
    try:
        currency_exponent(text)
    except KeyError:
        value.fault("UNKNOWN_CURRENCY", "must be a currency that plans may use")
        return "CNY"
    return text
