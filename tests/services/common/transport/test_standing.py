"""A caller says once that its own certificate is no good: by its files, and by what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.common.log import configure
from services.common.transport.certificates import Identity
from services.common.transport.channels import channel
from services.common.transport.names import integration_uri
from services.common.transport.standing import EXPIRED, MISSING, REVOKED, STALE, Standing, standing
from stack.authority import LIST_LIFE
from tests.identities import DOMAIN, minted
from tests.services.common.access.listening import METHOD, World, mirror

URI = integration_uri(DOMAIN, "general")


@pytest.fixture
def world(tmp_path: Path) -> World:
    configure("tests")
    return World(tmp_path)


def told(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, ...]]:
    """Event and reason of every line since the last look."""
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [(line["event"], line.get("reason", "")) for line in lines if "queue" in line]


def test_each_change_is_one_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    mine = minted(world.state, URI, timedelta(days=7), "hospital-general")
    own = Standing(mine.files, "hospital-general")
    for _ in range(3):
        own.look()
    assert told(capsys) == []
    world.authority.revoke("hospital-general")
    for _ in range(3):
        own.look()
    assert told(capsys) == [("certificate_refused", REVOKED)]
    minted(world.state, URI, timedelta(days=7), "hospital-general")
    for _ in range(3):
        own.look()
    assert told(capsys) == [("certificate_accepted", "")]


def test_every_way_of_being_no_good_has_its_reason(world: World) -> None:
    mine = minted(world.state, URI, timedelta(days=1), "hospital-general")
    end_s = mine.material.not_after.timestamp()
    assert standing(mine.files) == ""
    assert standing(mine.files, lambda: end_s - 1) == ""
    assert standing(mine.files, lambda: end_s) == EXPIRED
    long = minted(world.state, URI, timedelta(days=80), "long")
    assert standing(long.files, lambda: end_s + LIST_LIFE.total_seconds()) == STALE
    long.files.revocation.unlink()  # where there is no list, services decide
    assert standing(long.files, lambda: end_s + LIST_LIFE.total_seconds()) == ""
    mine.files.certificate.write_text("half a file")
    assert standing(mine.files) == MISSING


async def asked(address: str, mine: Identity, own: Standing, times: int) -> list[grpc.StatusCode]:
    codes = []
    async with channel(address, mine, "claims", [own.hearing("claims")]) as opened:
        method: Any = opened.unary_unary(METHOD)
        for _ in range(times):
            call = method(b"", timeout=60)
            with contextlib.suppress(grpc.RpcError):
                await call
            codes.append(await call.code())
    return codes


def test_what_services_answer_is_heard_where_the_own_list_is_old(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another machine's list is a copy of the day on which its certificate was issued."""
    world.authority.issue("remote", URI, tmp_path / "remote")
    mine = minted(world.state, URI, timedelta(days=7), "hospital-general")
    own = Standing(mine.files, "hospital-general")
    with mirror(world.identity("claims"), world.identification()) as claims:
        assert asyncio.run(asked(claims.address, mine, own, 2)) == [grpc.StatusCode.OK] * 2
        assert told(capsys) == []
        world.authority.revoke("hospital-general")
        refused = asyncio.run(asked(claims.address, mine, own, 3))
        assert refused == [grpc.StatusCode.UNAUTHENTICATED] * 3
    assert told(capsys) == [("certificate_refused", REVOKED)]
    # Nobody answers: that says nothing of the certificate.
    assert asyncio.run(asked(claims.address, mine, own, 1)) == [grpc.StatusCode.UNAVAILABLE]
    assert told(capsys) == []
