"""Two counts of one thing: equal record by record, or the difference is told."""

from __future__ import annotations

from lipei.claims.v1 import claims_pb2, recompute_pb2, review_pb2, settlement_pb2
from lipei.claims.v1 import study_pb2 as claims_study_pb2
from lipei.his_bridge.v1 import consent_pb2, his_bridge_pb2, operations_pb2
from lipei.pricing.v1 import pricing_pb2
from lipei.pricing.v1 import study_pb2 as pricing_study_pb2
from services.common.access.guard import clearance_for
from services.common.access.labels import SENSITIVE, labels_of, level_of, reachable
from services.common.evidence.access_read import AccessRead
from services.common.evidence.compared import COMPUTED, SHOWN, Fetched, compared

GET = "/lipei.claims.v1.ClaimsService/GetClaim"
SUBMIT = "/lipei.claims.v1.ClaimsService/SubmitClaim"
FILES = (
    claims_pb2,
    recompute_pb2,
    review_pb2,
    settlement_pb2,
    consent_pb2,
    his_bridge_pb2,
    operations_pb2,
    pricing_pb2,
    claims_study_pb2,
    pricing_study_pb2,
)


def leaf(rpc: str = GET, record: str = "policies/p/claims/c") -> AccessRead:
    return AccessRead(
        who="w",
        uri="u",
        role="adjuster",
        purpose="p",
        consent="",
        rpc=rpc,
        record=record,
        level=3,
        at_us=1,
    )


def test_as_often_as_fetched_so_often_on_record() -> None:
    fetched = Fetched(GET, 3, "claim", "c")
    assert compared([fetched, fetched], [leaf(), leaf()]).differing == 0
    assert compared([fetched, fetched], [leaf()]).differing == 1
    assert compared([fetched], [leaf(), leaf()]).differing == 1
    assert compared([], []).differing == 0


def test_a_leaf_of_an_rpc_that_nobody_knows_differs() -> None:
    found = compared([], [leaf("/lipei.claims.v1.ClaimsService/New")])
    assert found.differing == 1
    assert [row.why for row in found.rows] == ["nobody said whether this shows what is stored"]


def test_what_is_computed_or_handled_stands_beside() -> None:
    fetched = [Fetched(SUBMIT, 3, "claim", "c"), Fetched(GET, 3, "insured_terms", "p")]
    found = compared(fetched, [leaf(SUBMIT), leaf(SUBMIT)])
    assert (found.fetched, found.leaves, found.differing) == (0, 0, 0)
    assert {(row.rpc, row.kind, row.fetched, row.leaves) for row in found.rows} == {
        (SUBMIT, "", 1, 2),
        (GET, "insured_terms", 1, 0),
    }


def test_the_member_of_a_stored_quote_stands_beside_the_quote() -> None:
    rpc = "/lipei.pricing.v1.PricingService/GetQuote"
    found = compared(
        [Fetched(rpc, 3, "quote", "q")], [leaf(rpc, "policies/p/quotes/q"), leaf(rpc, "members/x")]
    )
    assert (found.fetched, found.leaves, found.differing) == (1, 1, 0)
    assert [(row.kind, row.fetched, row.leaves) for row in found.rows] == [
        ("quote", 1, 1),
        ("", 0, 1),
    ]


def test_every_rpc_that_can_leave_a_leaf_is_known() -> None:
    can = set()
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                rpc = labels_of(method)
                assert rpc is not None
                levels = [level_of(field) for field in reachable(method.output_type)]
                if min(max(levels, default=0), clearance_for(rpc.roles)) >= SENSITIVE:
                    can.add(rpc.path)
    assert can - SHOWN.keys() - COMPUTED.keys() == set()
    assert SHOWN.keys() | COMPUTED.keys() <= can
    assert not SHOWN.keys() & COMPUTED.keys()
