"""Who is let in over real mutual TLS, who is not, and for which reason."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from services.common.access.tokens import INSTALLATION
from services.common.transport.certificates import FOLDER, Identity, TlsFiles
from services.common.transport.channels import sync_channel
from services.common.transport.names import desk_uri, integration_uri, service_uri
from stack.authority import Authority
from tests.identities import DOMAIN, HOSPITAL, minted
from tests.services.common.access.listening import (
    Mirror,
    World,
    ask,
    mirror,
    refusal,
    with_token,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


@pytest.fixture
def claims(world: World) -> Iterator[Mirror]:
    with mirror(world.identity("claims"), world.identification()) as found:
        yield found


def test_a_service_and_a_hospitals_machine_are_known_by_their_certificates(
    world: World, claims: Mirror
) -> None:
    settlement = claims.who(world.identity("settlement"))
    assert settlement["uri"] == service_uri(DOMAIN, "settlement")
    assert settlement["roles"] == ["ROLE_SERVICE"]
    assert settlement["hospital"] is None
    machine = claims.who(world.identity("integration"))
    assert machine["roles"] == ["ROLE_HOSPITAL_INTEGRATION"]
    assert (machine["hospital"], machine["purpose"]) == (HOSPITAL, "")
    assert machine["subject"] == machine["uri"] == integration_uri(DOMAIN, HOSPITAL)


def test_a_person_is_known_by_the_token_and_says_why(world: World, claims: Mirror) -> None:
    person = claims.who(world.desk("adjuster"))
    assert person["uri"] == desk_uri(DOMAIN, "insurer", "insurer", label="tests")
    assert (person["roles"], person["subject"]) == (["ROLE_ADJUSTER"], "tester")
    assert (person["insurer"], person["purpose"]) == ("insurer", "")
    asked = claims.who(replace(world.desk("adjuster"), purpose="complaint"))
    assert asked["purpose"] == "complaint"
    member = "k1." + "a" * 64
    own = claims.who(
        world.desk(
            "member",
            "desk-member",
            tenant="member",
            tenant_name=member,
            certificate_sha256=world.identity("desk-member").material.sha256,
        )
    )
    assert (own["member"], own["insurer"]) == (member, None)


# ------------------------------------------------------------------------------------ certificates


def test_without_a_certificate_there_is_no_connection(world: World, claims: Mirror) -> None:
    authorities = world.files.authority.read_bytes()
    options = [("grpc.ssl_target_name_override", "claims.service.lipei.local")]
    bare = grpc.ssl_channel_credentials(authorities)
    with grpc.secure_channel(claims.address, bare, options=options) as channel:
        assert refusal(channel).code is grpc.StatusCode.UNAVAILABLE
    with grpc.insecure_channel(claims.address) as plain:  # house: the control
        assert refusal(plain).code is grpc.StatusCode.UNAVAILABLE
    assert claims.who(world.identity("settlement"))


def test_another_authority_is_not_believed(world: World, claims: Mirror, tmp_path: Path) -> None:
    stranger = World(tmp_path / "other").identity("settlement")
    # It believes our server: only its own certificate is at fault.
    ours = replace(stranger.material, authorities=world.files.authority.read_bytes())
    assert claims.fault(replace(stranger, material=ours)).code is grpc.StatusCode.UNAVAILABLE
    own = replace(stranger.material, authorities=stranger.material.chain + ours.authorities)
    assert claims.fault(replace(stranger, material=own)).code is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_that_is_its_own_authority_is_not_believed(
    world: World, claims: Mirror, tmp_path: Path
) -> None:
    folder = tmp_path / "self" / FOLDER
    Authority(tmp_path / "self", DOMAIN)
    identity = world.identity("settlement")
    signed_itself = replace(
        identity.material,
        chain=(folder / "ca.pem").read_bytes(),
        key=(folder / "ca.key").read_bytes(),
    )
    fault = claims.fault(replace(identity, material=signed_itself))
    assert fault.code is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_of_another_trust_domain_is_foreign(world: World, claims: Mirror) -> None:
    # Signed by an authority that we trust, for somebody who is none of ours.
    foreign = Authority(world.state, "elsewhere.example")
    foreign.issue("foreign", service_uri("elsewhere.example", "settlement"), world.state / FOLDER)
    files = TlsFiles(
        certificate=world.state / FOLDER / "foreign.pem",
        key=world.state / FOLDER / "foreign.key",
        authority=world.files.authority,
        revocation=world.files.revocation,
    )
    ours = world.identity("settlement")
    material = replace(
        ours.material, chain=files.certificate.read_bytes(), key=files.key.read_bytes()
    )
    fault = claims.fault(replace(ours, material=material))
    assert (fault.code, fault.reason) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "CERTIFICATE_FOREIGN",
    )


def test_an_expired_certificate_gets_no_connection(world: World, claims: Mirror) -> None:
    uri = service_uri(DOMAIN, "settlement")
    world.authority.issue("expired", uri, world.state / FOLDER, timedelta(seconds=-1))
    ours = world.identity("settlement")
    files = [world.state / FOLDER / f"expired.{kind}" for kind in ("pem", "key")]
    chain, key = (file.read_bytes() for file in files)
    expired = replace(ours, material=replace(ours.material, chain=chain, key=key))
    assert claims.fault(expired).code is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_that_expires_on_an_open_channel_is_refused_from_then_on(
    world: World, claims: Mirror
) -> None:
    began = time.time()
    stands_still = world.identification(now_s=lambda: began)
    with mirror(world.identity("claims"), stands_still) as careless, ExitStack() as held:
        for lasts_s in (5, 15, 45):  # a busy machine may not connect within the first
            short = minted(
                world.state, service_uri(DOMAIN, "settlement"), timedelta(seconds=lasts_s)
            )
            channel, control = (
                held.enter_context(sync_channel(address, short, "claims"))
                for address in (claims.address, careless.address)
            )
            with suppress(grpc.RpcError):
                assert ask(channel) == ask(control)
                break
        else:
            pytest.fail("nobody is let in")
        while time.time() < short.material.not_after.timestamp():
            time.sleep(0.05)
        fault = refusal(channel)
        assert (fault.code, fault.reason) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "CERTIFICATE_EXPIRED",
        )
        # The control: gRPC goes on with the connection, and so does who does not look at the clock.
        assert ask(control)["roles"] == ["ROLE_SERVICE"]


def test_a_certificate_that_is_revoked_on_an_open_channel_is_refused_from_then_on(
    world: World, claims: Mirror
) -> None:
    with (
        sync_channel(claims.address, world.identity("integration"), "claims") as channel,
        sync_channel(claims.address, world.identity("settlement"), "claims") as other,
    ):
        assert ask(channel)
        revoked = world.authority.revoke("integration")
        assert [one.process for one in revoked] == ["integration"]
        fault = refusal(channel)
        assert (fault.code, fault.reason) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "CERTIFICATE_REVOKED",
        )
        assert ask(other)
    assert claims.fault(world.identity("integration")).reason == "CERTIFICATE_REVOKED"


def test_without_a_current_list_of_revoked_ones_nobody_is_let_in(
    world: World, claims: Mirror
) -> None:
    with sync_channel(claims.address, world.identity("settlement"), "claims") as channel:
        assert ask(channel)
        kept = world.files.revocation.read_bytes()
        world.files.revocation.unlink()
        assert refusal(channel).reason == "REVOCATION_LIST_STALE"
        world.files.revocation.write_bytes(kept[:-60])
        assert refusal(channel).reason == "REVOCATION_LIST_STALE"
        world.files.revocation.write_bytes(kept)
        assert ask(channel)


def test_a_list_past_its_next_update_counts_as_none(world: World) -> None:
    later = time.time() + 8 * 86_400
    long_lived = minted(world.state, service_uri(DOMAIN, "settlement"), timedelta(days=30), "long")
    identification = world.identification(now_s=lambda: later)
    with mirror(world.identity("claims"), identification) as claims:
        assert claims.fault(long_lived).reason == "REVOCATION_LIST_STALE"


def test_another_service_cannot_stand_in_for_the_one_that_is_called(world: World) -> None:
    with mirror(world.identity("his_bridge"), world.identification()) as bridge:
        fault = bridge.fault(world.identity("settlement"), "claims")
        assert fault.code is grpc.StatusCode.UNAVAILABLE
        assert bridge.who(world.identity("settlement"), "his_bridge")


def test_a_server_of_another_authority_is_not_spoken_to(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    with mirror(other.identity("claims"), other.identification()) as impostor:
        assert impostor.fault(world.desk()).code is grpc.StatusCode.UNAVAILABLE
        assert impostor.who(other.desk())


# ------------------------------------------------------------------------------------------ tokens


def test_a_desk_without_a_token_is_refused(world: World, claims: Mirror) -> None:
    fault = claims.fault(world.identity("desk-insurer"))
    assert (fault.code, fault.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


def test_a_token_of_another_certificate_is_of_no_use(world: World, claims: Mirror) -> None:
    stolen = world.desk().bearer
    assert stolen is not None
    thief = minted(
        world.state, desk_uri(DOMAIN, "insurer", "insurer", label="thief"), timedelta(hours=1)
    )
    assert claims.fault(with_token(thief, stolen(""))).reason == "TOKEN_NOT_BOUND"


def test_the_tenant_of_the_token_must_be_that_of_the_certificate(
    world: World, claims: Mirror
) -> None:
    assert claims.fault(world.desk(tenant_name="rival")).reason == "TOKEN_INVALID"
    as_hospital = world.desk("hospital_records", tenant="hospital", tenant_name=HOSPITAL)
    assert claims.fault(as_hospital).reason == "TOKEN_INVALID"
    as_member = world.desk("member", tenant="member", tenant_name="k1." + "a" * 64)
    assert claims.fault(as_member).reason == "TOKEN_INVALID"


@pytest.mark.parametrize(("office", "other"), [("operator", "auditor"), ("auditor", "operator")])
def test_a_desk_of_the_installation_takes_its_own_people_in_its_one_role(
    world: World, claims: Mirror, office: str, other: str
) -> None:
    def at(desk: str, roles: list[str], tenant: str = INSTALLATION, name: str = "") -> Identity:
        return world.desk("", f"desk-{desk}", roles=roles, tenant=tenant, tenant_name=name)

    person = claims.who(at(office, [office]))
    assert person["uri"] == desk_uri(DOMAIN, office, label="tests")
    assert person["roles"] == [f"ROLE_{office.upper()}"]
    tenants = ("insurer", "hospital", "member", "partner")
    assert [person[tenant] for tenant in tenants] == [None] * 4
    for refused in (
        at(office, [other]),
        at(office, [office, other]),  # nobody audits what they operate
        at(office, ["adjuster"]),
        at(office, [office], "insurer", "insurer"),  # a tenant's person
        at(office, [office], "hospital", HOSPITAL),
        # A token from which its issuer left the tenant out, at the desk of one.
        at("insurer", [office]),
        at("hospital", [office]),
        at("member", [office]),
    ):
        assert claims.fault(refused).reason == "TOKEN_INVALID"
    assert claims.who(at("insurer", [office], "insurer", "insurer"))["insurer"] == "insurer"


@pytest.mark.parametrize(
    "role", ["service", "hospital_integration", "member", "king", "unspecified"]
)
def test_a_role_that_the_tenant_cannot_have_is_refused(
    world: World, claims: Mirror, role: str
) -> None:
    assert claims.fault(world.desk(role)).reason == "TOKEN_INVALID"


def test_a_machine_with_a_persons_token_is_refused(world: World, claims: Mirror) -> None:
    machine = world.identity("integration")
    token = world.desk(certificate_sha256=machine.material.sha256).bearer
    assert token is not None
    assert claims.fault(with_token(machine, token(""))).reason == "TOKEN_INVALID"
    assert claims.who(machine)


@pytest.mark.parametrize("said", ["", "Basic abc", "Bearer ", "Bearer a.b", "Bearer x y z"])
def test_a_token_that_is_present_and_bad_is_never_ignored(
    world: World, claims: Mirror, said: str
) -> None:
    for process in ("desk-insurer", "settlement"):
        with sync_channel(claims.address, world.identity(process), "claims") as channel:
            assert refusal(channel, (("authorization", said),)).reason == "TOKEN_INVALID"


def test_two_tokens_are_none(world: World, claims: Mirror) -> None:
    token = world.desk().bearer
    assert token is not None
    twice = (("authorization", f"Bearer {token('')}"),) * 2
    with sync_channel(claims.address, world.identity("desk-insurer"), "claims") as channel:
        assert refusal(channel, twice).reason == "TOKEN_INVALID"
        assert ask(channel, twice[:1])["subject"] == "tester"


def test_a_token_that_is_used_again_and_again_is_good_until_it_expires(world: World) -> None:
    now = time.time()
    clock = [now]
    desk = world.desk()
    with (
        mirror(world.identity("claims"), world.identification(now_s=lambda: clock[0])) as claims,
        sync_channel(claims.address, desk, "claims") as channel,
    ):
        assert ask(channel) == ask(channel)
        clock[0] = now + 700
        assert refusal(channel).reason == "TOKEN_EXPIRED"
