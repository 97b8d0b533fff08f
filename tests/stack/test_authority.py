"""The authority of one machine: private keys, one name each, renewed and revoked."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.common.transport.certificates import FOLDER, load_material
from services.common.transport.names import ForeignName, desk_uri, service_uri
from services.common.transport.revocation import RevocationList
from stack.authority import Authority, mints
from stack.sandbox_issuer import SandboxIssuer
from tests.identities import DOMAIN, PROCESSES, files_of


def certificate(folder: Path, process: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{process}.pem").read_bytes())


def test_everything_it_writes_is_its_owners_alone(tmp_path: Path) -> None:
    Authority(tmp_path, DOMAIN).ensure(PROCESSES)
    SandboxIssuer(tmp_path)
    folder = tmp_path / FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    keys = [*folder.glob("*.key")]
    assert len(keys) == len(PROCESSES) + 2
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    public = json.loads((folder / "issuer.jwks.json").read_text())
    assert all("d" not in key for key in public["keys"])


def test_a_certificate_says_who_and_for_what(tmp_path: Path) -> None:
    Authority(tmp_path, DOMAIN).ensure(PROCESSES)
    names = certificate(tmp_path / FOLDER, "his_bridge").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.critical
    dns = names.value.get_values_for_type(x509.DNSName)
    assert dns == ["his-bridge.service.lipei.local"]
    uses = {
        process: set(
            certificate(tmp_path / FOLDER, process)
            .extensions.get_extension_for_class(x509.ExtendedKeyUsage)
            .value
        )
        for process in ("his_bridge", "integration", "desk-insurer")
    }
    client, server = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
    assert uses["his_bridge"] == {client, server}
    assert uses["integration"] == uses["desk-insurer"] == {client}


def test_a_second_start_mints_only_what_is_due(tmp_path: Path) -> None:
    authority = Authority(tmp_path, DOMAIN)
    assert authority.ensure(PROCESSES) == [*PROCESSES]
    again = Authority(tmp_path, DOMAIN)
    assert again.ensure(PROCESSES) == []
    renamed = {"claims": service_uri(DOMAIN, "pricing")}
    assert again.ensure(renamed) == ["claims"]
    again.issue("claims", renamed["claims"], tmp_path / FOLDER, timedelta(hours=1))
    assert again.renew() == ["claims"]
    assert again.renew() == []


def test_what_is_revoked_is_replaced_at_a_start_and_not_before(tmp_path: Path) -> None:
    authority = Authority(tmp_path, DOMAIN)
    authority.ensure(PROCESSES)
    serial = certificate(tmp_path / FOLDER, "claims").serial_number
    assert len(authority.revoke("claims")) == 1
    assert authority.revoke("claims") == []
    assert authority.revoke("nobody") == []
    assert [one.process for one, gone in authority.issued() if gone] == ["claims"]
    assert authority.renew() == []
    assert Authority(tmp_path, DOMAIN).ensure(PROCESSES) == ["claims"]
    assert certificate(tmp_path / FOLDER, "claims").serial_number != serial
    listed = x509.load_pem_x509_crl((tmp_path / FOLDER / "revoked.pem").read_bytes())
    assert listed.get_revoked_certificate_by_serial_number(serial) is not None
    files = files_of("claims", tmp_path)
    assert RevocationList(files.revocation, files.authority).faults() == []


def test_it_issues_for_another_machine_all_that_is_needed_there(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "state", DOMAIN)
    there = tmp_path / "there" / FOLDER
    uri = desk_uri(DOMAIN, "insurer", "insurer", label="clerk-7")
    authority.issue("clerk-7", uri, there)
    files = files_of("clerk-7", tmp_path / "there")
    assert load_material(files, "clerk-7", DOMAIN, uri=uri).name.label == "clerk-7"
    assert not (there / "ca.key").exists()
    assert [one.uri for one, _ in authority.issued()] == [uri]


@pytest.mark.parametrize("uri", ["", "claims", "spiffe://evil.example/service/claims"])
def test_a_name_of_no_part_of_ours_is_not_issued(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ForeignName):
        Authority(tmp_path, DOMAIN).issue("x", uri, tmp_path / "there")
    assert not (tmp_path / "there" / "x.pem").exists()


def test_where_certificates_are_the_operators_nothing_is_minted(tmp_path: Path) -> None:
    assert mints(tmp_path, {})
    assert not mints(tmp_path, {"LIPEI_TLS_CA_FILE": "/etc/tls/ca.pem"})
    Authority(tmp_path, DOMAIN)
    assert mints(tmp_path, {})
    (tmp_path / FOLDER / "ca.key").unlink()
    assert not mints(tmp_path, {})
