"""RenewPolicy over real sockets: the book's own premium, every step, every refusal at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from lipei.pricing.v1 import pricing_pb2 as pb
from lipei.pricing.v1.pricing_pb2_grpc import PricingServiceStub
from lipei.type.v1.money_pb2 import Money
from services.common.grpc_edge import Refused
from services.common.transport.channels import sync_channel
from services.pricing.core.book import Book
from services.pricing.core.incentive import LegalCap
from services.pricing.core.quote import Asked, Participation
from services.pricing.core.renewal import Expiring
from services.pricing.core.tariff import E4, Basis
from services.pricing.judging import Shelf, judged
from services.pricing.programmes.loader import example_programmes, parse_programme
from services.pricing.renewal_requests import renewal_cap, renewal_faults
from tests.identities import acting
from tests.services.pricing.at_hand import DEMO, WOMAN_52, demo_rates
from tests.services.pricing.core.reading_cases import programmes
from tests.services.pricing.fitting.renewal.books import (
    COLLAR,
    people,
    renewed_book,
    work,
    write_book,
)
from tests.services.pricing.process import serving
from tests.services.pricing.proposals import proposal
from tests.services.pricing.reading_requests import part, weeks
from tests.services.pricing.test_readings_served import (
    CAP,
    FACTS,
    INVALID,
    Stub,
    reasons,
    record,
    refused,
    stub_of,
)

_TIERS = """
outcome_tiers:
  2018-01-01: {from_months: {0: base, 3: controlled}, source: the plan}
"""
OWN_COLLAR = pb.RenewalCollar(
    least_millionths=COLLAR.least_millionths,
    greatest_millionths=COLLAR.greatest_millionths,
    source=COLLAR.source,
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose diabetes programme tells tiers, and whose other one does not."""
    folder = tmp_path_factory.mktemp("programmes")
    for file in example_programmes().glob("*.yaml"):
        more = _TIERS if file.name.startswith("diabetes") else ""
        (folder / file.name).write_text(file.read_text("utf-8") + more, "utf-8")
    told = {**CAP, "LIPEI_PRICING_PROGRAMMES": str(folder)}
    with serving(tmp_path_factory.mktemp("state"), told) as pricing:
        yield pricing.address


@pytest.fixture
def stub(target: str) -> Iterator[Stub]:
    with stub_of(target) as made:
        yield made


@pytest.fixture
def token(request: pytest.FixtureRequest) -> str:
    """A member of this test's own."""
    return "k1." + hashlib.sha256(request.node.nodeid.encode()).hexdigest()


def expiring(minor: int, last: str = "2025-12-31", currency: str = "CNY") -> pb.ExpiringPolicy:
    money = Money(currency_code=currency, minor_units=minor)
    return pb.ExpiringPolicy(last_date=last, rerated_premium_without_credit=money)


def renewing(token: str, name: str, **changes: Any) -> pb.RenewPolicyRequest:
    told: dict[str, Any] = {
        "request_id": f"{name}-{token[3:40]}",
        "parent": "policies/p-1",
        "tariff": DEMO,
        "start_date": "2026-01-01",
        "features": FACTS,
        "expiring": expiring(3_500_00),
        "collar": OWN_COLLAR,
    }
    return pb.RenewPolicyRequest(**told | changes)


def on_target(stub: Stub, token: str) -> None:
    """Three months on target one after the other."""
    for month in ("2025-03", "2025-04", "2025-05"):
        record(stub, token, *weeks(token, month, "6.0"))


# docs/pricing.md's woman without a reading: 3,706.7952 yuan before it is rounded.
def test_a_renewal_is_explained_to_the_fen_and_kept(stub: Stub, token: str) -> None:
    quote = stub.RenewPolicy(renewing(token, "r"), timeout=60).quote
    assert quote.premium == quote.premium_without_credit == quote.renewal.technical_premium
    assert quote.premium.minor_units == 3_706_80
    assert quote.renewal.least_premium.minor_units == 2_975_00
    assert quote.renewal.greatest_premium.minor_units == 4_375_00
    assert quote.renewal.expiring == expiring(3_500_00)
    assert quote.renewal.collar == OWN_COLLAR
    assert quote.renewal.outcome_tier == ""
    assert sum(step.difference_e4 for step in quote.steps) == 3_706_80 * E4
    last = [(step.step, step.cell) for step in quote.steps[-3:]]
    assert last == [("off_balance", "none given"), ("collar", "inside"), ("rounding", "")]
    assert not quote.renewal.HasField("off_balance")
    assert "no book's factor was given" in quote.steps[-3].text_en
    assert stub.GetQuote(pb.GetQuoteRequest(name=quote.name), timeout=60).quote == quote
    assert stub.RenewPolicy(renewing(token, "r"), timeout=60).quote == quote


def test_a_credit_comes_off_behind_the_collar_and_a_tier_is_told(stub: Stub, token: str) -> None:
    on_target(stub, token)
    held = renewing(token, "r", participation=part(token), expiring=expiring(2_000_00))
    quote = stub.RenewPolicy(held, timeout=60).quote
    assert quote.premium_without_credit.minor_units == 2_500_00  # the collar's upper end
    assert quote.premium.minor_units == 2_300_00  # less 8 %, the legal cap, of the 10 % earned
    assert [step.step for step in quote.steps[-5:]] == [
        *("off_balance", "collar", "rounding", "incentive", "rounding.credit")
    ]
    assert len(quote.steps[-2].evidence) == 9
    assert quote.renewal.outcome_tier == "controlled"
    # What was recorded since changes no stored renewal.
    record(stub, token, *weeks(token, "2025-06", "9.0"))
    assert stub.RenewPolicy(held, timeout=60).quote == quote


def test_whoever_controls_nothing_has_the_base_tier_and_no_credit(stub: Stub, token: str) -> None:
    quote = stub.RenewPolicy(renewing(token, "r", participation=part(token)), timeout=60).quote
    assert quote.premium == quote.premium_without_credit
    assert quote.renewal.outcome_tier == "base"


def test_a_programme_without_tiers_tells_none(stub: Stub, token: str) -> None:
    request = renewing(token, "r", participation=part(token, "hypertension-pressure"))
    request.features["condition"] = "hypertension"
    assert stub.RenewPolicy(request, timeout=60).quote.renewal.outcome_tier == ""


def test_one_policy_pays_what_its_row_of_the_renewed_book_pays(
    stub: Stub, token: str, tmp_path: Path
) -> None:
    rows = [row | {"credit_millionths": None} for row in people(30)]
    on_target(stub, token)
    rows[0] |= {"credit_millionths": 80_000, "condition": "type2_diabetes"}
    made = work(write_book(tmp_path / "book.parquet", rows), tmp_path)
    manifest, found = renewed_book(made)
    by_policy = {row["policy_id"]: row for row in found}
    source = hashlib.sha256((made.result / "manifest.json").read_bytes()).hexdigest()
    factor = pb.BookFactor(factor_billionths=manifest.off_balance_billionths, source=source)
    cells = set()
    for number, row in enumerate(rows):
        batch = by_policy[row["policy_id"]]
        request = renewing(
            token,
            f"book-{number}",
            tariff=manifest.tariff,
            parent=f"policies/{row['policy_id']}",
            features={name: str(row[name]) for name in ("age", "sex", "condition")},
            expiring=expiring(row["expiring_uncredited_minor"]),
            off_balance=factor,
            participation=part(token) if row["credit_millionths"] else None,
        )
        quote = stub.RenewPolicy(request, timeout=60).quote
        assert (
            quote.renewal.technical_premium.minor_units,
            quote.renewal.least_premium.minor_units,
            quote.renewal.greatest_premium.minor_units,
            quote.premium_without_credit.minor_units,
            quote.premium.minor_units,
        ) == tuple(
            batch[name]
            for name in (
                *("technical_minor", "least_minor", "most_minor"),
                *("uncredited_minor", "charged_minor"),
            )
        )
        assert sum(step.difference_e4 for step in quote.steps) == quote.premium.minor_units * E4
        assert quote.renewal.off_balance == factor
        cells |= {step.cell for step in quote.steps if step.step == "collar"}
    assert cells == {"least", "inside", "most"}  # the book reaches all of it
    assert (
        by_policy[rows[0]["policy_id"]]["charged_minor"]
        < (by_policy[rows[0]["policy_id"]]["uncredited_minor"])
    )


def test_a_request_id_serves_one_content_of_one_rpc(stub: Stub, token: str) -> None:
    request = renewing(token, "r")
    stub.RenewPolicy(request, timeout=60)
    for changed in (
        renewing(token, "r", expiring=expiring(3_500_01)),
        renewing(token, "r", expiring=expiring(3_500_00, last="2025-12-30")),
        renewing(token, "r", off_balance=pb.BookFactor(factor_billionths=1, source="s")),
    ):
        fault = refused(partial(stub.RenewPolicy, changed, timeout=60))
        assert fault.reason == "REQUEST_ID_REUSED"
    quote = pb.QuotePremiumRequest(
        request_id=request.request_id,
        parent=request.parent,
        tariff=request.tariff,
        start_date=request.start_date,
        features=request.features,
    )
    assert refused(lambda: stub.QuotePremium(quote, timeout=60)).reason == "REQUEST_ID_REUSED"


def test_every_fault_of_a_renewal_comes_back_at_once(stub: Stub, token: str) -> None:
    request = renewing(
        token,
        "r",
        features=WOMAN_52,
        expiring=expiring(0, last="2026-01-01", currency="USD"),
        off_balance=pb.BookFactor(factor_billionths=1_000_000_000_000),
        collar=pb.RenewalCollar(least_millionths=1, greatest_millionths=9_000_001),
    )
    fault = refused(lambda: stub.RenewPolicy(request, timeout=60))
    assert fault.code == INVALID
    assert set(reasons(fault)) == {
        ("start_date", "BEFORE_EXPIRY"),
        ("expiring.rerated_premium_without_credit.minor_units", "AMOUNT"),
        ("expiring.rerated_premium_without_credit.currency_code", "CURRENCY_DIFFERS"),
        ("off_balance.factor_billionths", "OUT_OF_RANGE"),
        ("off_balance.source", "LENGTH"),
        ("collar.least_millionths", "OUT_OF_RANGE"),
        ("collar.greatest_millionths", "OUT_OF_RANGE"),
        ("collar.source", "LENGTH"),
        ('features["hba1c_percent"]', "OUTCOME_FROM_READINGS"),
    }
    bare = pb.RenewPolicyRequest(request_id=f"b-{token[3:40]}", parent="policies/p", tariff=DEMO)
    found = set(reasons(refused(lambda: stub.RenewPolicy(bare, timeout=60))))
    assert {
        ("expiring.last_date", "BAD_DATE"),
        ("start_date", "BAD_DATE"),
        ("expiring.rerated_premium_without_credit.minor_units", "AMOUNT"),
        ("expiring.rerated_premium_without_credit.currency_code", "CURRENCY_DIFFERS"),
        ("collar", "NO_COLLAR"),
    } <= found


@pytest.mark.parametrize("minor", [-1, 0, 100_000_001])
def test_an_expiring_premium_is_an_amount(stub: Stub, token: str, minor: int) -> None:
    request = renewing(token, "r", expiring=expiring(minor))
    found = reasons(refused(lambda: stub.RenewPolicy(request, timeout=60)))
    assert found == [("expiring.rerated_premium_without_credit.minor_units", "AMOUNT")]


def test_a_tariff_that_is_not_there_or_not_in_force_renews_nothing(stub: Stub, token: str) -> None:
    other = renewing(token, "r", tariff="none-such")
    fault = refused(lambda: stub.RenewPolicy(other, timeout=60))
    assert fault.code == grpc.StatusCode.NOT_FOUND
    early = renewing(token, "r", start_date="2020-01-01", expiring=expiring(1, last="2019-12-31"))
    fault = refused(lambda: stub.RenewPolicy(early, timeout=60))
    assert (fault.code, fault.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_PRICE")
    assert reasons(fault) == [("start_date", "NOT_IN_FORCE")]


def test_an_actuary_who_reads_no_readings_renews_nobody_by_them(target: str, token: str) -> None:
    with sync_channel(target, acting("desk-insurer", "actuary"), "pricing") as channel:
        actuary = PricingServiceStub(channel)
        request = renewing(token, "r", participation=part(token))
        fault = refused(lambda: actuary.RenewPolicy(request, timeout=60))
        assert fault.reason == "ROLE_NOT_ALLOWED"
        alone = actuary.RenewPolicy(renewing(token, "r"), timeout=60).quote
        assert not alone.steps
        assert not alone.renewal.HasField("technical_premium")
        assert alone.renewal.HasField("collar")


ASKED = Asked(
    policy_id="p",
    tariff=DEMO,
    start_date="2026-01-01",
    features=dict(FACTS),
    participation=Participation(f"members/k1.{'a' * 64}", "diabetes-glucose", "Asia/Shanghai", ""),
    expiring=Expiring(last_date="2025-12-31", uncredited_minor=1, currency="USD"),
)


def test_without_a_legal_cap_that_is_told_beside_the_other_faults() -> None:
    shelf = Shelf(Book([demo_rates()]), programmes())
    with pytest.raises(Refused) as found:
        judged(shelf, ASKED, [])
    assert {violation.reason for violation in found.value.violations} == {
        *("NO_LEGAL_CAP", "NO_COLLAR", "CURRENCY_DIFFERS")
    }


def test_a_tariff_s_own_collar_and_cap_hold_and_only_narrower_ones_may_be_stated() -> None:
    tariff, _ = proposal()
    assert isinstance(tariff.basis, Basis)
    stated = Expiring(last_date="", uncredited_minor=1, currency=tariff.currency)
    assert not list(renewal_faults(stated, tariff, None, date(2026, 1, 1)))
    own = tariff.basis.collar
    wide = type(own)(
        least_millionths=own.least_millionths - 1,
        greatest_millionths=own.greatest_millionths,
        source="s",
    )
    faults = renewal_faults(
        Expiring(last_date="", uncredited_minor=1, currency=tariff.currency, collar=wide),
        tariff,
        None,
        date(2026, 1, 1),
    )
    assert [fault.reason for fault in faults] == ["WIDER_THAN_TARIFF"]
    law = LegalCap(999_999, "the law")
    own_cap = tariff.basis.credit_cap
    assert renewal_cap(law, tariff) == LegalCap(own_cap.share_millionths, own_cap.source)
    assert renewal_cap(LegalCap(1, "the law"), tariff) == LegalCap(1, "the law")
    assert renewal_cap(law, demo_rates().tariff) == law
    assert renewal_cap(None, tariff) is None


def test_a_programme_that_raises_sums_insured_renews_nobody() -> None:
    text = (example_programmes() / "diabetes-glucose.yaml").read_text("utf-8")
    taken = 'take: premium, source: "the product\'s promise (default)"'
    assert taken in text
    raising = "take: sum_insured, feature: sum, multiple_of: 1, at_most: '0.5', source: the policy"
    asked = Expiring(last_date="", uncredited_minor=1, currency="CNY", collar=COLLAR)
    for said, expected in ((text, []), (text.replace(taken, raising), ["CREDIT_AS_SUM_INSURED"])):
        programme = parse_programme(said.encode(), "p.yaml")
        found = renewal_faults(asked, demo_rates().tariff, programme, date(2026, 1, 1))
        assert [fault.reason for fault in found] == expected
