"""PricingService over gRPC: reads requests, asks the pure core, keeps quotes. Decides no price.

A request is judged whole: every fault of every field comes back at once, without the values.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, ParamSpec, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from lipei.type.v1 import money_pb2
from services.common.database import Database
from services.common.grpc_edge import Refused, Violation, invalid, not_found
from services.common.request_id import request_id_faults
from services.pricing.core.book import Book, TariffNotInForce, UnknownTariff, is_tariff_name
from services.pricing.core.features import NOT_PRICED, FeatureFault, Features, read
from services.pricing.core.quote import Asked, Quote, quoted
from services.pricing.core.rates import Rates
from services.pricing.core.waterfall import price
from services.pricing.storage import QuoteStore, StorageUnavailable

P = ParamSpec("P")
R = TypeVar("R")

FULL_NAME = pricing_pb2.DESCRIPTOR.services_by_name["PricingService"].full_name
MAX_FEATURES = 64
# The status travels in a header; loaded versions beyond this many are left to the operator.
_LISTED_VERSIONS = 10
_RETRY_S = 1.0

_POLICY = re.compile(r"policies/([A-Za-z0-9](?:[A-Za-z0-9._~-]{0,63}))", re.ASCII)
_QUOTE = re.compile(_POLICY.pattern + r"/quotes/([0-9a-f]{32})", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}", re.ASCII)

NOT_IN_FORCE = "NOT_IN_FORCE"
NO_SUCH_TARIFF = "NO_SUCH_TARIFF"
# Faults of a request that is well formed, but for which this tariff has no price.
_NO_PRICE = frozenset({NOT_PRICED, NOT_IN_FORCE})


class PricingServicer(pricing_pb2_grpc.PricingServiceServicer):
    """Prices by the tariffs of a book and keeps every quote. `now` is the only clock."""

    def __init__(
        self,
        book: Book,
        database: Database,
        store: QuoteStore,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._book = book
        self._database = database
        self._store = store
        self._now = now

    async def QuotePremium(
        self,
        request: pricing_pb2.QuotePremiumRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> pricing_pb2.QuotePremiumResponse:
        """Price one person's policy year and store the quote; see the proto for every answer."""
        asked, violations = _asked(request)
        if not request_id_faults(request.request_id):
            earlier = await self._run(self._store.by_request, request.request_id)
            if earlier is not None:
                return _response(earlier, asked)
        rates, features = self._judged(asked, violations)
        made = quoted(
            asked,
            rates,
            features.values,
            price(rates, features.values),
            quote_id=uuid.uuid4().hex,
            request_id=request.request_id,
            created_us=_microseconds(self._now()),
        )
        return _response(await self._run(self._store.add, made), asked)

    async def GetQuote(
        self,
        request: pricing_pb2.GetQuoteRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> pricing_pb2.GetQuoteResponse:
        """The stored quote, word for word as it was first given."""
        named = _QUOTE.fullmatch(request.name)
        if named is None:
            text = "must read policies/{policy}/quotes/{quote}"
            raise invalid([Violation("name", "NOT_A_NAME", text)])
        found = await self._run(self._store.by_id, named[1], named[2])
        if found is None:
            raise not_found("quote", request.name)
        return pricing_pb2.GetQuoteResponse(quote=_quote(found))

    def _judged(self, asked: Asked, violations: list[Violation]) -> tuple[Rates, Features]:
        """The tariff and the features that it can price.

        Raises: Refused with every violation of the request, these and those found here.
        """
        day = _day(asked.start_date)
        rates: Rates | None = None
        if is_tariff_name(asked.tariff):
            try:
                # Without a readable day any version serves to judge the features by.
                rates = self._book.on(asked.tariff, day) if day else self._any(asked.tariff)
            except UnknownTariff:
                if not violations:
                    raise self._no_such_tariff() from None
                text = "no such tariff is loaded"
                violations.append(Violation("tariff", NO_SUCH_TARIFF, text))
            except TariffNotInForce as out:
                violations.append(Violation("start_date", NOT_IN_FORCE, str(out)))
                rates = self._any(asked.tariff)
        features = Features((), ())
        if rates is not None and len(asked.features) <= MAX_FEATURES:
            features = read(rates.tariff.features, asked.features)
            violations += [_violation(fault) for fault in features.faults]
        if violations or rates is None:
            raise _refusal(violations)
        return rates, features

    def _any(self, name: str) -> Rates:
        for rates in reversed(self._book.versions()):
            if name in (rates.tariff.id, rates.version):
                return rates
        raise UnknownTariff(name)

    def _no_such_tariff(self) -> Refused:
        versions = [rates.version for rates in self._book.versions()]
        loaded = " ".join(versions[:_LISTED_VERSIONS])
        return Refused(
            grpc.StatusCode.NOT_FOUND,
            NO_SUCH_TARIFF,
            "no such tariff is loaded; the metadata lists those that are",
            metadata={"loaded": loaded},
        )

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await self._database.run(work, *args, **kwargs)
        except StorageUnavailable:
            raise Refused(
                grpc.StatusCode.UNAVAILABLE,
                "STORAGE_UNAVAILABLE",
                "the database does not answer; repeat with the same request_id",
                retry_after_s=_RETRY_S,
            ) from None


def _asked(request: pricing_pb2.QuotePremiumRequest) -> tuple[Asked, list[Violation]]:
    violations = request_id_faults(request.request_id)
    parent = _POLICY.fullmatch(request.parent)
    if parent is None:
        violations.append(Violation("parent", "NOT_A_NAME", "must read policies/{policy}"))
    if not is_tariff_name(request.tariff):
        text = "must read {tariff id} or {tariff id}@sha256:{hash}"
        violations.append(Violation("tariff", "NOT_A_NAME", text))
    if _day(request.start_date) is None:
        text = "must be a day of the calendar as YYYY-MM-DD"
        violations.append(Violation("start_date", "BAD_DATE", text))
    if len(request.features) > MAX_FEATURES:
        text = f"holds more than {MAX_FEATURES} features"
        violations.append(Violation("features", "TOO_MANY", text))
    asked = Asked(
        policy_id=parent[1] if parent else "",
        tariff=request.tariff,
        start_date=request.start_date,
        features=dict(request.features),
    )
    return asked, violations


def _day(text: str) -> date | None:
    # date.fromisoformat alone also reads week dates and dates without dashes.
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _violation(fault: FeatureFault) -> Violation:
    if not fault.feature:
        return Violation("features", fault.reason, fault.text)
    # A caller may put anything into a key, also a name: only what looks like one of ours goes back.
    key = fault.feature if _KEY.fullmatch(fault.feature) else "?"
    return Violation(f'features["{key}"]', fault.reason, fault.text)


def _refusal(violations: list[Violation]) -> Refused:
    if not all(violation.reason in _NO_PRICE for violation in violations):
        return invalid(violations)
    return Refused(
        grpc.StatusCode.FAILED_PRECONDITION,
        "NO_PRICE",
        "; ".join(f"{v.field}: {v.text}" for v in violations),
        violations=violations,
    )


def _response(found: Quote, asked: Asked) -> pricing_pb2.QuotePremiumResponse:
    if found.asked != asked:
        raise Refused(
            grpc.StatusCode.ALREADY_EXISTS,
            "REQUEST_ID_REUSED",
            "this request_id was used with other content; make a new one",
        )
    return pricing_pb2.QuotePremiumResponse(quote=_quote(found))


def _quote(found: Quote) -> pricing_pb2.Quote:
    made = Timestamp()
    made.FromMicroseconds(found.created_us)
    return pricing_pb2.Quote(
        name=f"policies/{found.asked.policy_id}/quotes/{found.id}",
        tariff=found.tariff_version,
        premium=money_pb2.Money(currency_code=found.currency, minor_units=found.premium_minor),
        steps=[
            pricing_pb2.PremiumStep(
                step=step.step,
                cell=step.cell,
                factor_millionths=step.factor_millionths,
                difference_e4=step.difference_e4,
                premium_e4=step.premium_e4,
                text_zh=step.text_zh,
                text_en=step.text_en,
            )
            for step in found.steps
        ],
        create_time=made,
        start_date=found.asked.start_date,
    )


def _microseconds(moment: datetime) -> int:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp.ToMicroseconds()
