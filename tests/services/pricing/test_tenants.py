"""What is another tenant's does not exist: for every rpc of pricing, on both databases.

`anxin` has quoted for ANNA's part in the programme, the partner `steps` records for her, and the
hospital `general` has handed a reading in. BEN is nobody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message
from sqlalchemy import text

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.type.v1 import access_pb2, money_pb2
from services.common.access.caller import Caller, calling_as
from services.common.access.masking import mask
from services.common.access.records import shown
from services.common.access.tenant import INSTALLATION, Kind, Tenant
from services.common.database import Database
from services.common.refusals import Refused, status_of
from services.common.sealing import SubjectKeys
from services.pricing.core.book import Book
from services.pricing.core.incentive import LegalCap
from services.pricing.core.tariff import canonical_bytes
from services.pricing.judging import Shelf
from services.pricing.servicer import FULL_NAME, PricingServicer, Stores
from services.pricing.storage.erasure import Erasures
from services.pricing.storage.quotes import QuoteStore
from services.pricing.storage.readings import ReadingStore
from services.pricing.storage.registry import RegistryStore
from tests.schemas import with_tables
from tests.services.common.sealing.keys import subject_keys
from tests.services.pricing.at_hand import DEMO, WOMAN_52, demo_rates
from tests.services.pricing.core.reading_cases import programmes
from tests.services.pricing.medication_calls import clearing, fill, handing_out
from tests.services.pricing.reading_requests import part, reading, recording, typed, weeks
from tests.services.pricing.stores import health_stores
from tests.tenants import of_hospital, of_installation, of_insurer, of_member, of_partner

ANNA, BEN, NEVER = (f"k1.{letter * 64}" for letter in "abc")
NOW = datetime(2025, 12, 1, tzinfo=UTC)
FACTS = {name: value for name, value in WOMAN_52.items() if name != "hba1c_percent"}
MINE, THEIRS = of_insurer("anxin"), of_insurer("taihe")
STEPS, OTHERS = of_partner("steps"), of_partner("others")
NOBODY: Any = None
M = TypeVar("M", bound=Message)


class Service:
    """The servicer on a real database, called as somebody."""

    def __init__(self, database: Database, keys: SubjectKeys) -> None:
        quotes = QuoteStore(database, keys)
        rates = demo_rates()
        quotes.keep_tariff(rates.version, canonical_bytes(rates.tariff), 1)
        self.readings = ReadingStore(database, keys)
        shelf = Shelf(Book([rates]), programmes(), cap=LegalCap(80_000, "a regulation"))
        erasures, registry = Erasures(database, keys), RegistryStore(database)
        more = health_stores(database, keys)
        stores = Stores(quotes, self.readings, erasures, registry, *more)
        self._servicer = PricingServicer(shelf, database, stores, now=lambda: NOW)

    def answer(self, caller: Caller, request: Message) -> Any:
        """The answer.

        Raises: Refused.
        """

        async def called() -> Any:
            rpc = type(request).__name__.removesuffix("Request")
            with calling_as(caller):
                return await getattr(self._servicer, rpc)(request, NOBODY)

        return asyncio.run(called())

    def streamed(self, caller: Caller, batch: pb.RecordReadingsRequest) -> Any:
        """The only answer to a stream of one batch."""

        async def called() -> Any:
            async def sent() -> AsyncIterator[pb.StreamReadingsRequest]:
                yield pb.StreamReadingsRequest(request_id=batch.request_id, readings=batch.readings)

            with calling_as(caller):
                return [one async for one in self._servicer.StreamReadings(sent(), NOBODY)]

        (answer,) = asyncio.run(called())
        return answer

    def told(self, caller: Caller, request: Message) -> bytes:
        """The answer's bytes, or the refusal's as they go over the wire."""
        try:
            said: bytes = self.answer(caller, request).SerializeToString(deterministic=True)
        except Refused as refused:
            return status_of(refused).SerializeToString()
        return said


@pytest.fixture
def service(database_url: str) -> Iterator[Service]:
    database = with_tables(database_url, "services.pricing", threads=2)
    made = Service(database, subject_keys(database))
    made.answer(STEPS, recording("steps", weeks(ANNA, "2025-03", "6.0")))
    low = reading(ANNA, "lab-1", "glucose", "3.0", "2025-04-01 07:00", by="LABORATORY")
    made.answer(of_hospital(), recording("hospital", [low]))
    yield made
    database.close()


def quoting(token: str, request_id: str = "q", policy: str = "p1") -> pb.QuotePremiumRequest:
    return pb.QuotePremiumRequest(
        request_id=request_id,
        parent=f"policies/{policy}",
        tariff=DEMO,
        start_date="2026-01-01",
        features=FACTS,
        participation=part(token, expiring_start_date="2025-01-01"),
    )


def renewing(token: str, request_id: str = "r", policy: str = "p1") -> pb.RenewPolicyRequest:
    quote = quoting(token, request_id, policy)
    return pb.RenewPolicyRequest(
        request_id=request_id,
        parent=quote.parent,
        tariff=quote.tariff,
        start_date=quote.start_date,
        features=FACTS,
        participation=quote.participation,
        expiring=pb.ExpiringPolicy(
            last_date="2025-12-31",
            rerated_premium_without_credit=money_pb2.Money(
                currency_code="CNY", minor_units=350_000
            ),
        ),
        collar=pb.RenewalCollar(
            least_millionths=850_000, greatest_millionths=1_250_000, source="a test"
        ),
    )


def assessing(token: str) -> pb.AssessMemberRequest:
    return pb.AssessMemberRequest(participation=part(token), renewal_date="2026-01-01")


def targeting(token: str, request_id: str = "t") -> pb.SetPersonalTargetRequest:
    return pb.SetPersonalTargetRequest(
        request_id=request_id,
        member=f"members/{token}",
        measure=pb.MEASURE_HBA1C,
        start_date="2026-01-01",
        target=pb.Target(below="8.0"),
        doctor_id="d",
        reason="r",
    )


def erasing(token: str, request_id: str = "e") -> pb.EraseMemberRequest:
    return pb.EraseMemberRequest(request_id=request_id, member=f"members/{token}")


def tasks(parent: str) -> pb.ListCoachTasksRequest:
    return pb.ListCoachTasksRequest(parent=f"members/{parent}")


def filled(service: Service, caller: Caller) -> int:
    """Slots of months in which the caller sees a reading of ANNA's."""
    found = service.answer(caller, assessing(ANNA)).incentive
    return sum(month.slots_filled for month in found.months)


def test_every_rpc_of_pricing_is_tried_here() -> None:
    tried = {"QuotePremium", "GetQuote", "RecordReadings", "SetPersonalTarget", "AssessMember"}
    tried |= {"RenewPolicy", "ListCoachTasks", "EraseMember", "ClearFlag", "RecordMedication"}
    tried |= {"StreamReadings"}
    methods = pb.DESCRIPTOR.services_by_name[FULL_NAME.rpartition(".")[2]].methods
    assert {method.name for method in methods} == tried


@pytest.mark.on_postgresql
def test_another_insurers_quote_is_like_one_that_never_was(service: Service) -> None:
    made = service.answer(MINE, quoting(ANNA)).quote
    another_s_is_like_none(service, made)


def test_another_insurers_renewal_is_like_one_that_never_was(service: Service) -> None:
    made = service.answer(MINE, renewing(ANNA)).quote
    another_s_is_like_none(service, made)
    theirs = service.answer(THEIRS, renewing(BEN)).quote
    assert theirs.name != made.name
    assert service.answer(MINE, erasing(ANNA)).quote_count == 1
    told = service.told(MINE, pb.GetQuoteRequest(name=made.name))
    assert b"ERASED" in told
    assert service.answer(THEIRS, pb.GetQuoteRequest(name=theirs.name)).quote == theirs


def another_s_is_like_none(service: Service, made: pb.Quote) -> None:
    """Whoever may not see a quote is told what they are told of none."""
    assert service.answer(MINE, pb.GetQuoteRequest(name=made.name)).quote == made
    assert service.answer(of_installation(), pb.GetQuoteRequest(name=made.name)).quote == made
    never = f"policies/p9/quotes/{'0' * 32}"
    for caller in (THEIRS, STEPS, of_hospital(), of_member(ANNA)):
        told = service.told(caller, pb.GetQuoteRequest(name=made.name))
        assert told.replace(made.name.encode(), never.encode()) == service.told(
            caller, pb.GetQuoteRequest(name=never)
        )
        assert b"no such quote" in told


def test_two_insurers_may_use_one_request_id_and_one_policy_id(service: Service) -> None:
    mine = service.answer(MINE, quoting(ANNA, "same")).quote
    theirs = service.answer(THEIRS, quoting(BEN, "same")).quote
    assert mine.name != theirs.name
    assert service.answer(MINE, quoting(ANNA, "same")).quote == mine
    service.answer(OTHERS, recording("steps", weeks(BEN, "2025-03", "6.0")))
    service.answer(STEPS, targeting(ANNA, "same"))
    service.answer(OTHERS, targeting(BEN, "same"))


@pytest.mark.on_postgresql
def test_a_member_who_is_not_the_callers_is_like_one_who_never_was(
    service: Service, subtests: pytest.Subtests
) -> None:
    service.answer(MINE, quoting(ANNA))
    asked: dict[str, Callable[[str], Message]] = {
        "AssessMember": assessing,
        "ListCoachTasks": tasks,
        "SetPersonalTarget": targeting,
        "EraseMember": erasing,
    }
    for name, request in asked.items():
        for caller in (THEIRS, OTHERS, of_hospital(), of_hospital("rural"), of_member(BEN)):
            if name in ("SetPersonalTarget", "EraseMember") and caller.hospital == "general":
                continue  # it has recorded for her
            with subtests.test(rpc=name, caller=caller.uri):
                told = service.told(caller, request(ANNA)).replace(ANNA.encode(), NEVER.encode())
                assert told == service.told(caller, request(NEVER))
    for caller in (MINE, STEPS, of_member(ANNA), of_installation()):
        with subtests.test(owner=caller.uri):
            assert service.answer(caller, tasks(ANNA)).tasks
            assert filled(service, caller) == 3
    # Negative control: without the filter the same look-up finds the readings.
    first, after = NOW.date().replace(month=1), NOW.date()
    his = Tenant(Kind.MEMBER, BEN)
    assert service.readings.readings_of(his, ANNA, first, after) == []
    assert service.readings.readings_of(INSTALLATION, ANNA, first, after)
    assert service.answer(MINE, erasing(ANNA)).quote_count == 1


@pytest.mark.on_postgresql
def test_lists_hold_the_tenants_own_members_only(service: Service) -> None:
    service.answer(
        OTHERS, recording("x", [reading(BEN, "1", "glucose", "3.1", "2025-04-02 07:00")])
    )
    whose = {
        caller.uri: [task.name.split("/")[1] for task in service.answer(caller, tasks("-")).tasks]
        for caller in (STEPS, OTHERS, MINE, of_hospital(), of_member(BEN), of_installation())
    }
    assert list(whose.values()) == [[ANNA], [BEN], [], [], [BEN], [ANNA, BEN]]
    service.answer(MINE, quoting(ANNA))
    assert [t.name.split("/")[1] for t in service.answer(MINE, tasks("-")).tasks] == [ANNA]


@pytest.mark.both_databases
def test_a_page_token_of_another_tenant_is_refused(service: Service) -> None:
    more = reading(ANNA, "2", "glucose", "3.1", "2025-04-02 07:00")
    service.answer(STEPS, recording("x", [more]))
    request = pb.ListCoachTasksRequest(parent="members/-", page_size=1)
    request.page_token = service.answer(STEPS, request).next_page_token
    assert len(service.answer(STEPS, request).tasks) == 1
    for caller in (OTHERS, MINE, of_installation()):
        assert b"FOREIGN_PAGE_TOKEN" in service.told(caller, request)


def test_a_member_writes_about_nobody_else(service: Service) -> None:
    for token in (ANNA, NEVER):
        for request in (recording("w", typed(weeks(token, "2025-05", "6.0"))), targeting(token)):
            told = service.told(of_member(BEN), request)
            assert told.replace(token.encode(), NEVER.encode()) == (
                service.told(of_member(BEN), type(request).FromString(_renamed(request, token)))
            )
            assert b"no such member" in told
    assert service.answer(of_member(BEN), recording("w", typed(weeks(BEN, "2025-05", "6.0"))))


def _renamed(request: Message, token: str) -> bytes:
    return request.SerializeToString().replace(token.encode(), NEVER.encode())


def test_whoever_records_under_anothers_name_learns_nothing_of_it(service: Service) -> None:
    same, other = weeks(ANNA, "2025-03", "6.0"), weeks(ANNA, "2025-03", "9.9")
    for caller in (of_hospital(), OTHERS, of_member(ANNA)):
        said = typed if caller == of_member(ANNA) else list
        right, wrong = (
            service.told(caller, recording(f"{n}", said(r))) for n, r in ((1, same), (2, other))
        )
        assert right == wrong
        assert b"READING_DIFFERS" in right
        right, wrong = (
            service.streamed(caller, recording(f"s{n}", said(r))).fault.SerializeToString()
            for n, r in ((1, same), (2, other))
        )
        assert right == wrong
        assert b"READING_DIFFERS" in right
    assert service.answer(STEPS, recording("again", same)).known_count == len(same)
    assert service.streamed(STEPS, recording("anew", same)).recorded.known_count == len(same)


@pytest.mark.on_postgresql
def test_an_erasure_takes_only_the_insurers_quotes(service: Service) -> None:
    plain = [
        service.answer(caller, _without_part(quoting(ANNA))).quote for caller in (MINE, THEIRS)
    ]
    request = pb.EraseMemberRequest(
        request_id="e", member=f"members/{NEVER}", policies=["policies/p1"]
    )
    assert service.answer(MINE, request).quote_count == 1
    assert b"ERASED" in service.told(MINE, pb.GetQuoteRequest(name=plain[0].name))
    assert service.answer(THEIRS, pb.GetQuoteRequest(name=plain[1].name)).quote == plain[1]
    # Somebody else's member is not forgotten by it.
    assert service.answer(STEPS, tasks(ANNA)).tasks


def test_an_insurer_erases_its_quotes_and_nothing_that_others_hold(service: Service) -> None:
    mine, theirs = (service.answer(caller, quoting(ANNA)).quote for caller in (MINE, THEIRS))
    done = service.answer(MINE, erasing(ANNA))
    assert (done.destroyed_key_count, done.quote_count, done.reading_count) == (1, 1, 0)
    assert b"ERASED" in service.told(MINE, pb.GetQuoteRequest(name=mine.name))
    assert service.answer(THEIRS, pb.GetQuoteRequest(name=theirs.name)).quote == theirs
    assert filled(service, STEPS) == filled(service, of_member(ANNA)) == 3
    assert service.answer(STEPS, tasks(ANNA)).tasks
    assert service.told(MINE, tasks(ANNA)) == service.told(MINE, tasks(NEVER))
    # It may begin anew, and finds nothing of its own from before.
    again = service.answer(MINE, quoting(ANNA, "again")).quote
    assert service.answer(MINE, erasing(ANNA, "e2")).quote_count == 1
    assert b"ERASED" in service.told(MINE, pb.GetQuoteRequest(name=again.name))


def test_a_hospital_and_a_partner_erase_what_they_alone_have_recorded(service: Service) -> None:
    general, lab = of_hospital(), reading(BEN, "lab", "hba1c", "6.0", "2025-04-01 07:00")
    service.answer(general, recording("ben", [lab]))
    done = service.answer(general, erasing(BEN))
    assert (done.destroyed_key_count, done.reading_count) == (1, 1)
    told = service.told(general, erasing(BEN, "e2"))
    assert told == service.told(general, erasing(NEVER, "e2"))
    done = service.answer(STEPS, erasing(ANNA))
    assert (done.destroyed_key_count, done.reading_count, done.coach_task_count) == (1, 3, 0)
    found = service.answer(of_member(ANNA), assessing(ANNA)).incentive
    assert sum(month.slots_filled for month in found.months) == 0
    assert len(service.answer(of_member(ANNA), tasks(ANNA)).tasks) == 1  # the hospital's is left
    # The name is free again for its recorder, and its old content stays gone.
    other = weeks(ANNA, "2025-03", "9.9")
    assert service.answer(STEPS, recording("anew", other)).recorded_count == 3


def test_a_member_erases_what_everybody_recorded_and_no_insurers_quote(service: Service) -> None:
    made = service.answer(MINE, quoting(ANNA)).quote
    assert b"no such member" in service.told(of_member(BEN), erasing(ANNA))
    done = service.answer(of_member(ANNA), erasing(ANNA))
    assert (done.destroyed_key_count, done.reading_count, done.coach_task_count) == (2, 4, 1)
    assert service.answer(of_member(ANNA), tasks(ANNA)) == pb.ListCoachTasksResponse()
    assert filled(service, MINE) == 0
    assert service.answer(MINE, pb.GetQuoteRequest(name=made.name)).quote == made
    assert service.answer(MINE, erasing(ANNA)).quote_count == 1
    assert b"no such member" in service.told(MINE, erasing(ANNA, "e2"))


def test_an_erasure_by_the_member_is_nobodys_in_particular(
    service: Service, database_url: str
) -> None:
    service.answer(of_member(ANNA), erasing(ANNA))
    service.answer(MINE, quoting(ANNA))
    service.answer(MINE, erasing(ANNA))
    with closing(Database(database_url, threads=1)) as database, database.reading() as rows:
        told = rows.execute(text("SELECT tenant FROM erasure ORDER BY tenant")).scalars().all()
    # Not even a hash of the token, which anybody could compare with a guessed one's.
    assert told == ["insurer/anxin", "member"]


def test_policies_are_an_insurers_to_name(service: Service) -> None:
    request = erasing(ANNA)
    request.policies.append("policies/p1")
    assert b"DOES_NOT_FIT" in service.told(of_hospital(), request)
    assert service.answer(of_hospital(), erasing(ANNA)).reading_count == 1


def test_the_way_from_the_token_goes_with_the_last_that_is_held(
    service: Service, database_url: str
) -> None:
    def led_to() -> tuple[int, int]:
        with closing(Database(database_url, threads=1)) as database, database.reading() as rows:
            return tuple(
                rows.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                for table in (
                    "member WHERE token_index IS NOT NULL",
                    "holding WHERE member IS NOT NULL",
                )
            )

    assert led_to() == (1, 2)
    service.answer(STEPS, erasing(ANNA))
    assert led_to() == (1, 1)
    service.answer(of_hospital(), erasing(ANNA))
    assert led_to() == (0, 0)


def test_whoever_is_shown_a_quote_has_read_the_members_months(service: Service) -> None:
    response = service.answer(MINE, quoting(ANNA))
    assert shown(response, 3).records == {response.quote.name: 3, f"members/{ANNA}": 3}
    assert shown(service.answer(STEPS, assessing(ANNA)), 3).records == {f"members/{ANNA}": 3}
    withheld = set(mask(response, 2))
    assert {"quote.premium_without_credit", "quote.incentive.credit_millionths"} <= withheld
    assert shown(response, 2).records == {}
    assert response.quote.HasField("premium")


def test_who_reads_no_readings_prices_by_none(service: Service) -> None:
    roles = frozenset({access_pb2.ROLE_ACTUARY})
    told = service.told(replace(MINE, roles=roles), quoting(ANNA))
    assert told == service.told(replace(MINE, roles=roles), quoting(NEVER))
    assert b"ROLE_NOT_ALLOWED" in told
    plain = _without_part(quoting(ANNA))
    assert service.answer(replace(MINE, roles=roles), plain).quote.premium.minor_units


def heaped(service: Service) -> str:
    """The flag of twenty readings of ANNA's that end in nought, all inside the target."""
    many = [
        reading(ANNA, f"z{n}", "fasting", "6.0", f"2025-0{n // 10 + 5}-{n % 10 + 11} 07:00")
        for n in range(20)
    ]
    service.answer(STEPS, recording("noughts", many))
    found = service.answer(STEPS, assessing(ANNA)).incentive
    flags = {one.code: str(one.flag) for one in found.flags}
    return flags[pb.FLAG_CODE_DIGIT_PREFERENCE]


def is_cleared(service: Service, caller: Caller, flag: str) -> bool:
    found = service.answer(caller, assessing(ANNA)).incentive
    return flag in {one.flag for one in found.flags if one.cleared}


def test_what_an_insurers_person_clears_is_cleared_for_it_and_for_the_member(
    service: Service,
) -> None:
    flag = heaped(service)
    for insurer in (MINE, THEIRS):
        service.answer(insurer, quoting(ANNA, insurer.insurer or ""))
    assert not is_cleared(service, MINE, flag)
    service.answer(MINE, clearing(ANNA, flag))
    assert is_cleared(service, MINE, flag)
    assert is_cleared(service, of_member(ANNA), flag)
    for caller in (THEIRS, STEPS):
        assert not is_cleared(service, caller, flag)


def test_another_insurers_member_has_no_flag_to_clear(service: Service) -> None:
    flag = heaped(service)
    told = service.told(THEIRS, clearing(ANNA, flag))
    assert told == service.told(THEIRS, clearing(NEVER, flag))
    assert b"no such flag" in told


@pytest.mark.on_postgresql
def test_an_events_name_that_somebody_else_took_is_taken(service: Service) -> None:
    mine = handing_out("m", [fill(ANNA, "f", "2025-03-01")])
    assert service.answer(STEPS, mine).recorded_count == 1
    assert service.answer(STEPS, mine).recorded_count == 1
    for caller in (OTHERS, of_hospital()):
        assert b"EVENT_DIFFERS" in service.told(caller, mine)
    other = handing_out("n", [fill(ANNA, "f", "2025-03-01", 31)])
    assert b"EVENT_DIFFERS" in service.told(STEPS, other)
    theirs = handing_out("o", [fill(ANNA, "g", "2025-03-01")])
    theirs.events[0].ClearField("receive_time")
    assert b"no such member" in service.told(of_member(BEN), theirs)
    assert service.answer(of_member(ANNA), theirs).recorded_count == 1


def _without_part(request: pb.QuotePremiumRequest) -> pb.QuotePremiumRequest:
    request.ClearField("participation")
    request.features["hba1c_percent"] = "7.2"
    return request
