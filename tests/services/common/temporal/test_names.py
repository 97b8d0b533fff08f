"""Ids and queues on the Temporal side: one for one thing, and no more than opaque ids in them."""

from __future__ import annotations

from services.common.temporal import names


def test_no_two_things_share_an_id() -> None:
    def readings(hospital: str) -> str:
        return names.pull_schedule_id(hospital, "readings")

    makers = (names.settle_claim_id, names.run_payouts_id, names.pull_schedule_id, readings)
    assert len({make(id_) for make in makers for id_ in ("a", "b", "a/b")}) == 12


def test_a_hospitals_queue_is_not_the_insurers() -> None:
    queues = {names.hospital_queue(hospital) for hospital in ("general", "claims", "")}
    assert len(queues | {names.CLAIMS_QUEUE}) == 4


def test_an_id_says_the_opaque_id_and_its_kind() -> None:
    assert names.settle_claim_id("0af3") == "claims/0af3"
    assert names.run_payouts_id("main") == "payouts/main"
    assert names.pull_schedule_id("general") == "pull-bills/general"
    assert names.pull_schedule_id("general", "readings") == "pull-readings/general"
    assert names.hospital_queue("general") == "hospital-general"
