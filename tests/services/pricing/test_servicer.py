"""PricingService over real sockets, on both databases: answers, refusals, and what is not said."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.access.caller import calling_as
from services.common.database import Database
from services.common.grpc_edge import Refused, RpcFault, error_of
from services.common.sealing import SubjectKeys
from services.pricing.core.book import Book
from services.pricing.judging import Shelf
from services.pricing.servicer import FULL_NAME, PricingServicer, Stores
from services.pricing.storage.erasure import Erasures
from services.pricing.storage.quotes import QuoteStore
from services.pricing.storage.readings import ReadingStore
from services.pricing.storage.registry import RegistryStore
from tests.identities import everybody
from tests.postgres import fresh_database
from tests.services.common.sealing.keys import MASTER, now_us
from tests.services.pricing.at_hand import DEMO, WOMAN_52, demo_rates, priced
from tests.services.pricing.core.reading_cases import programmes
from tests.services.pricing.process import serving
from tests.services.pricing.reading_requests import part, recording, weeks
from tests.services.pricing.stores import health_stores
from tests.tenants import of_hospital, of_insurer

Stub = pricing_pb2_grpc.PricingServiceStub
Request = pricing_pb2.QuotePremiumRequest
TOKEN = "k1." + "a" * 64


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.fault)]
)
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """One running service per kind of database, for all tests of this module."""
    state = tmp_path_factory.mktemp("state")
    if request.param == "sqlite":
        with serving(state) as pricing:
            yield pricing.address
    else:
        server = request.getfixturevalue("postgres_url")
        with (
            fresh_database(server) as url,
            serving(state, {"LIPEI_PRICING_DATABASE_URL": url}) as pricing,
        ):
            yield pricing.address


@pytest.fixture
def channel(target: str) -> Iterator[grpc.Channel]:
    with everybody(target, "pricing") as found:
        yield found


@pytest.fixture
def stub(channel: grpc.Channel) -> Stub:
    return Stub(channel)


@pytest.fixture
def asking(request: pytest.FixtureRequest) -> Callable[..., Request]:
    """Requests with an id of this test's own."""

    def made(**changes: Any) -> Request:
        told: dict[str, Any] = {
            "request_id": hashlib.sha256(request.node.nodeid.encode()).hexdigest(),
            "parent": "policies/p-1",
            "tariff": DEMO,
            "start_date": "2026-12-01",
            "features": WOMAN_52,
        }
        return Request(**told | changes)

    return made


def refusal(stub: Stub, request: Request) -> RpcFault:
    with pytest.raises(grpc.RpcError) as refused:
        stub.QuotePremium(request, timeout=60)
    return error_of(refused.value)


def test_a_quote_is_explained_to_the_fen_and_kept(
    stub: Stub, asking: Callable[..., Request]
) -> None:
    before = datetime.now(UTC)
    quote = stub.QuotePremium(asking(), timeout=60).quote
    expected = priced(demo_rates(), WOMAN_52)
    assert quote.premium.minor_units == expected.premium_minor == 345_371
    assert quote.premium.currency_code == "CNY"
    assert quote.tariff == demo_rates().version
    assert quote.start_date == "2026-12-01"
    assert before <= quote.create_time.ToDatetime(UTC) <= datetime.now(UTC)
    assert sum(step.difference_e4 for step in quote.steps) == 345_371 * 10_000
    steps = {step.step: step for step in quote.steps}
    assert steps["inpatient.hba1c"].cell == "hba1c_percent 7.0-7.4"
    assert steps["inpatient.hba1c"].factor_millionths == 900_000
    assert steps["inpatient.hba1c"].text_zh == "住院医疗：糖化血红蛋白 7.0–7.4 %，系数 0.9"
    assert steps["inpatient.hba1c"].text_en == "Inpatient care: HbA1c 7.0–7.4 %, factor 0.9"
    assert steps["inpatient.systolic"].cell == "systolic_mmhg not applicable"
    assert quote.name.startswith("policies/p-1/quotes/")
    assert stub.GetQuote(pricing_pb2.GetQuoteRequest(name=quote.name), timeout=60).quote == quote


def test_the_very_version_prices_like_the_active_one(
    stub: Stub, asking: Callable[..., Request]
) -> None:
    quote = stub.QuotePremium(asking(tariff=demo_rates().version), timeout=60).quote
    assert quote.premium.minor_units == 345_371


def test_a_repeated_request_gets_the_stored_quote(
    stub: Stub, asking: Callable[..., Request]
) -> None:
    first = stub.QuotePremium(asking(), timeout=60)
    assert stub.QuotePremium(asking(), timeout=60) == first
    assert stub.QuotePremium(asking(request_id="another"), timeout=60) != first


@pytest.mark.parametrize(
    "change",
    [
        {"parent": "policies/p-2"},
        {"tariff": demo_rates().version},
        {"start_date": "2026-12-02"},
        {"start_date": "never"},
        {"features": {**WOMAN_52, "hba1c_percent": "7.3"}},
        {"features": {**WOMAN_52, "hba1c_percent": "7.20"}},
        {"features": {}},
    ],
)
def test_a_request_id_with_other_content_is_refused(
    stub: Stub, asking: Callable[..., Request], change: dict[str, Any]
) -> None:
    stub.QuotePremium(asking(), timeout=60)
    fault = refusal(stub, asking(**change))
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


def test_requests_that_race_get_one_quote(stub: Stub, asking: Callable[..., Request]) -> None:
    with ThreadPoolExecutor(12) as pool:
        found = list(
            pool.map(lambda _: stub.QuotePremium(asking(), timeout=60).quote.name, range(24))
        )
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"request_id": ""}, "request_id", "MALFORMED"),
        ({"request_id": "x" * 65}, "request_id", "MALFORMED"),
        ({"request_id": "理赔"}, "request_id", "MALFORMED"),
        ({"parent": "p-1"}, "parent", "NOT_A_NAME"),
        ({"parent": "policies/p-1/quotes"}, "parent", "NOT_A_NAME"),
        ({"parent": "policies/../x"}, "parent", "NOT_A_NAME"),
        ({"tariff": ""}, "tariff", "NOT_A_NAME"),
        ({"tariff": "DEMO"}, "tariff", "NOT_A_NAME"),
        ({"start_date": ""}, "start_date", "BAD_DATE"),
        ({"start_date": "2026-02-29"}, "start_date", "BAD_DATE"),
        ({"start_date": "20261201"}, "start_date", "BAD_DATE"),
        ({"start_date": "2026-W49-2"}, "start_date", "BAD_DATE"),
        ({"start_date": "２０２６-12-01"}, "start_date", "BAD_DATE"),
        ({"start_date": "2026-12-01T00:00:00Z"}, "start_date", "BAD_DATE"),
        ({"features": {}}, 'features["age"]', "MISSING_FEATURE"),
        ({"features": {**WOMAN_52, "age": "５２"}}, 'features["age"]', "BAD_DECIMAL"),
        ({"features": {**WOMAN_52, "age": "NaN"}}, 'features["age"]', "BAD_DECIMAL"),
        ({"features": {**WOMAN_52, "age": "1e400"}}, 'features["age"]', "BAD_DECIMAL"),
        ({"features": {**WOMAN_52, "smoker": "no"}}, 'features["smoker"]', "UNKNOWN_FEATURE"),
        ({"features": {**WOMAN_52, "王小明": "1"}}, 'features["?"]', "UNKNOWN_FEATURE"),
        (
            {"features": {**WOMAN_52, "systolic_mmhg": "13682"}},
            'features["systolic_mmhg"]',
            "OUT_OF_BOUNDS",
        ),
        ({"features": {f"f{i}": "1" for i in range(65)}}, "features", "TOO_MANY"),
    ],
)
def test_a_bad_field_is_named(
    stub: Stub, asking: Callable[..., Request], change: dict[str, Any], field: str, reason: str
) -> None:
    fault = refusal(stub, asking(**change))
    assert (fault.code, fault.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert (field, reason) in {(v.field, v.reason) for v in fault.violations}


def test_all_violations_come_at_once_and_no_value_goes_back(stub: Stub) -> None:
    fault = refusal(
        stub,
        Request(
            request_id="two words",
            parent="policies/",
            tariff=DEMO,
            start_date="2026-02-30",
            features={
                "age": "1e400",
                "condition": "type1_diabetes",
                "hba1c_percent": "55",
                "systolic_mmhg": "13682",
                "sax": "F",
            },
        ),
    )
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [(v.field, v.reason) for v in fault.violations] == [
        ("request_id", "MALFORMED"),
        ("parent", "NOT_A_NAME"),
        ("start_date", "BAD_DATE"),
        ('features["age"]', "BAD_DECIMAL"),
        ('features["sex"]', "MISSING_FEATURE"),
        ('features["condition"]', "NOT_PRICED"),
        ('features["hba1c_percent"]', "OUT_OF_BOUNDS"),
        ('features["systolic_mmhg"]', "OUT_OF_BOUNDS"),
        ('features["sax"]', "UNKNOWN_FEATURE"),
    ]
    said = fault.text + str(fault.violations)
    for value in ("1e400", "13682", "55", "2026-02-30", "two words"):
        assert value not in said


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"features": {**WOMAN_52, "age": "80"}}, 'features["age"]'),
        ({"features": {**WOMAN_52, "condition": "type1_diabetes"}}, 'features["condition"]'),
        ({"start_date": "2024-12-31"}, "start_date"),
        ({"start_date": "2024-12-31", "tariff": demo_rates().version}, "start_date"),
    ],
)
def test_what_the_tariff_does_not_price_is_declined_apart(
    stub: Stub, asking: Callable[..., Request], change: dict[str, Any], field: str
) -> None:
    fault = refusal(stub, asking(**change))
    assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_PRICE")
    assert [v.field for v in fault.violations] == [field]


@pytest.mark.parametrize("tariff", ["another", f"{DEMO}@sha256:{'0' * 64}"])
def test_an_unknown_tariff_is_answered_with_the_loaded_ones(
    stub: Stub, asking: Callable[..., Request], tariff: str
) -> None:
    fault = refusal(stub, asking(tariff=tariff))
    assert (fault.code, fault.reason) == (grpc.StatusCode.NOT_FOUND, "NO_SUCH_TARIFF")
    assert fault.metadata["loaded"] == demo_rates().version
    fault = refusal(stub, asking(tariff=tariff, start_date=""))
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [v.field for v in fault.violations] == ["start_date", "tariff"]


def test_a_refused_request_leaves_nothing_behind(
    stub: Stub, asking: Callable[..., Request]
) -> None:
    refusal(stub, asking(features={**WOMAN_52, "age": "80"}))
    assert stub.QuotePremium(asking(), timeout=60).quote.premium.minor_units == 345_371


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("policies/p-1/quotes/" + "0" * 32, grpc.StatusCode.NOT_FOUND),
        ("policies/p-1/quotes/1", grpc.StatusCode.INVALID_ARGUMENT),
        ("", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_quote_that_is_not_there(stub: Stub, name: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetQuote(pricing_pb2.GetQuoteRequest(name=name), timeout=60)
    assert error_of(refused.value).code is code


def test_another_policy_does_not_see_the_quote(stub: Stub, asking: Callable[..., Request]) -> None:
    name = stub.QuotePremium(asking(), timeout=60).quote.name
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetQuote(pricing_pb2.GetQuoteRequest(name=name.replace("p-1", "p-2")), timeout=60)
    assert error_of(refused.value).code is grpc.StatusCode.NOT_FOUND


def test_a_request_of_5_mb_is_refused_and_the_next_is_served(
    stub: Stub, asking: Callable[..., Request]
) -> None:
    fault = refusal(stub, asking(features={"x" * (5 << 20): "1"}))
    assert fault.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert stub.QuotePremium(asking(), timeout=60).quote.name


def test_the_longest_refusal_fits_into_its_header(
    stub: Stub, asking: Callable[..., Request]
) -> None:
    flood = {f"{i:03}" + "f" * 37: "理" * 1000 for i in range(60)}
    fault = refusal(stub, asking(request_id="", parent="", start_date="", features=flood))
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(fault.violations) == 3 + 3 + 9


def test_health_and_reflection_answer(channel: grpc.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    for service in ("", FULL_NAME):
        found = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)
        assert found.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    mirror: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    answers = mirror.ServerReflectionInfo(iter([asked]), timeout=60)
    names = {service.name for service in next(answers).list_services_response.service}
    assert FULL_NAME in names


@pytest.mark.parametrize(
    "request_",
    [
        Request(
            request_id="r",
            parent="policies/p",
            tariff=DEMO,
            start_date="2026-12-01",
            features=WOMAN_52,
        ),
        pricing_pb2.GetQuoteRequest(name="policies/p/quotes/" + "0" * 32),
        recording("r", weeks(TOKEN, "2025-03", "6.0")),
        pricing_pb2.AssessMemberRequest(participation=part(TOKEN), renewal_date="2026-01-01"),
        # Ends the stream: an answer would let what comes later be recorded before.
        pricing_pb2.StreamReadingsRequest(request_id="r", readings=weeks(TOKEN, "2025-03", "6.0")),
        pricing_pb2.ListCoachTasksRequest(parent="members/-"),
        pricing_pb2.SetPersonalTargetRequest(
            request_id="r",
            member=f"members/{TOKEN}",
            measure=pricing_pb2.MEASURE_HBA1C,
            start_date="2025-01-01",
            doctor_id="d",
            reason="r",
        ),
    ],
    ids=lambda request: type(request).__name__,
)
def test_a_database_that_is_away_is_a_reason_to_retry(request_: Any) -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nowhere", threads=1)
    keys = SubjectKeys(MASTER, now_us=now_us)
    servicer = PricingServicer(
        Shelf(Book([demo_rates()]), programmes()),
        database,
        Stores(
            QuoteStore(database, keys),
            ReadingStore(database, keys),
            Erasures(database, keys),
            RegistryStore(database),
            *health_stores(database, keys),
        ),
    )
    rpc = getattr(servicer, type(request_).__name__.removesuffix("Request"))
    streams = isinstance(request_, pricing_pb2.StreamReadingsRequest)
    records = streams or isinstance(request_, pricing_pb2.RecordReadingsRequest)

    async def alone() -> AsyncIterator[Any]:
        yield request_

    async def call() -> None:
        if streams:
            await anext(rpc(alone(), None))
        else:
            await rpc(request_, None)

    with (
        calling_as(of_hospital() if records else of_insurer()),
        pytest.raises(Refused) as refused,
    ):
        asyncio.run(call())
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE
    assert refused.value.retry_after_s == 1.0
    database.close()
