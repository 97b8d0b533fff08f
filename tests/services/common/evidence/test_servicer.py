"""EvidenceService over a real, guarded service: what it proves, what it refuses and to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import text, update

from lipei.evidence.v1 import evidence_pb2 as pb
from lipei.evidence.v1.evidence_pb2_grpc import EvidenceServiceStub
from lipei.keys.v1 import keys_pb2
from lipei.keys.v1.keys_pb2_grpc import KeysServiceStub
from services.common.access.pseudonym import pseudonym
from services.common.database import Database, append_only_ddl
from services.common.evidence.access_read import AccessRead
from services.common.evidence.checkpoint import Checkpoint, opened
from services.common.evidence.leaf import beside, concerns, leaf_bytes, read_of, reader_of
from services.common.evidence.merkle import (
    HASH_BYTES,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from services.common.evidence.signers import log_signer
from services.common.evidence.tables import APPEND_ONLY
from services.common.evidence.witness import RemoteLog
from services.common.evidence.witnessing import ProofMissing
from services.common.page_tokens import page_token
from services.common.refusals import RpcFault, error_of
from services.common.settings import evidence_pseudonym_key_file
from services.common.state import load_or_make_key
from services.common.transport.channels import sync_channel
from tests.identities import HOSPITAL, acting
from tests.services.common.evidence.attacks import attacking
from tests.services.common.evidence.logs import NOON_US, TABLES, Kept, kept, read, reads
from tests.services.pricing.process import serving

LEAVES, SIGNED = 30, 25
WITNESS = "witness-hospital"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("state")
    signer = log_signer("pricing", state / "keys" / "pricing_evidence.key")
    with kept(f"sqlite:///{state / 'pricing.db'}") as log:
        mine = Kept(log.database, log.clock, signer)
        mine.append(reads(SIGNED))
        mine.sign()
        mine.append(reads(LEAVES - SIGNED, SIGNED))
    return state


@pytest.fixture(scope="module")
def address(state: Path) -> Iterator[str]:
    with serving(state) as service:
        yield service.address


def stub_of(address: str, role: str, process: str = "desk-insurer") -> Any:
    return EvidenceServiceStub(sync_channel(address, acting(process, role), "pricing"))


@pytest.fixture
def stub(address: str) -> Any:
    return stub_of(address, "auditor", "desk-auditor")


def fault_of(call: Any, request: Any) -> RpcFault:
    with pytest.raises(grpc.RpcError) as failed:
        call(request)
    return error_of(failed.value)


def fields(fault: RpcFault) -> list[str]:
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    return [violation.field for violation in fault.violations]


def checkpoint_in(state: Path, note: str) -> Checkpoint:
    signer = log_signer("pricing", state / "keys" / "pricing_evidence.key")
    return opened(note, [signer.verifier])[0]


def test_a_checkpoint_of_a_size_and_its_proofs(stub: Any, state: Path) -> None:
    answer = stub.GetCheckpoint(pb.GetCheckpointRequest(size=SIGNED))
    signed = checkpoint_in(state, answer.note)
    assert signed.size == SIGNED
    for index in (0, 11, SIGNED - 1):
        proof = stub.GetInclusionProof(pb.GetInclusionProofRequest(index=index, tree_size=SIGNED))
        assert proof.leaf.body.encode() == leaf_bytes(read(index))
        found = leaf_hash(proof.leaf.body.encode())
        verify_inclusion(index, SIGNED, found, proof.hashes, signed.root)
        by_hash = pb.GetInclusionProofRequest(leaf_hash=found, tree_size=SIGNED)
        assert stub.GetInclusionProof(by_hash) == proof
    newest = checkpoint_in(state, stub.GetCheckpoint(pb.GetCheckpointRequest()).note)
    request = pb.GetConsistencyProofRequest(old_size=SIGNED, new_size=newest.size)
    hashes = stub.GetConsistencyProof(request).hashes
    verify_consistency(SIGNED, newest.size, signed.root, newest.root, hashes)
    assert fault_of(stub.GetCheckpoint, pb.GetCheckpointRequest(size=7)).code is NOT_FOUND


NOT_FOUND = grpc.StatusCode.NOT_FOUND


def test_what_is_not_there_is_not_found(stub: Any) -> None:
    for request in (
        pb.GetInclusionProofRequest(index=SIGNED, tree_size=SIGNED),
        pb.GetInclusionProofRequest(index=0, tree_size=LEAVES + 1),
        pb.GetInclusionProofRequest(leaf_hash=bytes(32)),
        pb.GetInclusionProofRequest(
            leaf_hash=leaf_hash(leaf_bytes(read(SIGNED))), tree_size=SIGNED
        ),
    ):
        assert fault_of(stub.GetInclusionProof, request).code is NOT_FOUND
    larger = pb.GetConsistencyProofRequest(old_size=1, new_size=LEAVES + 1)
    fault = fault_of(stub.GetConsistencyProof, larger)
    assert (fault.code, fault.reason) == (grpc.StatusCode.OUT_OF_RANGE, "LOG_IS_SMALLER")


def test_every_fault_of_a_request_is_named_at_once(stub: Any) -> None:
    prove, list_leaves = stub.GetInclusionProof, stub.ListLeaves
    assert fields(fault_of(stub.GetCheckpoint, pb.GetCheckpointRequest(size=-1))) == ["size"]
    neither = pb.GetInclusionProofRequest(tree_size=-1)
    assert fields(fault_of(prove, neither)) == ["leaf", "tree_size"]
    assert fields(fault_of(prove, pb.GetInclusionProofRequest(index=-1))) == ["index"]
    bad_hash = pb.GetInclusionProofRequest(leaf_hash=bytes(31), tree_size=-1)
    assert fields(fault_of(prove, bad_hash)) == ["leaf_hash", "tree_size"]
    sizes = pb.GetConsistencyProofRequest(old_size=0, new_size=-1)
    assert fields(fault_of(stub.GetConsistencyProof, sizes)) == ["old_size", "new_size"]
    long = pb.ListLeavesRequest(record="r" * 600, who="w" * 600, page_size=1_001)
    long.end_time.seconds = 1 << 60
    long.tenant = "insurer/"
    names = ["record", "who", "end_time", "page_size", "tenant"]
    assert fields(fault_of(list_leaves, long)) == names
    hashes = pb.ListLeafHashesRequest(start_index=-1, count=10_001)
    assert fields(fault_of(stub.ListLeafHashes, hashes)) == ["start_index", "count"]


@pytest.mark.parametrize("token", ["x", "ZXZpZGVuY2UgbGVhdmVzAC0x", "ZXZpZGVuY2UgbGVhdmVzAHg="])
def test_a_page_token_of_another_list_is_refused(stub: Any, token: str) -> None:
    request = pb.ListLeavesRequest(page_token=token)
    assert fields(fault_of(stub.ListLeaves, request)) == ["page_token"]


def test_leaves_come_page_by_page(stub: Any) -> None:
    found, request = [], pb.ListLeavesRequest(who="person-2", page_size=2)
    request.start_time.FromMicroseconds(NOON_US + 5)
    for _ in range(10):
        answer = stub.ListLeaves(request)
        found += [leaf.index for leaf in answer.leaves]
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    assert found == [7, 12, 17, 22, 27]


def test_hashes_are_made_from_the_leaves(stub: Any) -> None:
    answer = stub.ListLeafHashes(pb.ListLeafHashesRequest(start_index=28, count=10))
    assert answer.hashes == b"".join(leaf_hash(leaf_bytes(read(index))) for index in (28, 29))
    end = stub.ListLeafHashes(pb.ListLeafHashesRequest(start_index=LEAVES, count=1))
    assert len(end.hashes) % HASH_BYTES == 0
    assert end.hashes == b""


@pytest.mark.parametrize("column", ["record", "who", "reader", "owner", "member"])
def test_what_stands_beside_a_leaf_is_held_against_it(
    stub: Any, address: str, state: Path, column: str
) -> None:
    whole, hashes = pb.ListLeavesRequest(), pb.ListLeafHashesRequest(count=LEAVES)
    before = stub.ListLeafHashes(hashes)
    where = TABLES.leaf.c.leaf_index == 12
    database = Database(f"sqlite:///{state / 'pricing.db'}")
    try:
        kept_value = beside(read(12))[column]
        for value, bad in (("somebody-else", True), (kept_value, False)):
            with attacking(database, undo=False) as connection:
                connection.execute(update(TABLES.leaf).where(where).values({column: value}))
                for table in APPEND_ONLY:
                    for line in append_only_ddl(table, "sqlite"):
                        connection.execute(text(line))
            for call, request in ((stub.ListLeaves, whole), (stub.ListLeafHashes, hashes)):
                if bad:
                    fault = fault_of(call, request)
                    assert fault.code is grpc.StatusCode.DATA_LOSS
                    assert (fault.reason, fault.metadata) == ("LEAF_MISLABELLED", {"index": "12"})
                else:
                    call(request)
            if bad:
                remote = RemoteLog("pricing", address, state, lambda: acting(WITNESS, ""))
                with pytest.raises(ProofMissing) as missing:
                    asyncio.run(asked(remote))
                assert missing.value.index == 12
    finally:
        database.close()
    assert stub.ListLeafHashes(hashes) == before


async def asked(remote: RemoteLog) -> bytes:
    try:
        return await remote.hashes(0, LEAVES)
    finally:
        await remote.close()


def test_a_witness_gets_hashes_and_proofs_and_no_leaf(address: str) -> None:
    witness = stub_of(address, "", WITNESS)
    assert witness.GetCheckpoint(pb.GetCheckpointRequest()).note
    assert witness.ListLeafHashes(pb.ListLeafHashesRequest(count=1)).hashes
    assert witness.GetConsistencyProof(pb.GetConsistencyProofRequest(old_size=1, new_size=2)).hashes
    for call, request in (
        (witness.ListLeaves, pb.ListLeavesRequest()),
        (witness.GetInclusionProof, pb.GetInclusionProofRequest()),
    ):
        assert fault_of(call, request).reason == "ROLE_NOT_ALLOWED"


# ---------------------------------------------------------------------------------------- tenants

# Whose person or machine read, whose record it was, and which of the two auditors may see it.
OURS, HOSPITALS = "insurer/insurer", f"hospital/{HOSPITAL}"
WHOSE: tuple[tuple[str, str, set[str]], ...] = (
    ("insurer/insurer/desk/1", "", {OURS}),
    (f"{HOSPITALS}/integration", OURS, {OURS, HOSPITALS}),
    ("hospital/away/integration", "hospital/away", set()),
    ("member/desk/1", OURS, {OURS}),
    ("insurer/rival/desk/1", "insurer/rival", set()),
    ("insurer/rival/desk/1", "", set()),
    ("service/settlement", HOSPITALS, {HOSPITALS}),
    ("insurer/insurer-2/desk/1", "insurer/insure", set()),
)
SHARED = 4 * len(WHOSE)
AUDITORS = {OURS: "desk-insurer", HOSPITALS: "desk-hospital"}


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address and state of a service whose log has leaves of several tenants."""
    state = tmp_path / "shared"
    (state / "keys").mkdir(parents=True)
    signer = log_signer("pricing", state / "keys" / "pricing_evidence.key")
    with kept(f"sqlite:///{state / 'pricing.db'}") as log:
        mine = Kept(log.database, log.clock, signer)
        mine.append([_whose(number) for number in range(SHARED)])
        mine.sign()
    with serving(state) as service:
        yield service.address, state


def _whose(number: int, **changes: Any) -> AccessRead:
    path, owner, _ = WHOSE[number % len(WHOSE)]
    return read(number, **{"uri": f"spiffe://lipei.local/{path}", "owner": owner, **changes})


def seen_by(tenant: str) -> list[int]:
    return [number for number in range(SHARED) if tenant in WHOSE[number % len(WHOSE)][2]]


def listed(stub: Any, **asked: Any) -> list[int]:
    found, request = [], pb.ListLeavesRequest(**asked)
    while True:
        answer = stub.ListLeaves(request)
        found += [leaf.index for leaf in answer.leaves]
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found


@pytest.mark.parametrize("tenant", AUDITORS)
def test_a_tenants_auditor_finds_what_concerns_the_tenant_and_proves_it(
    shared: tuple[str, Path], tenant: str
) -> None:
    address, state = shared
    mine = stub_of(address, "auditor", AUDITORS[tenant])
    everybodys = stub_of(address, "auditor", "desk-auditor")
    assert listed(everybodys) == list(range(SHARED))  # the control
    assert 0 < len(seen_by(tenant)) < SHARED
    for page_size in (1, 3, 100):
        assert listed(mine, page_size=page_size) == seen_by(tenant)
    assert listed(mine, tenant=tenant) == listed(everybodys, tenant=tenant) == seen_by(tenant)
    wanted = [index for index in seen_by(tenant) if index % 5 == 2]
    assert listed(mine, who="person-2") == wanted
    signed = checkpoint_in(state, mine.GetCheckpoint(pb.GetCheckpointRequest()).note)
    for index in range(SHARED):
        request = pb.GetInclusionProofRequest(index=index, tree_size=SHARED)
        by_hash = pb.GetInclusionProofRequest(
            leaf_hash=leaf_hash(leaf_bytes(_whose(index))), tree_size=SHARED
        )
        if index in seen_by(tenant):
            proof = mine.GetInclusionProof(request)
            assert proof == mine.GetInclusionProof(by_hash)
            found = leaf_hash(proof.leaf.body.encode())
            verify_inclusion(index, SHARED, found, proof.hashes, signed.root)
        else:
            nothing = pb.GetInclusionProofRequest(index=SHARED, tree_size=SHARED)
            for hidden in (request, by_hash):
                assert fault_of(mine.GetInclusionProof, hidden) == fault_of(
                    mine.GetInclusionProof, nothing
                )


def test_of_another_tenant_nothing_exists(shared: tuple[str, Path]) -> None:
    mine = stub_of(shared[0], "auditor")
    everybodys = stub_of(shared[0], "auditor", "desk-auditor")
    for other in (HOSPITALS, "insurer/rival", "hospital/away"):
        assert listed(everybodys, tenant=other)  # the control
        assert listed(mine, tenant=other) == []
    assert mine.ListLeaves(pb.ListLeavesRequest(tenant="insurer/rival", page_size=1)) == (
        mine.ListLeaves(pb.ListLeavesRequest(tenant="insurer/never-was", page_size=1))
    )
    alien = read(2).record  # read by a machine of another hospital
    assert listed(everybodys, record=alien) == [2]
    assert listed(mine, record=alien) == []
    token = everybodys.ListLeaves(pb.ListLeavesRequest(page_size=1)).next_page_token
    assert fields(fault_of(mine.ListLeaves, pb.ListLeavesRequest(page_token=token)))
    whole = fault_of(mine.ListLeafHashes, pb.ListLeafHashesRequest(count=1))
    assert (whole.code, whole.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "TENANT_NOT_ALLOWED",
    )


# ---------------------------------------------------------------------------------- of one member

LI, WANG = ("k1." + letter * 64 for letter in "ab")


def test_members_list_who_read_their_data_and_nobody_elses(shared: tuple[str, Path]) -> None:
    address, state = shared
    key = load_or_make_key(evidence_pseudonym_key_file(state))
    theirs, others = (f"members/{pseudonym(token, key)}" for token in (LI, WANG))
    reads_of_hers = [
        _whose(1, record=f"{theirs}/readings/r1", consent="hospitals/h/consents/1"),
        _whose(0, record=theirs),
        _whose(3, record=f"{theirs}/readings/r2", role="member", purpose="own-affairs"),
        _whose(4, record=f"{theirs}/readings/r1"),
    ]
    with kept(f"sqlite:///{state / 'pricing.db'}") as log:
        signer = log_signer("pricing", state / "keys" / "pricing_evidence.key")
        mixed = [read_ for one in reads_of_hers for read_ in (one, _whose(2, record=others))]
        Kept(log.database, log.clock, signer).append(mixed)

    def told(stub: Any, token: str = LI, page_size: int = 100) -> list[pb.MemberRead]:
        request = pb.ListMemberReadsRequest(member=f"members/{token}", page_size=page_size)
        found = []
        while True:
            answer = stub.ListMemberReads(request)
            found += answer.reads
            request.page_token = answer.next_page_token
            if not request.page_token:
                return [one for one in found if one.record != theirs or one.role == "adjuster"]

    def stub_for(process: str, role: str, purpose: str = "", member: str = "") -> Any:
        who = replace(acting(process, role, member), purpose=purpose)
        return EvidenceServiceStub(sync_channel(address, who, "pricing"))

    her = stub_for("desk-member", "member", member=LI)
    found = told(her)
    assert [(one.reader, one.role, one.purpose, one.record, one.consent) for one in found] == [
        (reader_of(one.uri), one.role, one.purpose, one.record, one.consent)
        for one in reads_of_hers
    ]
    assert found[0].time.ToMicroseconds() == reads_of_hers[0].at_us
    assert "person-" not in str(found)  # whoever read is named by tenant and role alone
    # Each page is a read of hers itself, and yet the list comes to its end.
    assert told(her, page_size=1)[: len(found)] == found
    for token in ("x", page_token(f"member reads member/{'0' * 32}", "0 9"), "ZXZpZGVuY2U="):
        other = pb.ListMemberReadsRequest(member=f"members/{LI}", page_token=token)
        assert fields(fault_of(her.ListMemberReads, other)) == ["page_token"]
    assert fault_of(
        her.ListMemberReads, pb.ListMemberReadsRequest(member=f"members/{WANG}")
    ).code is (NOT_FOUND)
    # Whoever acts for her says so, and is told what concerns their own house.
    office = told(stub_for("desk-insurer", "insurer_intake", "member-request"))
    assert office == [
        one for one, read_ in zip(found, reads_of_hers, strict=True) if concerns(read_, OURS)
    ]
    assert 0 < len(office) < len(found)
    silent = stub_for("desk-insurer", "insurer_intake")
    request = pb.ListMemberReadsRequest(member=f"members/{LI}")
    assert fault_of(silent.ListMemberReads, request).reason == "PURPOSE_NOT_ALLOWED"
    auditor = stub_of(address, "auditor", "desk-auditor")
    assert fault_of(auditor.ListMemberReads, request).reason == "ROLE_NOT_ALLOWED"
    bad = pb.ListMemberReadsRequest(member=LI, page_size=1_001)
    assert fields(fault_of(her.ListMemberReads, bad)) == ["page_size", "member"]
    # Her asking is on record itself, as every list of a person's data.
    last = auditor.ListLeaves(pb.ListLeavesRequest(record=theirs, page_size=1_000)).leaves[-1]
    assert read_of(last.body.encode()).rpc.endswith("/ListMemberReads")


def test_the_keys_are_the_installations_operators(shared: tuple[str, Path]) -> None:
    def keys_of(process: str) -> Any:
        return KeysServiceStub(sync_channel(shared[0], acting(process, "operator"), "pricing"))

    own = keys_of("desk-operator")
    assert own.DescribeKeys(keys_pb2.DescribeKeysRequest()).master_keys
    for process in AUDITORS.values():
        tenants = keys_of(process)
        for call, request in (
            (tenants.DescribeKeys, keys_pb2.DescribeKeysRequest()),
            (tenants.RewrapKeys, keys_pb2.RewrapKeysRequest()),
            (tenants.RenewKeys, keys_pb2.RenewKeysRequest()),
        ):
            assert fault_of(call, request).reason == "TENANT_NOT_ALLOWED"


@pytest.mark.parametrize("role", ["adjuster", "chief_actuary", "operator"])
def test_only_an_auditor_reads_leaves(address: str, role: str) -> None:
    other = stub_of(address, role)
    for call, request in (
        (other.ListLeaves, pb.ListLeavesRequest()),
        (other.ListLeafHashes, pb.ListLeafHashesRequest(count=1)),
        (other.GetInclusionProof, pb.GetInclusionProofRequest()),
        (other.GetConsistencyProof, pb.GetConsistencyProofRequest()),
    ):
        assert fault_of(call, request).reason == "ROLE_NOT_ALLOWED"
    if role == "operator":
        assert other.GetCheckpoint(pb.GetCheckpointRequest()).note
    else:
        fault = fault_of(other.GetCheckpoint, pb.GetCheckpointRequest())
        assert fault.reason == "ROLE_NOT_ALLOWED"
