"""Names in certificates: one spelling each, and nothing that merely looks like one."""

from __future__ import annotations

import pytest

from lipei.type.v1 import access_pb2
from services.common.transport.names import (
    OFFICES,
    SERVICES,
    ForeignName,
    Kind,
    desk_uri,
    integration_uri,
    parse_name,
    server_name,
    service_uri,
    witness_uri,
)

DOMAIN = "lipei.local"


def test_what_is_formed_reads_as_what_it_is() -> None:
    for service in SERVICES:
        name = parse_name(service_uri(DOMAIN, service), DOMAIN)
        assert (name.kind, name.label, name.hospital) == (Kind.SERVICE, service, None)
        settles = service == "settlement"
        assert name.roles == ({access_pb2.ROLE_SERVICE} if settles else frozenset())
    machine = parse_name(integration_uri(DOMAIN, "h-1"), DOMAIN)
    assert (machine.kind, machine.hospital) == (Kind.INTEGRATION, "h-1")
    assert machine.roles == {access_pb2.ROLE_HOSPITAL_INTEGRATION}
    witness = parse_name(witness_uri(DOMAIN, "w"), DOMAIN)
    assert witness.kind is Kind.WITNESS
    assert witness.roles == {access_pb2.ROLE_WITNESS}


def test_a_desk_has_an_owner_and_no_role() -> None:
    desks = {
        field: parse_name(desk_uri(DOMAIN, field, "x", label="d"), DOMAIN)
        for field in ("insurer", "hospital", "partner")
    }
    for field, desk in desks.items():
        assert (desk.kind, desk.roles, desk.label) == (Kind.DESK, frozenset(), "d")
        owners = {name: getattr(desk, name) for name in desks}
        assert owners == {name: "x" if name == field else None for name in desks}
    member = parse_name(desk_uri(DOMAIN, "member", label="phone-1"), DOMAIN)
    assert (member.is_member, member.insurer, member.roles) == (True, None, frozenset())
    assert {one.office for one in (*desks.values(), member)} == {None}


@pytest.mark.parametrize("office", OFFICES)
def test_a_desk_of_the_installation_is_in_no_tenant_and_gives_no_role(office: str) -> None:
    desk = parse_name(desk_uri(DOMAIN, office, label="d-1"), DOMAIN)
    assert (desk.kind, desk.office, desk.label, desk.roles) == (
        *(Kind.DESK, office, "d-1"),
        frozenset(),
    )
    assert (desk.insurer, desk.hospital, desk.partner, desk.is_member) == (None, None, None, False)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "claims",
        "https://lipei.local/service/claims",
        "SPIFFE://lipei.local/service/claims",
        "spiffe://LIPEI.LOCAL/service/claims",
        "spiffe://lipei.local:443/service/claims",
        "spiffe://user@lipei.local/service/claims",
        "spiffe://lipei.local.evil.example/service/claims",
        "spiffe://evil.example/service/claims",
        "spiffe://evil.example/lipei.local/service/claims",
        "spiffe://lipei.local",
        "spiffe://lipei.local/",
        "spiffe://lipei.local/service",
        "spiffe://lipei.local/service/",
        "spiffe://lipei.local//service/claims",
        "spiffe://lipei.local/service/claims/",
        "spiffe://lipei.local/service/claims/x",
        "spiffe://lipei.local/service/Claims",
        "spiffe://lipei.local/service/claims ",
        "spiffe://lipei.local/service/claims\n",
        "spiffe://lipei.local/service/claims?x=1",
        "spiffe://lipei.local/service/claims#x",
        "spiffe://lipei.local/service/bank",
        "spiffe://lipei.local/service/%63laims",
        "spiffe://lipei.local/x/../service/claims",
        "spiffe://lipei.local/hospital/h",
        "spiffe://lipei.local/hospital//integration",
        "spiffe://lipei.local/hospital/../integration",
        "spiffe://lipei.local/hospital/h/desk",
        "spiffe://lipei.local/hospital/h/integration/desk/1",
        "spiffe://lipei.local/insurer/i/integration",
        "spiffe://lipei.local/member/m/desk/1",
        "spiffe://lipei.local/operator/desk",
        "spiffe://lipei.local/operator/desk/",
        "spiffe://lipei.local/operator/o/desk/1",
        "spiffe://lipei.local/auditor/desk/1/2",
        "spiffe://lipei.local/adjuster/desk/1",
        "spiffe://lipei.local/desk/1",
        "spiffe://lipei.local/witness/é",
        "spiffe://lipei.local/witness/" + "w" * 64,
    ],
)
def test_anything_else_is_foreign(uri: str) -> None:
    with pytest.raises(ForeignName) as refused:
        parse_name(uri, DOMAIN)
    assert not uri or uri not in str(refused.value)


def test_every_service_demands_a_dns_name_of_its_own() -> None:
    names = {server_name(DOMAIN, service) for service in SERVICES}
    assert len(names) == len(SERVICES)
    assert not any("_" in name for name in names)
