"""With the hospital's certificate the line is encrypted; strangers to an authority are refused."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.common.database import Database
from services.his_bridge.dialects.hl7v2.framing import framed
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings, TlsFiles
from services.his_bridge.receiving.handshakes import Handshake, reason_of
from services.his_bridge.receiving.mllp import Listener
from services.his_bridge.receiving.opening import CannotListen, ListenReason, tls_context
from tests.services.common.sealing.keys import now_us
from tests.services.his_bridge.messages_hl7 import dft, reading
from tests.services.his_bridge.receiving.listening import LONGEST_S, Running, client, listening


@pytest.fixture
def database(sqlite_database: str) -> Iterator[Database]:
    found = Database(sqlite_database)
    yield found
    found.close()


def mint(
    folder: Path, name: str, *, address: str = "127.0.0.1", ends_in: timedelta = timedelta(hours=1)
) -> TlsFiles:
    """A certificate that vouches for itself, for 127.0.0.1 and an hour unless told otherwise."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + ends_in)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    private.chmod(0o600)
    return TlsFiles(certificate=str(chain), key=str(private))


def trusting(server: TlsFiles, own: TlsFiles | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=server.certificate)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def test_a_sender_that_trusts_the_hospital_is_served_over_tls(
    database: Database, tmp_path: Path
) -> None:
    server = mint(tmp_path, "hospital")

    async def whole() -> None:
        async with listening(database, settings=MllpSettings(tls=server)) as running:
            async with client(running.port, trusting(server)) as sender:
                assert (await sender.ask(dft()))[1][1] == "AA"
            # The control: in plain, nothing is understood and nothing stored.
            async with client(running.port) as plain:
                await plain.send(dft(control_id="M2"))
                assert await plain.is_closed()
            assert running.stored() == 1

    asyncio.run(whole())


def test_each_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    good, other = mint(tmp_path, "hospital"), mint(tmp_path, "other")
    absent = str(tmp_path / "absent.pem")
    locked = tmp_path / "locked.key"
    key = serialization.load_pem_private_key(Path(good.key).read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a passphrase"),
        )
    )
    locked.chmod(0o600)
    certificate, private = good.certificate, good.key
    for files, reason, place in (
        (TlsFiles(certificate=absent, key=private), "CERTIFICATE_UNUSABLE", absent),
        (TlsFiles(certificate=private, key=private), "CERTIFICATE_UNUSABLE", private),
        (TlsFiles(certificate=certificate, key=absent), "KEY_UNUSABLE", absent),
        (TlsFiles(certificate=certificate, key=other.key), "KEY_UNUSABLE", other.key),
        (TlsFiles(certificate=certificate, key=str(locked)), "KEY_UNUSABLE", str(locked)),
        (
            TlsFiles(certificate=certificate, key=private, authority=absent),
            "AUTHORITY_UNUSABLE",
            absent,
        ),
    ):
        with pytest.raises(CannotListen) as refused:
            tls_context(files)
        assert (refused.value.reason, refused.value.place) == (reason, place)
    # The control.
    tls_context(TlsFiles(certificate=certificate, key=private, authority=other.certificate))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o644])
def test_a_key_that_others_may_read_is_refused_and_named(tmp_path: Path, mode: int) -> None:
    files = mint(tmp_path, "hospital")
    tls_context(files)  # the control
    Path(files.key).chmod(mode)
    with pytest.raises(CannotListen, match="chmod 600") as refused:
        tls_context(files)
    assert refused.value.reason is ListenReason.KEY_OPEN_TO_OTHERS
    assert refused.value.place == files.key


def test_a_port_that_cannot_be_opened_is_named_and_tried_again(tmp_path: Path) -> None:
    files = TlsFiles(certificate=str(tmp_path / "late.pem"), key=str(tmp_path / "late.key"))

    async def closed_for(listener: Listener, reason: ListenReason) -> str:
        async with asyncio.timeout(LONGEST_S):
            while listener.closed is None or listener.closed.reason is not reason:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        return listener.closed.place

    async def whole() -> None:
        with socket.create_server(("127.0.0.1", 0)) as another:
            port = another.getsockname()[1]
            settings = MllpSettings(port=port, tls=files)
            listener = Listener(settings, reading, {}, now_us, reopen_s=0.01)
            running = asyncio.ensure_future(listener.run())
            missing = await closed_for(listener, ListenReason.CERTIFICATE_UNUSABLE)
            assert missing == files.certificate
            mint(tmp_path, "late")
            taken = await closed_for(listener, ListenReason.ADDRESS_UNUSABLE)
            assert taken == f"127.0.0.1:{port}"
        async with asyncio.timeout(LONGEST_S):
            await listener.listens.wait()
        assert listener.closed is None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(whole())


GONE = "gone"


async def told(running: Running, reason: str) -> None:
    """Wait until the listener has counted a refusal for this reason."""
    async with asyncio.timeout(LONGEST_S):
        while not running.listener.counts[reason]:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


def knock(port: int, context: ssl.SSLContext | str | None) -> None:
    """Connect as an engine that is set up wrongly does, and be closed; GONE goes by itself."""
    # Not asyncio's client: it does not say that it trusts nobody, and engines do.
    line = socket.create_connection(("127.0.0.1", port), timeout=LONGEST_S)
    if isinstance(context, str):
        line.close()
        return
    with suppress(OSError):  # closed already, within the handshake
        if context is not None:
            line = context.wrap_socket(line, server_hostname="127.0.0.1")
        line.sendall(framed(dft().encode()))
        assert line.recv(1) == b""
    line.close()


def refusals(logs: Sequence[Mapping[str, object]]) -> list[tuple[object, object, object]]:
    kept = [one for one in logs if one["event"] == "not_taken"]
    return [(one["reason"], one["peer"], one["count"]) for one in kept]


def test_who_finds_no_common_language_leaves_a_line_with_the_address(
    database: Database, tmp_path: Path
) -> None:
    """An operator asks why nothing comes: the log must say it, of each way to be set up wrongly."""
    server, engine, other = (mint(tmp_path, name) for name in ("hospital", "engine", "other"))
    demanding = TlsFiles(
        certificate=server.certificate, key=server.key, authority=engine.certificate
    )
    ways: list[tuple[TlsFiles | None, ssl.SSLContext | str | None, Handshake | str]] = [
        (server, None, Handshake.PLAIN_AT_TLS_PORT),
        (None, trusting(server), "TLS_AT_PLAIN_PORT"),
        (server, trusting(other), Handshake.OUR_CERTIFICATE_REFUSED),
        (demanding, trusting(server), Handshake.SENDER_WITHOUT_CERTIFICATE),
        (demanding, trusting(server, other), Handshake.SENDER_CERTIFICATE_REFUSED),
        (server, GONE, Handshake.TLS_BROKEN_OFF),
    ]

    async def whole(
        tls: TlsFiles | None, context: ssl.SSLContext | str | None, reason: str
    ) -> None:
        async with listening(database, settings=MllpSettings(tls=tls)) as running:
            await asyncio.to_thread(knock, running.port, context)
            await told(running, reason)
            assert running.stored() == 0

    async def rightly() -> None:
        async with listening(database, settings=MllpSettings(tls=demanding)) as running:
            async with client(running.port, trusting(server, engine)) as sender:
                assert (await sender.ask(dft()))[1][1] == "AA"
            assert running.stored() == 1

    for tls, context, reason in ways:
        with structlog.testing.capture_logs() as logs:
            asyncio.run(whole(tls, context, str(reason)))
        assert refusals(logs) == [(str(reason), "127.0.0.1", 1)]
    asyncio.run(rightly())  # the control


def test_nobody_shakes_hands_who_may_not_connect_or_is_one_too_many(
    database: Database, tmp_path: Path
) -> None:
    server = mint(tmp_path, "hospital")

    async def says_nothing(running: Running, *, is_closed: bool) -> asyncio.StreamWriter:
        """Connect and send no byte: whoever awaits a handshake would wait for one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        if is_closed:
            async with asyncio.timeout(LONGEST_S):
                assert await reader.read() == b""
        return writer

    async def stranger() -> None:
        settings = MllpSettings(tls=server, allow_from=("10.0.0.0/8",))
        async with listening(database, settings=settings) as running:
            (await says_nothing(running, is_closed=True)).close()
            assert running.listener.counts == {"SENDER_NOT_ALLOWED": 1}

    async def too_many() -> None:
        settings = MllpSettings(tls=server, max_connections=1)
        async with listening(database, settings=settings) as running:
            first = await says_nothing(running, is_closed=False)
            (await says_nothing(running, is_closed=True)).close()
            assert running.listener.counts == {"TOO_MANY_CONNECTIONS": 1}
            first.close()
            await told(running, Handshake.TLS_BROKEN_OFF)
            # The control: the place is free again.
            async with client(running.port, trusting(server)) as sender:
                assert (await sender.ask(dft()))[1][1] == "AA"

    for whole, reason in ((stranger, "SENDER_NOT_ALLOWED"), (too_many, "TOO_MANY_CONNECTIONS")):
        with structlog.testing.capture_logs() as logs:
            asyncio.run(whole())
        assert refusals(logs)[0] == (reason, "127.0.0.1", 1)


def test_an_engine_that_tries_again_and_again_is_told_seldom(
    database: Database, tmp_path: Path
) -> None:
    async def whole() -> None:
        server = mint(tmp_path, "hospital")
        settings = MllpSettings(tls=server)
        async with listening(database, settings=settings) as running:
            for _ in range(5):
                await asyncio.to_thread(knock, running.port, None)
            async with asyncio.timeout(LONGEST_S):
                while running.listener.counts["PLAIN_AT_TLS_PORT"] < 5:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)
            # The control: whoever is set up rightly is served beside it, and is in no line.
            async with client(running.port, trusting(server)) as sender:
                assert (await sender.ask(dft()))[1][1] == "AA"

    with structlog.testing.capture_logs() as logs:
        asyncio.run(whole())
    assert refusals(logs) == [("PLAIN_AT_TLS_PORT", "127.0.0.1", 1)]


def test_a_tls_port_that_is_closed_is_free_and_cuts_off_who_shakes_hands(
    database: Database, tmp_path: Path
) -> None:
    async def whole() -> None:
        server = mint(tmp_path, "hospital")
        settings = MllpSettings(tls=server)
        async with listening(database, settings=settings) as running:
            port = running.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            async with client(port, trusting(server)) as sender:
                assert (await sender.ask(dft()))[1][1] == "AA"
        async with asyncio.timeout(LONGEST_S):
            assert await reader.read() == b""
        writer.close()
        socket.create_server(("127.0.0.1", port)).close()

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("WRONG_VERSION_NUMBER", Handshake.PLAIN_AT_TLS_PORT),
        ("RECORD_LAYER_FAILURE", Handshake.PLAIN_AT_TLS_PORT),
        ("TLSV1_ALERT_UNKNOWN_CA", Handshake.OUR_CERTIFICATE_REFUSED),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", Handshake.OUR_CERTIFICATE_REFUSED),
        ("TLSV1_ALERT_PROTOCOL_VERSION", Handshake.TLS_NOT_AGREED),
        ("UNSUPPORTED_PROTOCOL", Handshake.TLS_NOT_AGREED),
        (None, Handshake.TLS_NOT_AGREED),
    ],
)
def test_openssl_names_each_fault(fault: str | None, reason: Handshake) -> None:
    error = ssl.SSLError(1, "whatever it says")
    error.reason = fault  # type: ignore[assignment] # it may have none
    assert reason_of(error) is reason
    assert reason_of(ConnectionResetError()) is Handshake.TLS_BROKEN_OFF
