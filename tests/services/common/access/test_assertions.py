"""A client assertion counts once: one after the other, at the same moment, on both databases."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import MetaData, func, select

from services.common.access import assertions
from services.common.access.assertions import UsedAssertions
from services.common.access.tokens import Assertion
from services.common.database import Database
from services.common.refusals import Refused
from services.common.transport.channels import sync_channel
from tests.services.common.access.listening import (
    Mirror,
    World,
    ask,
    mirror,
    refusal,
    used_in,
    with_assertion,
)

AT_ONCE = 8
KEY = ECKey.generate_key("P-256", {"kid": "k"})


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path / "state")
    uri = found.identity("integration").material.name.uri
    keys = {uri: {"keys": [KEY.as_dict(private=False)]}}
    found.client_keys.write_text(json.dumps(keys))
    return found


@pytest.fixture
def used(database_url: str) -> Iterator[tuple[Database, UsedAssertions]]:
    database, found = used_in(database_url)
    yield database, found
    database.close()


@pytest.fixture
def claims(world: World, used: tuple[Database, UsedAssertions]) -> Iterator[Mirror]:
    with mirror(world.identity("claims"), world.identification(used[1])) as found:
        yield found


def assertion_of(uri: str, jti: str = "") -> str:
    now = int(time.time())
    said = {
        "iss": uri,
        "sub": uri,
        "aud": "lipei/claims",
        "jti": jti or uuid.uuid4().hex,
        "iat": now,
        "exp": now + 120,
    }
    header = {"alg": "ES256", "kid": "k", "typ": "client-authentication+jwt"}
    return jwt.encode(header, said, KEY, algorithms=["ES256"])


def test_an_assertion_is_good_once(world: World, claims: Mirror) -> None:
    machine = world.identity("integration")
    once = with_assertion(machine, assertion_of(machine.material.name.uri))
    with sync_channel(claims.address, once, "claims") as channel:
        assert ask(channel)["roles"] == ["ROLE_HOSPITAL_INTEGRATION"]
        assert refusal(channel).reason == "ASSERTION_USED"
    again = with_assertion(machine, assertion_of(machine.material.name.uri))
    assert claims.who(again)


def test_a_stream_goes_on_with_the_assertion_that_opened_it(
    world: World, used: tuple[Database, UsedAssertions]
) -> None:
    identity = world.identity("integration")
    said = assertion_of(identity.material.name.uri)

    class Told:
        def auth_context(self) -> dict[str, list[bytes]]:
            return {"x509_pem_cert": [identity.files.certificate.read_bytes()]}

        def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
            return (("lipei-client-assertion", said),)

    context: Any = Told()

    async def call() -> None:
        identification = world.identification(used[1])
        opened = await identification.of(context)
        assert await identification.again(context) == opened
        with pytest.raises(Refused) as control:
            await identification.of(context)
        assert control.value.reason == "ASSERTION_USED"
        world.authority.revoke("integration")
        with pytest.raises(Refused) as revoked:
            await identification.again(context)
        assert revoked.value.reason == "CERTIFICATE_REVOKED"

    asyncio.run(call())


def test_of_many_uses_at_the_same_moment_one_counts(world: World, claims: Mirror) -> None:
    machine = world.identity("integration")
    for _ in range(3):
        same = with_assertion(machine, assertion_of(machine.material.name.uri))
        start = Barrier(AT_ONCE)

        def one(identity=same, start=start) -> str:  # type: ignore[no-untyped-def]  # defaults bind this round's
            with sync_channel(claims.address, identity, "claims") as channel:
                start.wait(60)
                try:
                    return refusal(channel).reason
                except AssertionError:
                    return "let in"

        with ThreadPoolExecutor(AT_ONCE) as pool:
            said = sorted(done.result() for done in [pool.submit(one) for _ in range(AT_ONCE)])
        assert said == ["ASSERTION_USED"] * (AT_ONCE - 1) + ["let in"]


@pytest.mark.both_databases
def test_two_replicas_agree(database_url: str, world: World) -> None:
    first_database, first = used_in(database_url)
    second_database = Database(database_url)
    second_metadata = MetaData()
    assertions.tables(second_metadata)
    second = UsedAssertions(second_database, second_metadata)
    machine = world.identity("integration")
    once = with_assertion(machine, assertion_of(machine.material.name.uri))
    with (
        mirror(world.identity("claims"), world.identification(first)) as one,
        mirror(world.identity("claims"), world.identification(second)) as other,
    ):
        assert one.who(once)
        assert other.fault(once).reason == "ASSERTION_USED"
    first_database.close()
    second_database.close()


def test_an_assertion_of_another_workload_or_of_a_desk_is_refused(
    world: World, claims: Mirror
) -> None:
    machine = world.identity("integration").material.name.uri
    for process in ("settlement", "desk-insurer"):
        other = with_assertion(world.identity(process), assertion_of(machine))
        assert claims.fault(other).reason == "TOKEN_INVALID"


def test_where_nobody_can_remember_an_assertion_is_refused(world: World) -> None:
    machine = world.identity("integration")
    with mirror(world.identity("claims"), world.identification(None)) as forgetful:
        once = with_assertion(machine, assertion_of(machine.material.name.uri))
        assert forgetful.fault(once).reason == "TOKEN_INVALID"
        assert forgetful.who(machine)


@pytest.mark.on_postgresql
def test_what_has_expired_is_forgotten_and_nothing_else(
    used: tuple[Database, UsedAssertions],
) -> None:
    database, found = used
    metadata = MetaData()
    table = assertions.tables(metadata)
    old = Assertion(issuer="a", jti="1", expires_s=100.0)
    new = Assertion(issuer="a", jti="2", expires_s=200.0)
    assert found._use(old, 50.0)
    assert not found._use(old, 99.9)
    assert found._use(new, 150.0)
    with database.reading() as connection:
        kept = connection.execute(select(func.count()).select_from(table)).scalar_one()
    assert kept == 1
    assert not found._use(new, 199.0)
