"""Refused bills are offered again: what may be, by whom, and what by itself; on both databases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
import pytest

from lipei.his_bridge.v1 import his_bridge_pb2, operations_pb2
from services.common.access.caller import calling_as
from services.his_bridge.servicer import HisBridgeServicer
from services.his_bridge.storage import lists, offers, showing
from services.his_bridge.storage.erasure import erase
from services.his_bridge.storage.tables import released_bill
from tests.services.his_bridge.consenting import INSURER, everybody, record, take_back, terms
from tests.services.his_bridge.population import good
from tests.services.his_bridge.records import money
from tests.services.his_bridge.test_operations import (
    BILLS,
    ME,
    PARENT,
    H,
    Place,
    acting,
    refused,
    write,
)

UNKNOWN = "UNKNOWN_MEMBER"


def answered(place: Place, names: Iterable[str], *reasons: str) -> None:
    """The insurer refuses bills, or takes them when there are no reasons."""
    found = [
        lists.Answer(
            bill=name,
            delivery="REFUSED" if reasons else "TAKEN",
            claims=() if reasons else ("policies/p/claims/c",),
            refusal_reasons=reasons,
        )
        for name in names
    ]
    with place.database.writing() as connection:
        lists.acknowledge(connection, H, "", found, recipient=INSURER, now_us=place.now[0])


def rows(place: Place, delivery: str | None = None) -> list[Any]:
    """What is stored, whoever may see it."""
    with place.database.reading() as connection:
        found = connection.execute(
            released_bill.select()
            .where(released_bill.c.hospital == H)
            .order_by(released_bill.c.seq)
        ).all()
    return [row for row in found if delivery in (None, row.delivery)]


def names(place: Place, delivery: str | None = None) -> list[str]:
    return [row.name for row in rows(place, delivery)]


def handed_out(place: Place) -> list[str]:
    """Pending bills as the insurer's worker is given them."""
    with place.database.reading() as connection:
        sealer = place.keys.sealer(connection)
        found = showing.bills_after(connection, sealer, H, INSURER, 0, 500, "PENDING", place.now[0])
        return [one.row.name for one in found]


async def offer(place: Place, request_id: str = "", **which: Any) -> Any:
    request = operations_pb2.OfferRefusedBillsRequest(
        parent=PARENT, request_id=request_id or place.once(), **which
    )
    return await place.call("OfferRefusedBills", request)


def bridge(place: Place) -> HisBridgeServicer:
    hospitals = {H: place.hospital}
    return HisBridgeServicer(place.database, place.keys, hospitals, INSURER, lambda: place.now[0])


async def swept(place: Place) -> None:
    """A pull by the hospital's schedule."""

    class Calling:
        def time_remaining(self) -> None:
            return None

    context: Any = Calling()
    request = his_bridge_pb2.PullBillsRequest(hospital=PARENT)
    with calling_as(ME):
        await bridge(place).PullBills(request, context)


@pytest.mark.both_databases
def test_refused_bills_are_pending_again_by_reason_day_and_number(database_url: str) -> None:
    async def work(place: Place) -> None:
        await place.pull()
        every = names(place)
        answered(place, every[:4], UNKNOWN)
        answered(place, every[4:5], "UNKNOWN_PROVIDER", "IN_THE_FUTURE")
        answered(place, every[5:6])
        assert (await offer(place, first_day="2999-01-01")).offered_count == 0
        assert (await offer(place, reason="UNKNOWN")).offered_count == 0
        told = await offer(place, "portion", reason=UNKNOWN, max_bills=3)
        assert (told.offered_count, told.left_count) == (3, 1)
        assert names(place, "REFUSED") == every[3:5]
        assert handed_out(place) == every[:3] + every[6:]
        # The same request answers the same, and other content under it is refused.
        answered(place, every[:1], UNKNOWN)
        assert await offer(place, "portion", reason=UNKNOWN, max_bills=3) == told
        assert names(place, "REFUSED") == [every[0], *every[3:5]]
        reused = await refused(offer(place, "portion", reason=UNKNOWN))
        assert reused.code is grpc.StatusCode.ALREADY_EXISTS
        # A dry run says all and changes nothing.
        told = await offer(place, "all", dry_run=True)
        counts = [(one.reason, one.bill_count) for one in told.refusals]
        assert counts == [(UNKNOWN, 2), ("IN_THE_FUTURE", 1), ("UNKNOWN_PROVIDER", 1)]
        assert len(names(place, "REFUSED")) == 3
        assert await offer(place, "all") == told
        assert names(place, "REFUSED") == []
        assert names(place, "TAKEN") == every[5:6]  # never offered
        with calling_as(ME):
            asked = his_bridge_pb2.GetSourceStatusRequest(hospital=PARENT)
            nobody: Any = None
            found = (await bridge(place).GetSourceStatus(asked, nobody)).bills
        assert (found.pending_count, list(found.refusals)) == (BILLS - 1, [])

    acting(database_url, work)


@pytest.mark.on_postgresql
def test_named_bills_are_offered_all_or_none(database_url: str) -> None:
    async def work(place: Place) -> None:
        await place.pull()
        every = names(place)
        answered(place, every[:2], UNKNOWN)
        answered(place, every[2:3])
        bills = [f"{PARENT}/bills/{name}" for name in every]
        for other in (bills[2], bills[3]):  # taken, pending
            found = await refused(offer(place, bills=[bills[0], other]))
            assert (found.reason, found.metadata["name"]) == ("BILL_NOT_OFFERABLE", other)
        never = f"{PARENT}/bills/{'0' * 32}"
        found = await refused(offer(place, bills=[bills[0], never]))
        assert found.code is grpc.StatusCode.NOT_FOUND
        assert names(place, "REFUSED") == every[:2]
        assert (await offer(place, bills=bills[:1])).offered_count == 1
        assert names(place, "REFUSED") == every[1:2]
        for wrong in (
            {"bills": [bills[1]], "reason": UNKNOWN},
            {"bills": [bills[1], bills[1]]},
            {"bills": ["hospitals/other/bills/" + "0" * 32]},
            {"first_day": "2026-02-30"},
            {"max_bills": 501},
            {"reason": "two words"},
        ):
            found = await refused(offer(place, **wrong))
            assert found.code is grpc.StatusCode.INVALID_ARGUMENT, wrong
        assert names(place, "REFUSED") == every[1:2]

    acting(database_url, work)


def test_an_older_version_and_an_erased_person_s_bill_stay_refused(database_url: str) -> None:
    async def work(place: Place) -> None:
        await place.pull()
        every = names(place)
        _, claims, _ = good(BILLS)
        dearer = {**claims[0], "total": money(51)}
        dearer["item"] = [
            {**claims[0]["item"][0], "unitPrice": money(51), "net": money(51)},
            *claims[0]["item"][1:],
        ]
        dearer["total"] = money(sum(float(item["net"]["value"]) for item in dearer["item"]))
        before = rows(place)
        write(place.server, dearer)
        report = await place.pull()
        assert (report.released, report.quarantined) == (1, 0)
        (newer,) = rows(place)[BILLS:]
        (older,) = [one.name for one in before if one.bill_id == newer.bill_id]
        answered(place, [*every, newer.name], UNKNOWN)
        gone = everybody()[1]
        done = erase(
            place.database, place.keys, "erase", gone, [H], place.now[0], recipient=INSURER
        )
        assert done.bills > 0
        told = await offer(place)
        assert told.offered_count == BILLS + 1 - 1 - done.bills
        stay = names(place, "REFUSED")
        assert older in stay
        assert newer.name not in stay
        assert len(stay) == 1 + done.bills
        for name in stay:
            found = await refused(offer(place, bills=[f"{PARENT}/bills/{name}"]))
            assert found.reason == "BILL_NOT_OFFERABLE"

    acting(database_url, work)


def test_a_bill_whose_consent_was_withdrawn_is_pending_and_shown_to_nobody(
    sqlite_database: str,
) -> None:
    async def work(place: Place) -> None:
        member = everybody()[0]
        await place.pull()
        every = handed_out(place)
        answered(place, every, UNKNOWN)
        with place.database.reading() as connection:
            sealer = place.keys.sealer(connection)
            all_ = showing.bills_after(connection, sealer, H, INSURER, 0, 500, None, place.now[0])
            theirs = [one.row.name for one in all_ if one.bill.member_token == member]
            consents = {one.consent_id for one in all_ if one.bill.member_token == member}
        assert theirs
        (consent,) = consents
        take_back(place.database, H, terms(member, consent_id=consent), now_us=place.now[0])
        await offer(place)
        assert names(place, "REFUSED") == []
        assert set(every) - set(handed_out(place)) == set(theirs)
        record(place.database, H, [terms(member)], now_us=place.now[0])
        assert handed_out(place) == every

    acting(sqlite_database, work)


@pytest.mark.parametrize(
    "reason", [UNKNOWN, pytest.param("APPEAL_OPEN", marks=pytest.mark.both_databases)]
)
def test_what_time_cures_is_offered_by_itself_once_a_day_for_a_month(
    database_url: str, reason: str
) -> None:
    async def work(place: Place) -> None:
        await place.pull()
        cured, other = names(place)[:2]

        def refuse() -> None:
            answered(place, [cured], reason)
            answered(place, [other], reason, "BILL_CONFLICT")

        refuse()
        await swept(place)
        assert names(place, "REFUSED") == [cured, other]  # not yet
        month = offers.LONGEST_US // offers.PAUSE_US
        assert month == 30
        for skipped, offered in ((1, True), (month - 1, True), (1, False)):
            place.now[0] += skipped * offers.PAUSE_US - 1
            if skipped == 1:
                await swept(place)
                assert names(place, "REFUSED") == [cured, other]  # a day is not over
            place.now[0] += 1
            await swept(place)
            assert names(place, "REFUSED") == ([other] if offered else [cured, other])
            if offered:
                refuse()
        # A person who offers it begins the month anew.
        await offer(place, bills=[f"{PARENT}/bills/{cured}"])
        refuse()
        place.now[0] += offers.PAUSE_US
        await swept(place)
        assert names(place, "REFUSED") == [other]

    acting(database_url, work)
