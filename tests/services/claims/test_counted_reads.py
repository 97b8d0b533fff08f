"""What the claims database hands out is what the log holds; one leaf fewer, and it is seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lipei.claims.v1 import claims_pb2 as pb
from lipei.type.v1 import access_pb2
from services.claims.storage.counted import SEALED
from services.common.access.guard import Append
from services.common.access.read_tally import counting, tally_file
from services.common.evidence.access_read import AccessRead
from services.common.evidence.compared import Compared, compared, fetched_in
from tests.callers import Reads, caller
from tests.services.claims.given import bill, imported, policy, publish, submission
from tests.services.claims.serving import Served, served

_SERVICE = "/lipei.claims.v1.ClaimsService/"


def looked_at(running: Served) -> None:
    """Three claims, listed in two pages, one of them got and explained."""
    publish(running)
    imported(running, policy(1))
    for number in "12":
        running.claims.SubmitClaim(submission(bill(f"B{number}")))
    (claim,) = running.claims.SubmitClaim(submission(bill("B3"))).claims
    request = pb.ListClaimsRequest(parent="policies/-", page_size=2)
    request.page_token = running.claims.ListClaims(request).next_page_token
    running.claims.ListClaims(request)
    running.claims.GetClaim(pb.GetClaimRequest(name=claim.name))
    running.claims.ExplainClaim(pb.ExplainClaimRequest(name=claim.name))


def counted(state: Path, log: Reads, append: Append) -> Compared:
    """Both numbers of a service that writes its evidence by `append`, into `log`."""
    driver = counting(state, "claims", SEALED, wanted=True)
    with served(f"sqlite:///{state}/claims.db", append=append, driver=driver) as running:
        looked_at(running)
    return compared(fetched_in(tally_file(state, "claims")), log.kept)


def test_every_record_that_a_read_fetched_has_its_leaf(tmp_path: Path) -> None:
    log = Reads()
    found = counted(tmp_path, log, log.append)
    assert (found.fetched, found.leaves, found.differing) == (5, 5, 0)
    equal = {row.rpc.removeprefix(_SERVICE): row.leaves for row in found.rows if not row.why}
    assert equal == {"ExplainClaim": 1, "GetClaim": 1, "ListClaims": 3}
    assert {leaf.owner for leaf in log.kept} == {"insurer/insurer"}
    beside = {row.rpc.removeprefix(_SERVICE): row.leaves for row in found.rows if row.why}
    assert beside["SubmitClaim"] == 3


@pytest.mark.parametrize("rpc", ["GetClaim", "ListClaims", "ExplainClaim"])
def test_a_guard_that_drops_one_leaf_is_found(tmp_path: Path, rpc: str) -> None:
    log, dropped = Reads(), list[AccessRead]()

    async def forgetful(reads: Sequence[AccessRead]) -> None:
        kept = list(reads)
        if not dropped and kept[-1].rpc.endswith(rpc):
            dropped.append(kept.pop())
        await log.append(kept)

    found = counted(tmp_path, log, forgetful)
    assert len(dropped) == 1
    assert (found.fetched, found.leaves, found.differing) == (5, 4, 1)


def test_a_leaf_about_another_record_is_found_though_the_numbers_agree(tmp_path: Path) -> None:
    log = Reads()
    counted(tmp_path, log, log.append)
    fetched = list(fetched_in(tally_file(tmp_path, "claims")))
    got, *others = [leaf for leaf in log.kept if leaf.rpc.endswith("GetClaim")]
    assert not others
    wrong = AccessRead(
        **{name: getattr(got, name) for name in got.__slots__} | {"record": "policies/p1/claims/x"}
    )
    found = compared(fetched, [wrong if leaf is got else leaf for leaf in log.kept])
    assert (found.fetched, found.leaves, found.differing) == (5, 5, 2)


def test_what_was_masked_is_told_beside(tmp_path: Path) -> None:
    driver = counting(tmp_path, "claims", SEALED, wanted=True)
    log, url = Reads(), f"sqlite:///{tmp_path}/claims.db"
    with served(url, append=log.append, driver=driver) as running:
        looked_at(running)
    before = len(log.kept)
    payments = caller(access_pb2.ROLE_PAYMENTS, insurer="insurer")
    with served(url, append=log.append, driver=driver, caller=lambda: payments) as running:
        listed = running.claims.ListClaims(pb.ListClaimsRequest(parent="policies/-"))
        assert len(listed.claims) == 3
    assert len(log.kept) == before
    found = compared(fetched_in(tally_file(tmp_path, "claims")), log.kept)
    assert (found.fetched, found.leaves, found.differing) == (5, 5, 0)
    masked = [row for row in found.rows if row.why and row.rpc == f"{_SERVICE}ListClaims"]
    assert [(row.kind, row.fetched, row.leaves) for row in masked] == [("claim", 3, 0)]
