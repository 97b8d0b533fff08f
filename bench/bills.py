"""The people and bills of the benchmarks: everyone holds one policy, everyone has one bill.

An inpatient bill over the yearly deductible, so that every claim is approved by the engine and owes
money. Amounts differ from bill to bill.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from demo.scenario import PLANS
from lipei.claims.v1 import claims_pb2, policy_pb2
from lipei.type.v1 import bill_pb2, coding_pb2, money_pb2

PLAN = PLANS / "million-medical.yaml"
PLAN_ID = "million-medical"
LINES, MANY_LINES = 5, 40
# Above the yearly deductible of 10,000 yuan, below what a person must look at.
_PRICE_YUAN = 3_000
_YIBAO, _ICD = "urn:lipei:demo:yibao-code", "http://hl7.org/fhir/sid/icd-10"
_DOCUMENT = "CN-ID"
_ADMITTED = datetime(2026, 5, 4, 4, tzinfo=UTC)
_MOST_POLICIES = 1_000

Token = Callable[[str, str], str]


def other_plan() -> bytes:
    """The plan's next version: a deductible of 12,000 yuan and not of 10,000."""
    old = '    values: {2024-01-01: "10000.00"}\n\nshares:'
    text = PLAN.read_text("utf-8")
    if text.count(old) != 1:
        raise RuntimeError("the plan has no deductible where the benchmark changes it")
    return text.replace(old, old.replace("10000", "12000")).encode()


def policies(count: int) -> list[list[policy_pb2.Policy]]:
    """So many policies of one member each, in imports of a size that claims takes."""
    made = [_policy(number) for number in range(count)]
    return [made[at : at + _MOST_POLICIES] for at in range(0, count, _MOST_POLICIES)]


def submission(
    token: Token, number: int, *, wait_s: int = 0, lines: int = LINES
) -> claims_pb2.SubmitClaimRequest:
    """Person `number`'s bill, to be answered with the decision within `wait_s`."""
    made = bill(number, token=token(_DOCUMENT, _number(number)), lines=lines)
    request = claims_pb2.SubmitClaimRequest(request_id=f"bench-{number}", bill=made)
    request.wait.seconds = wait_s
    return request


def bill(number: int, *, token: str = "", lines: int = LINES, days: int = 0) -> bill_pb2.Bill:
    """A bill of so many lines with the same total whatever their number, to the yuan.

    The stay lies `days` later than everybody's first one.
    """
    prices = [
        _PRICE_YUAN * LINES // lines + (number % 500 if n == 1 else 0) for n in range(1, lines + 1)
    ]
    made = bill_pb2.Bill(
        bill_number=f"B{number}",
        provider_id="H99000100001",
        hospital_tier=bill_pb2.HOSPITAL_TIER_TERTIARY,
        kind=bill_pb2.BILL_KIND_FINAL,
        member_token=token,
        care_type=bill_pb2.CARE_TYPE_INPATIENT,
        time_zone="Asia/Shanghai",
        diagnoses=[
            bill_pb2.Diagnosis(
                number=1, code=coding_pb2.Coding(system=_ICD, code="J18.9"), principal=True
            )
        ],
        lines=[
            bill_pb2.BillLine(
                number=n,
                code=coding_pb2.Coding(system=_YIBAO, code=f"XC03000000000{n:02d}"),
                quantity="1",
                unit_price=str(price),
                billed=money_pb2.Money(currency_code="CNY", minor_units=price * 100),
            )
            for n, price in enumerate(prices, start=1)
        ],
        total=money_pb2.Money(currency_code="CNY", minor_units=sum(prices) * 100),
        social_insurance=bill_pb2.SocialInsurance(used=True),
    )
    made.start_time.FromDatetime(_ADMITTED + timedelta(days=days))
    made.end_time.FromDatetime(_ADMITTED + timedelta(days=days + 4))
    return made


def _number(number: int) -> str:
    return f"99000{number:013d}"


def _policy(number: int) -> policy_pb2.Policy:
    return policy_pb2.Policy(
        policy_id=f"p{number}",
        plan=PLAN_ID,
        start_date="2026-01-01",
        last_date="2026-12-31",
        revision=1,
        members=[
            policy_pb2.InsuredMember(
                member_id="m0",
                document=policy_pb2.IdentityDocument(kind=_DOCUMENT, number=_number(number)),
                birth_date="1980-03-07",
                relationship=policy_pb2.RELATIONSHIP_SELF,
                social_insurance=True,
            )
        ],
        payee_accounts=[
            policy_pb2.PayeeAccount(
                holder_name="Bench",
                account_number=f"6990{number:011d}8",
                bank_code="999290000018",
                valid_from="2026-01-01",
            )
        ],
    )
