"""ExplainClaim over a socket: lines, documents, what a duplicate repeats, who learns nothing."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import fhirkit
import grpc
import pytest
from pypdf import PdfReader

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import decision_pb2, explanation_pb2, reason_pb2
from lipei.type.v1 import bill_pb2
from services.claims.documents import MOST_AT_ONCE, MOST_WAITING, Documents
from services.common.grpc_edge import Refused
from tests.services.claims.core.bills import bill as core_bill
from tests.services.claims.core.bills import line as core_line
from tests.services.claims.core.bills import plan_named
from tests.services.claims.explained.telling import decided, told
from tests.services.claims.given import (
    BED,
    DRUG,
    bill,
    id_number,
    imported,
    line,
    policy,
    submission,
)
from tests.services.claims.serving import Served, served, token
from tests.services.claims.stock import Stock, insured
from tests.services.claims.test_corrections import correct
from tests.services.claims.test_erasure import SMALL, ordered
from tests.services.claims.test_reviews import paid
from tests.services.claims.test_servicer import refused
from tests.services.claims.test_tenants import desk, two_insurers
from tests.tenants import of_insurer, of_member

DOCUMENTS = [number for number in explanation_pb2.DocumentFormat.values() if number]


@pytest.fixture
def stock() -> Stock:
    return insured(1)


@pytest.fixture
def service(stocked_sqlite: str) -> Iterator[Served]:
    with served(stocked_sqlite) as running:
        yield running


def named(charge: bill_pb2.BillLine, display: str) -> bill_pb2.BillLine:
    charge.code.display = display
    return charge


def submitted(service: Served, given: bill_pb2.Bill) -> pb.Claim:
    (claim,) = service.claims.SubmitClaim(submission(given)).claims
    found: pb.Claim = claim
    return found


def explained(
    service: Served,
    name: str,
    form: explanation_pb2.DocumentFormat.ValueType = explanation_pb2.DOCUMENT_FORMAT_UNSPECIFIED,
) -> pb.ExplainClaimResponse:
    answer: pb.ExplainClaimResponse = service.claims.ExplainClaim(
        pb.ExplainClaimRequest(name=name, format=form)
    )
    return answer


def test_lines_carry_the_bills_names_the_share_in_force_and_what_each_step_leaves(
    service: Served,
) -> None:
    charges = [named(line(1, DRUG, "30000.00"), "注射用头孢曲松钠"), line(2, BED, "1200.00", "3")]
    claim = submitted(service, bill("B1", *charges, fund_paid="3000"))
    told_now = explained(service, claim.name)
    first, second = told_now.explanation.lines
    assert (first.service_name, second.service_name) == ("注射用头孢曲松钠", BED)
    assert "第 1 行 注射用头孢曲松钠" in told_now.text_zh
    assert first.share
    assert first.share_clause in told_now.text_en
    for one, stored in zip(told_now.explanation.lines, claim.decision.lines, strict=True):
        assert sum(part.amount.minor_units for part in one.parts) == one.billed.minor_units
        assert one.billed == stored.billed
        assert one.parts[-1].left.minor_units == one.benefit.minor_units
    bearers = told_now.explanation.bearers
    assert [one.bearer for one in bearers] == list(decision_pb2.Bearer.values())[1:]
    assert sum(one.amount.minor_units for one in bearers) == 3_360_000
    moved = {one.accumulator: one for one in told_now.explanation.balances}
    assert {change.accumulator for change in claim.decision.usage_changes} <= moved.keys()
    assert all(one.label.zh and one.label.en for one in moved.values())
    assert not told_now.HasField("document")


def test_balances_go_on_where_the_claim_before_ended(service: Served) -> None:
    first, second = (submitted(service, bill(f"B{n}")) for n in (1, 2))
    before = {b.accumulator: b for b in explained(service, first.name).explanation.balances}
    for one in explained(service, second.name).explanation.balances:
        assert one.before == before[one.accumulator].after
        assert one.after >= one.before


@pytest.mark.parametrize("form", DOCUMENTS, ids=explanation_pb2.DocumentFormat.Name)
def test_each_document_is_made_of_the_stored_claim(
    service: Served, form: explanation_pb2.DocumentFormat.ValueType
) -> None:
    claim = submitted(service, bill("B1", named(line(1, DRUG, "30000.00"), "注射用头孢曲松钠")))
    made = explained(service, claim.name, form).document
    assert explained(service, claim.name, form).document == made
    match made.media_type:
        case "application/fhir+json; fhirVersion=4.0":
            assert fhirkit.validate(made.content) == []
            assert json.loads(made.content)["id"] == claim.name.rpartition("/")[2]
        case "text/html; charset=utf-8":
            assert "注射用头孢曲松钠" in made.content.decode()
        case "application/pdf":
            text = PdfReader(io.BytesIO(made.content)).pages[0].extract_text()
            assert "注射用头孢曲松钠" in text
        case other:
            pytest.fail(f"an unknown media type: {other}")


def test_a_duplicate_names_the_claim_that_it_repeats(service: Served) -> None:
    first = submitted(service, bill("B1", line(1, DRUG, "30000.00")))
    second = submitted(service, bill("B2", line(1, DRUG, "30000.00"), line(2, BED, "1200.00")))
    told_now = explained(service, second.name)
    repeated, other = told_now.explanation.lines
    assert repeated.reason == reason_pb2.REASON_DUPLICATE
    assert repeated.earlier.bill_number == "B1"
    assert list(repeated.earlier.claims) == [first.name]
    assert first.name in told_now.text_zh
    assert not other.HasField("earlier")
    form = explanation_pb2.DOCUMENT_FORMAT_FHIR_EXPLANATION_OF_BENEFIT
    (related,) = json.loads(explained(service, second.name, form).document.content)["related"]
    assert related["claim"]["identifier"]["value"] == first.name


def test_another_insurers_policy_is_nowhere_in_an_explanation(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/claims.db"
    two_insurers(url)
    with desk(url) as both:
        charges = [named(line(1, DRUG, "30000.00"), "注射用头孢曲松钠")]
        with both.of(of_insurer("anxin")) as service:
            first = submitted(service, bill("B1", *charges))
        with both.of(of_insurer("taihe")) as service:
            second = submitted(service, bill("B1", *charges))
        assert (first.name.split("/")[1], second.name.split("/")[1]) == ("p1", "p2")
        member = of_member(token("CN-ID", id_number(100)))
        for caller in (of_insurer("taihe"), member):
            for form in explanation_pb2.DocumentFormat.values()[:4]:
                with both.of(caller) as service:
                    answer = explained(service, second.name, form)
                assert "another insurer" in answer.text_en
                assert b"p1" not in answer.explanation.SerializeToString()
                assert b"policies/p1" not in answer.document.content
                assert b'"p1"' not in answer.document.content
        with both.of(of_insurer("taihe")) as service:
            fault = refused(service.claims.ExplainClaim, pb.ExplainClaimRequest(name=first.name))
        assert fault.code is grpc.StatusCode.NOT_FOUND


def test_the_same_insurers_earlier_policy_is_named(service: Served) -> None:
    again = policy(2)
    again.members[0].document.number = id_number(100)
    imported(service, again)
    claims = service.claims.SubmitClaim(submission(bill("B1", line(1, DRUG, "30000.00")))).claims
    first, second = claims
    form = explanation_pb2.DOCUMENT_FORMAT_FHIR_EXPLANATION_OF_BENEFIT
    made = json.loads(explained(service, second.name, form).document.content)
    assert made["related"][0]["claim"]["identifier"]["value"] == first.name
    assert [one["focal"] for one in made["insurance"]] == [True, False]


def test_a_claim_of_which_a_part_is_to_come_back_is_explained_as_it_stands(
    service: Served,
) -> None:
    claim = paid(service, submitted(service, bill("B1", line(1, DRUG, "30000.00"))))
    correct(service, "B1", line(1, DRUG, "25000.00"))
    told = explained(service, claim.name)
    assert told.claim.state == pb.CLAIM_STATE_RECOVERY_OPEN
    assert told.text_en.startswith("Decided.")
    assert "CNY 5000.00 is still to be paid back to the insurer." in told.text_en
    assert "尚需退回保险公司 5000.00 元。" in told.text_zh
    assert "Line 1 XC0300000000001 (inpatient)" in told.text_en  # a bill without names has codes
    form = explanation_pb2.DOCUMENT_FORMAT_FHIR_EXPLANATION_OF_BENEFIT
    document = explained(service, claim.name, form).document
    eob = json.loads(document.content)
    assert (eob["status"], eob["payment"]["amount"]["value"]) == ("active", 20000)


def test_of_an_erased_person_nothing_is_explained_in_any_form(service: Served) -> None:
    claim = submitted(service, bill("B1", line(1, DRUG, SMALL)))  # nothing is owed, so it is closed
    service.claims.EraseMember(ordered())
    for form in explanation_pb2.DocumentFormat.values():
        request = pb.ExplainClaimRequest(name=claim.name, format=form)
        fault = refused(service.claims.ExplainClaim, request)
        assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ERASED")


def test_what_is_no_format_and_no_language_is_said_at_once(service: Served) -> None:
    request = pb.ExplainClaimRequest(name="policies/p1/claims/none")
    request.format, request.language = 9, 9  # type: ignore[assignment]  # a newer caller's
    fault = refused(service.claims.ExplainClaim, request)
    assert fault.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [one.field for one in fault.violations] == ["format", "language"]


def test_a_name_on_the_bill_forges_no_line_of_the_text(service: Served) -> None:
    forged = "药\n第 9 行 假：账单 0.00 元\u202e\x1b[2J"
    claim = submitted(service, bill("B1", named(line(1, DRUG, "30000.00"), forged)))
    told_now = explained(service, claim.name)
    assert "第 1 行 药 第 9 行 假：账单 0.00 元[2J" in told_now.text_zh
    assert not [one for one in told_now.text_zh.splitlines() if one.startswith("第 9 行")]


PLAN = plan_named("every-term")


def test_a_claim_of_more_lines_than_a_pdf_holds_is_told_in_other_forms() -> None:
    long = core_bill(*(core_line(n, price="1.00") for n in range(1, 502)))
    claim = told(decided(PLAN, long))
    both = explanation_pb2.DOCUMENT_LANGUAGE_UNSPECIFIED

    async def make() -> None:
        documents = Documents()
        with pytest.raises(Refused) as caught:
            await documents.make(claim, explanation_pb2.DOCUMENT_FORMAT_PDF, both)
        assert caught.value.reason == "TOO_LONG_FOR_PDF"
        page = await documents.make(claim, explanation_pb2.DOCUMENT_FORMAT_HTML, both)
        assert "501." in page.content.decode()

    asyncio.run(make())


async def in_hand(documents: Documents, wanted: int) -> None:
    while documents._in_hand != wanted:  # noqa: ASYNC110 -- it has no event to wait for
        await asyncio.sleep(0)


def test_who_comes_when_too_many_wait_is_told_to_come_again() -> None:
    claim = told(decided(PLAN, core_bill()))
    form, both = explanation_pb2.DOCUMENT_FORMAT_HTML, explanation_pb2.DOCUMENT_LANGUAGE_UNSPECIFIED

    async def crowd() -> None:
        documents, may_begin = Documents(), threading.Event()
        for _ in range(MOST_AT_ONCE):
            documents._typesetters.submit(may_begin.wait)
        waiting = [
            asyncio.create_task(documents.make(claim, form, both))
            for _ in range(MOST_AT_ONCE + MOST_WAITING)
        ]
        await in_hand(documents, MOST_AT_ONCE + MOST_WAITING)
        with pytest.raises(Refused) as caught:
            await documents.make(claim, form, both)
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        waiting.pop().cancel()  # whoever goes away gives the place to another
        await in_hand(documents, MOST_AT_ONCE + MOST_WAITING - 1)
        waiting.append(asyncio.create_task(documents.make(claim, form, both)))
        may_begin.set()
        made = await asyncio.gather(*waiting)
        assert len({one.content for one in made}) == 1
        await in_hand(documents, 0)

    asyncio.run(crowd())
