"""With the hospital's certificate the line is encrypted; strangers to an authority are refused."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.common.database import Database
from services.his_bridge.profiles.source_kinds.mllp import MllpSettings, TlsFiles
from services.his_bridge.receiving.mllp import Listener
from services.his_bridge.receiving.opening import CannotListen, ListenReason, tls_context
from tests.services.common.sealing.keys import now_us
from tests.services.his_bridge.messages_hl7 import dft, reading
from tests.services.his_bridge.receiving.listening import LONGEST_S, client, listening


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


def test_a_sender_without_a_certificate_of_the_authority_is_refused(
    database: Database, tmp_path: Path
) -> None:
    server, engine, other = (mint(tmp_path, name) for name in ("hospital", "engine", "other"))
    demanding = TlsFiles(
        certificate=server.certificate, key=server.key, authority=engine.certificate
    )

    async def ask(port: int, own: TlsFiles | None, control_id: str) -> str:
        try:
            async with client(port, trusting(server, own)) as sender:
                return (await sender.ask(dft(control_id=control_id)))[1][1]
        except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
            return "refused"

    async def whole() -> None:
        async with listening(database, settings=MllpSettings(tls=demanding)) as running:
            assert await ask(running.port, engine, "M1") == "AA"
            assert await ask(running.port, None, "M2") == "refused"
            assert await ask(running.port, other, "M3") == "refused"
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
