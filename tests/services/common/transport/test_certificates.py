"""A process's own TLS material: every fault is said at once, and nothing of a key is."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from services.common.log import configure
from services.common.transport.certificates import (
    FOLDER,
    TlsFiles,
    TlsRefused,
    load_identity,
    load_material,
    read_peer,
    tls_files,
)
from services.common.transport.names import service_uri
from stack.authority import Authority
from tests.identities import DOMAIN, equip, files_of, identity_of, minted
from tests.services.common.access.listening import World, mirror


def faults(files: TlsFiles, uri: str | None = None) -> str:
    with pytest.raises(TlsRefused) as refused:
        load_material(files, "claims", DOMAIN, uri=uri)
    text = str(refused.value)
    assert "PRIVATE KEY" not in text
    assert all(line.startswith("TLS of claims: ") for line in text.splitlines())
    return text


def test_what_is_in_order_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = equip(tmp_path)
    for name in ("CERT", "KEY", "CA", "REVOCATION"):
        monkeypatch.delenv(f"LIPEI_TLS_{name}_FILE", raising=False)
    identity = load_identity(state, "claims", uri=service_uri(DOMAIN, "claims"))
    assert identity.material.name.label == "claims"
    assert identity.material.key not in repr(identity).encode()


def test_files_stand_in_the_state_unless_named() -> None:
    state = Path("/state")
    assert tls_files(state, "claims", {}) == TlsFiles(
        certificate=state / "tls" / "claims.pem",
        key=state / "tls" / "claims.key",
        authority=state / "tls" / "ca.pem",
        revocation=state / "tls" / "revoked.pem",
    )
    named = {
        "LIPEI_TLS_CERT_FILE": "/etc/tls/{name}/chain.pem",
        "LIPEI_TLS_KEY_FILE": "/etc/tls/{name}/key.pem",
        "LIPEI_TLS_CA_FILE": "/etc/tls/ca.pem",
        "LIPEI_TLS_REVOCATION_FILE": "/etc/tls/crl.pem",
    }
    assert tls_files(state, "hospital-h", named) == TlsFiles(
        certificate=Path("/etc/tls/hospital-h/chain.pem"),
        key=Path("/etc/tls/hospital-h/key.pem"),
        authority=Path("/etc/tls/ca.pem"),
        revocation=Path("/etc/tls/crl.pem"),
    )


def test_everything_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    text = faults(files_of("claims", tmp_path))
    assert len(text.splitlines()) == 3
    for name in ("claims.pem", "claims.key", "ca.pem"):
        assert f"{name} is missing" in text


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    files = files_of("claims", equip(tmp_path))
    for mode in (0o640, 0o604, 0o620):
        files.key.chmod(mode)
        assert "may be read by others than its owner" in faults(files)
    files.key.chmod(0o400)
    assert load_material(files, "claims", DOMAIN).name.label == "claims"


def test_a_key_of_another_and_a_name_of_another_are_both_said(tmp_path: Path) -> None:
    files = files_of("claims", equip(tmp_path))
    shutil.copy2(files_of("pricing", tmp_path).key, files.key)
    text = faults(files, uri=service_uri(DOMAIN, "his_bridge"))
    assert "is not that of" in text
    assert "/service/claims, and this process is" in text


def test_an_expired_certificate_is_refused_at_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path, DOMAIN)
    uri = service_uri(DOMAIN, "claims")
    authority.issue("claims", uri, tmp_path / FOLDER, timedelta(seconds=-1))
    assert "expired at" in faults(files_of("claims", tmp_path))


def test_a_certificate_of_another_authority_or_domain_is_refused(tmp_path: Path) -> None:
    files = files_of("claims", equip(tmp_path))
    Authority(tmp_path / "other", DOMAIN)
    shutil.copy2(tmp_path / "other" / FOLDER / "ca.pem", files.authority)
    assert "is not signed by an authority in" in faults(files)
    with pytest.raises(TlsRefused, match=r"does not name a part of elsewhere\.example"):
        load_material(files, "claims", "elsewhere.example")


@pytest.mark.parametrize("name", ["claims.pem", "claims.key", "ca.pem"])
def test_what_is_not_pem_is_refused(tmp_path: Path, name: str) -> None:
    files = files_of("claims", equip(tmp_path))
    (tmp_path / FOLDER / name).write_text("-----BEGIN NONSENSE-----\n")
    assert name in faults(files)


def test_what_a_peer_presents_is_read_once_and_never_raises() -> None:
    pem = identity_of("claims").material.chain
    assert read_peer(pem, DOMAIN) is read_peer(pem, DOMAIN)
    foreign = read_peer(pem, "elsewhere.example")
    assert foreign is not None
    assert foreign.name is None
    assert (
        read_peer(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", DOMAIN) is None
    )


def test_a_server_serves_on_with_a_renewed_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("tests")
    world = World(tmp_path)
    uri = service_uri(DOMAIN, "claims")
    caller = world.identity("settlement")
    with ExitStack() as held:
        for lasts_s in (5, 15, 45):  # a busy machine may not connect within the first
            short = minted(world.state, uri, timedelta(seconds=lasts_s), "claims")
            file = short.files.certificate
            kept = file.read_bytes()
            claims = held.enter_context(mirror(short, world.identification()))
            with suppress(grpc.RpcError):
                assert claims.who(caller)
                file.write_text("half a file")
                assert claims.who(caller)  # the last good one goes on
                break
        else:
            pytest.fail("nobody is served")
        assert "certificate_not_renewed" in capsys.readouterr().err
        file.write_bytes(kept)
        # TLS asks for the time in seconds, which lag behind by a tick of the kernel's.
        while time.time() < short.material.not_after.timestamp() + 0.1:
            time.sleep(0.05)
        assert claims.fault(caller).reason == "UNAVAILABLE"
        world.authority.ensure({"claims": uri})
        assert claims.who(caller)
        assert "certificate_renewed" in capsys.readouterr().err
