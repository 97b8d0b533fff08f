"""What a caller sees of a service, over real sockets: typed errors, health, an end without loss."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.grpc_edge import Refused, RpcFault, Violation, _Health, error_of
from services.common.page_tokens import page_token, parse_page_token
from services.common.state import read_addresses
from services.common.transport.channels import channel
from tests.forked import Forked
from tests.identities import acting, equip, everybody, files_of
from tests.services.common.edge_server import FULL_NAME, SECRET, Puppet, violation
from tests.services.common.programs import LONGEST_S, environ

SERVER = "tests.services.common.edge_server"


class Process:
    """The puppet service as a process."""

    def __init__(self, state: Path, *arguments: str, **settings: str) -> None:
        self.state = state
        said = state / "stderr"
        words = (str(state), *arguments)
        self.process = Forked(SERVER, *words, environ=environ(settings), out=said, err=said)

    def address(self) -> str:
        """Where it listens, once it does."""
        self.until(lambda: "puppet" in read_addresses(self.state))
        return read_addresses(self.state)["puppet"]

    def until(self, condition: Any) -> None:
        give_up = time.monotonic() + LONGEST_S
        while not condition():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < give_up, self.log()
            time.sleep(0.01)

    def log(self) -> str:
        return (self.state / "stderr").read_text("utf-8")

    def ended(self) -> int:
        """The exit code."""
        return self.process.wait(LONGEST_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.ended()


@contextmanager
def running(state: Path, *arguments: str, **settings: str) -> Iterator[Process]:
    process = Process(equip(state), *(arguments or ("127.0.0.1:0",)), **settings)
    try:
        yield process
    finally:
        process.close()


@pytest.fixture(scope="module")
def puppet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(tmp_path_factory.mktemp("state")) as process:
        process.address()
        yield process


@pytest.fixture
def stub(puppet: Process) -> Iterator[pricing_pb2_grpc.PricingServiceStub]:
    with everybody(puppet.address(), "pricing") as open_channel:
        yield pricing_pb2_grpc.PricingServiceStub(open_channel)


def foreign_channel(address: str) -> grpc.Channel:
    """A channel of somebody who has a certificate and none of our options."""
    files = files_of("settlement")
    credentials = grpc.ssl_channel_credentials(
        files.authority.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
    )
    options = [("grpc.ssl_target_name_override", "pricing.service.lipei.local")]
    return grpc.secure_channel(address, credentials, options=options)


def ask(parent: str) -> pricing_pb2.QuotePremiumRequest:
    return pricing_pb2.QuotePremiumRequest(parent=parent)


def fault_of(stub: Any, parent: str, **how: Any) -> RpcFault:
    with pytest.raises(grpc.RpcError) as failed:
        stub.QuotePremium(ask(parent), **how)
    return error_of(failed.value)


def fault_of_aio(address: str, parent: str) -> RpcFault:
    async def call() -> RpcFault:
        async with channel(address, acting("settlement", ""), "pricing") as open_channel:
            stub: Any = pricing_pb2_grpc.PricingServiceStub(open_channel)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await stub.QuotePremium(ask(parent))
            return error_of(failed.value)

    return asyncio.run(call())


def test_every_violation_comes_back_in_order(puppet: Process, stub: Any) -> None:
    fault = fault_of(stub, "invalid:3")
    assert fault == RpcFault(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        text="; ".join(f"lines[{n}].amount: must not be negative 不能为负" for n in range(3)),
        violations=(violation(0), violation(1), violation(2)),
        retry_after_s=None,
        metadata={},
    )
    assert fault_of_aio(puppet.address(), "invalid:3") == fault


def test_a_refusal_says_when_to_retry_and_what_it_is_about(puppet: Process, stub: Any) -> None:
    fault = fault_of(stub, "refuse")
    assert (fault.code, fault.reason) == (grpc.StatusCode.ABORTED, "EARLIER_CLAIM_UNDECIDED")
    assert fault.retry_after_s == 1.25
    assert fault.metadata == {"claim": "policies/p/claims/c"}
    assert fault.violations == ()
    assert fault_of_aio(puppet.address(), "refuse") == fault


def test_a_missing_thing_is_named(stub: Any) -> None:
    fault = fault_of(stub, "missing:policies/p/quotes/q")
    assert (fault.code, fault.text) == (grpc.StatusCode.NOT_FOUND, "no such quote")
    assert fault.metadata == {"name": "policies/p/quotes/q"}


def test_hundreds_of_violations_reach_a_caller_of_ours_whole(puppet: Process, stub: Any) -> None:
    expected = tuple(violation(number) for number in range(500))
    assert fault_of(stub, "invalid:500").violations == expected
    assert fault_of_aio(puppet.address(), "invalid:500").violations == expected


@pytest.mark.parametrize("count", [40, 500, 20_000])
def test_a_foreign_caller_gets_as_many_violations_as_its_limits_let_through(
    puppet: Process, count: int
) -> None:
    # Beyond its metadata limit gRPC would replace the whole answer by RESOURCE_EXHAUSTED.
    with foreign_channel(puppet.address()) as foreign:
        fault = fault_of(pricing_pb2_grpc.PricingServiceStub(foreign), f"invalid:{count}")
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    left_off = int(fault.metadata.get("violations_left_off", 0))
    assert len(fault.violations) >= 40
    assert fault.violations == tuple(violation(n) for n in range(count - left_off))


def test_a_long_chinese_text_is_shortened_instead_of_lost(puppet: Process) -> None:
    with foreign_channel(puppet.address()) as foreign:
        fault = fault_of(pricing_pb2_grpc.PricingServiceStub(foreign), "long text:5000")
    assert fault.code is grpc.StatusCode.FAILED_PRECONDITION
    assert re.fullmatch(r"理{50,} \.\.\.", fault.text)


@pytest.mark.parametrize("how", ["", "group", "answer"])
def test_an_unexpected_fault_tells_a_correlation_id_and_nothing_else(
    puppet: Process, stub: Any, how: str
) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        stub.QuotePremium(ask(f"secret:{how}"))
    fault = error_of(failed.value)
    assert (fault.code, fault.reason) == (grpc.StatusCode.INTERNAL, "UNEXPECTED_FAULT")
    correlation = fault.metadata["correlation"]
    assert re.fullmatch(r"[0-9a-f]{32}", correlation)
    wire = repr(failed.value.trailing_metadata()) + repr(failed.value)
    assert not leaked(wire)
    (line,) = [json.loads(found) for found in puppet.log().splitlines() if correlation in found]
    assert line["event"] == "unexpected_fault"
    assert line["method"] == f"/{FULL_NAME}/QuotePremium"
    assert line["fault"] == FAULTS[how]
    assert all(re.fullmatch(r"[a-z_]+\.py:[0-9]+", place) for place in line["at"])
    assert not leaked(puppet.log())


FAULTS = {"": "ValueError", "group": "ExceptionGroup", "answer": "TypeError"}


def leaked(text: str) -> bool:
    """Whether the secret stands in the text, in clear or escaped."""
    escaped = SECRET.encode("unicode_escape").decode()
    return any(form in text for form in (SECRET, "4401 0119", escaped, repr(SECRET.encode())[2:-1]))


def test_without_the_edge_grpc_sends_the_exceptions_text(tmp_path: Path) -> None:
    # The control for the test above.
    async def call() -> str:
        server = grpc.aio.server()
        pricing_pb2_grpc.add_PricingServiceServicer_to_server(Puppet(tmp_path), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as open_channel:
            stub: Any = pricing_pb2_grpc.PricingServiceStub(open_channel)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await stub.QuotePremium(ask("secret"))
        await server.stop(None)
        return str(failed.value.details())

    assert leaked(asyncio.run(call()))


def test_five_megabytes_are_refused_and_the_server_lives(puppet: Process, stub: Any) -> None:
    for fault in (
        fault_of(stub, "x" * 5_000_000),
        fault_of_aio(puppet.address(), "x" * 5_000_000),
    ):
        assert (fault.code, fault.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "RESOURCE_EXHAUSTED",
        )
        assert fault.violations == ()
    assert stub.QuotePremium(ask("x" * 4_000_000)).HasField("quote")


def test_bytes_that_are_no_message_are_refused_and_the_server_lives(
    puppet: Process, stub: Any
) -> None:
    with everybody(puppet.address(), "pricing") as open_channel:
        raw: Any = open_channel.unary_unary(f"/{FULL_NAME}/QuotePremium")
        with pytest.raises(grpc.RpcError) as failed:
            raw(b"\xff" * 10)
    fault = error_of(failed.value)
    assert (fault.code, fault.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")
    assert stub.QuotePremium(ask("")).HasField("quote")


def test_bytes_that_are_no_grpc_at_all_do_no_harm(puppet: Process, stub: Any) -> None:
    host, _, port = puppet.address().rpartition(":")
    with socket.create_connection((host, int(port))) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(range(256)) * 8)
        while plain.recv(4096):
            pass
    assert stub.QuotePremium(ask("")).HasField("quote")


def test_a_method_that_is_not_there_is_unimplemented(puppet: Process) -> None:
    with everybody(puppet.address(), "pricing") as open_channel:
        raw: Any = open_channel.unary_unary("/lipei.pricing.v1.PricingService/NoSuch")
        with pytest.raises(grpc.RpcError) as failed:
            raw(b"")
    assert error_of(failed.value).reason == "UNIMPLEMENTED"


def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # taken, and nobody listens
        with everybody(f"127.0.0.1:{reserved.getsockname()[1]}", "pricing") as open_channel:
            stub = pricing_pb2_grpc.PricingServiceStub(open_channel)
            assert fault_of(stub, "").reason == "UNAVAILABLE"


def test_the_callers_deadline_is_known_and_its_lack_too(stub: Any) -> None:
    assert float(stub.QuotePremium(ask("remaining")).quote.name) == 7.0
    left = float(stub.QuotePremium(ask("remaining"), timeout=50).quote.name)
    assert 7.0 < left <= 51.0


def test_a_deadline_ends_the_call_and_is_no_unexpected_fault(puppet: Process, stub: Any) -> None:
    assert fault_of(stub, "wait", timeout=0.1).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert stub.QuotePremium(ask("")).HasField("quote")
    assert '"DeadlineExceeded"' not in puppet.log()
    assert "CancelledError" not in puppet.log()


@pytest.mark.parametrize("service", ["", FULL_NAME])
def test_health_is_told_for_the_process_and_the_service(puppet: Process, service: str) -> None:
    with everybody(puppet.address(), "pricing") as open_channel:
        health = health_pb2_grpc.HealthStub(open_channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as failed:
            health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert error_of(failed.value).code is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(puppet: Process) -> None:
    with everybody(puppet.address(), "pricing") as open_channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(open_channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]))
    assert {service.name for service in answer.list_services_response.service} == {
        FULL_NAME,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_call_in_flight_completes_before_the_process_stops(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path) as process:
        address = process.address()
        assert address.startswith("127.0.0.1:")
        with everybody(address, "pricing") as open_channel:
            stub: Any = pricing_pb2_grpc.PricingServiceStub(open_channel)
            in_flight = stub.QuotePremium.future(ask("wait"))
            process.until((tmp_path / "waiting").exists)
            process.process.send_signal(number)
            process.until(lambda: read_addresses(tmp_path) == {})
            (tmp_path / "go").touch()
            assert in_flight.result().quote.name == "waited"
        assert process.ended() == 0
    assert [json.loads(line)["event"] for line in process.log().splitlines()] == [
        "serving",
        "stopped",
    ]


@pytest.mark.parametrize("kind", ["crash", "return"])
def test_a_service_whose_sweeper_ends_does_not_stay_up(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, "127.0.0.1:0", kind) as process:
        assert process.ended() == 1
    assert read_addresses(tmp_path) == {}
    assert not leaked(process.log())
    assert '"crashed"' in process.log()


def test_a_taken_address_stops_the_start_with_a_reason(tmp_path: Path, puppet: Process) -> None:
    with running(tmp_path, puppet.address()) as process:
        assert process.ended() == 1
    assert f"cannot listen on {puppet.address()}" in process.log()
    assert read_addresses(tmp_path) == {}


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()))
def test_a_page_token_comes_back_as_its_position(position: str) -> None:
    assert parse_page_token(page_token("claims", position), "claims") == position


def test_no_token_is_the_first_page() -> None:
    assert parse_page_token("", "claims") is None


@pytest.mark.parametrize(
    "token",
    [
        page_token("bills", "7"),
        page_token("claim", "s7"),
        page_token("claims", ""),
        "7",
        "claims",
        "Y2xhaW1z",
        "!!!!",
        "=",
        "理赔",
        page_token("claims", "7")[:-3],
        "_" * 5_000,
    ],
)
def test_a_foreign_page_token_is_refused(token: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_page_token(token, "claims")
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    (found,) = refused.value.violations
    assert isinstance(found, Violation)
    assert (found.field, found.reason) == ("page_token", "FOREIGN_PAGE_TOKEN")


class _Proxied(grpc.RpcError):
    """An error as a proxy may leave it."""

    def __init__(self, trailing: Any) -> None:
        self._trailing = trailing

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> None:
        return None

    def trailing_metadata(self) -> Any:
        return self._trailing


@pytest.mark.parametrize(
    "trailing",
    [None, (), (("grpc-status-details-bin", b"\xff\xff"),), (("grpc-status-details-bin", "x"),)],
)
def test_an_error_without_readable_details_still_has_a_code(trailing: Any) -> None:
    fault = error_of(_Proxied(trailing))
    assert fault == RpcFault(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "", (), None, {})


@pytest.mark.parametrize("state", ["ready", "not ready", "cannot tell"])
def test_the_health_service_says_whether_the_service_is_ready(state: str) -> None:
    async def ready() -> bool:
        if state == "cannot tell":
            raise RuntimeError("the database is away")
        return state == "ready"

    async def told() -> int:
        alive = health.aio.HealthServicer()
        server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(alive, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await _Health(alive, ["", "service"], ready).tell()
        # Without TLS: it is the health service alone that answers here.
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as bare:
            stub = health_pb2_grpc.HealthStub(bare)
            answer = await stub.Check(health_pb2.HealthCheckRequest(service="service"))
        await server.stop(0)
        return int(answer.status)

    status = health_pb2.HealthCheckResponse
    assert asyncio.run(told()) == (status.SERVING if state == "ready" else status.NOT_SERVING)


def test_a_connection_is_made_anew_when_it_is_too_old(tmp_path: Path) -> None:
    with (
        running(tmp_path, LIPEI_CONNECTION_AGE_S="1") as process,
        everybody(process.address(), "pricing") as open_channel,
    ):
        stub = pricing_pb2_grpc.PricingServiceStub(open_channel)

        def connection() -> str:
            return stub.QuotePremium(ask("peer")).quote.name

        for _ in range(2):
            before = connection()
            process.until(lambda before=before: connection() != before)


@pytest.mark.parametrize(
    ("newest", "spoken"),
    [
        (ssl.TLSVersion.TLSv1_1, ""),
        (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
    ],
)
def test_nothing_older_than_tls_1_2_is_spoken(
    puppet: Process, newest: ssl.TLSVersion, spoken: str
) -> None:
    files = files_of("settlement")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.authority)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    context.set_ciphers("ALL:@SECLEVEL=0")  # ours would else refuse what the server is to refuse
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the very versions in question
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    host, _, port = puppet.address().rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port))) as plain,
            context.wrap_socket(plain, server_hostname="pricing.service.lipei.local") as secure,
        ):
            assert secure.version() == spoken
    except (ssl.SSLError, ConnectionError):
        assert not spoken
