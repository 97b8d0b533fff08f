"""The list of revoked certificates: signed, current, followed, and refused whenever in doubt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from services.common.refusals import Refused
from services.common.transport.certificates import FOLDER, read_peer
from services.common.transport.revocation import RevocationList
from stack.authority import Authority
from tests.identities import DOMAIN
from tests.services.common.access.listening import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


def reason(world: World, revocation: RevocationList, process: str = "settlement") -> str:
    peer = read_peer(world.identity(process).material.chain, DOMAIN)
    assert peer is not None
    try:
        revocation.check(peer.issuer, peer.serial)
    except Refused as refused:
        return refused.reason
    return "stands"


def test_only_who_is_on_the_list_is_refused(world: World) -> None:
    revocation = RevocationList(world.files.revocation, world.files.authority)
    assert reason(world, revocation) == "stands"
    world.authority.revoke("settlement")
    assert reason(world, revocation) == "CERTIFICATE_REVOKED"
    assert reason(world, revocation, "integration") == "stands"
    world.authority.revoke(world.identity("integration").material.name.uri)
    assert reason(world, revocation, "integration") == "CERTIFICATE_REVOKED"
    assert reason(world, revocation) == "CERTIFICATE_REVOKED"


def test_a_list_of_another_signer_counts_as_none(world: World, tmp_path: Path) -> None:
    revocation = RevocationList(world.files.revocation, world.files.authority)
    world.authority.revoke("settlement")
    other = tmp_path / "other"
    Authority(other, DOMAIN)
    shutil.copy2(other / FOLDER / "revoked.pem", world.files.revocation)
    assert reason(world, revocation) == "REVOCATION_LIST_STALE"
    assert "holds no list signed by" in revocation.faults()[0]


def test_an_altered_list_counts_as_none(world: World) -> None:
    revocation = RevocationList(world.files.revocation, world.files.authority)
    world.authority.revoke("settlement")
    text = world.files.revocation.read_text()
    lines = text.splitlines()
    lines[3] = lines[3][::-1]
    world.files.revocation.write_text("\n".join(lines))
    assert reason(world, revocation) == "REVOCATION_LIST_STALE"


def test_what_is_missing_is_said_at_the_start(world: World) -> None:
    revocation = RevocationList(world.files.revocation, world.files.authority)
    assert revocation.faults() == []
    late = RevocationList(world.files.revocation, world.files.authority, lambda: 1e10)
    assert "is past its next update" in late.faults()[0]
    world.files.revocation.unlink()
    assert "is missing" in revocation.faults()[0]
    assert reason(world, revocation) == "REVOCATION_LIST_STALE"


def test_several_lists_in_one_file_count_together(world: World, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", DOMAIN)
    other.ensure({"settlement": world.identity("settlement").material.name.uri})
    other.revoke("settlement")
    theirs = tmp_path / "other" / FOLDER
    for ours, more in (
        (world.files.revocation, theirs / "revoked.pem"),
        (world.files.authority, theirs / "ca.pem"),
    ):
        ours.write_bytes(ours.read_bytes() + more.read_bytes())
    revocation = RevocationList(world.files.revocation, world.files.authority)
    assert reason(world, revocation) == "stands"
    peer = read_peer((theirs / "settlement.pem").read_bytes(), DOMAIN)
    assert peer is not None
    with pytest.raises(Refused) as refused:
        revocation.check(peer.issuer, peer.serial)
    assert refused.value.reason == "CERTIFICATE_REVOKED"
