"""Bills, policies and requests as tests give them: only what matters is named."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from lipei.claims.v1 import claims_pb2, policy_pb2
from lipei.type.v1 import bill_pb2, coding_pb2, money_pb2
from services.common.money import round_half_up
from tests.services.claims.serving import Served, token

PLANS = Path(__file__).parents[3] / "services" / "claims" / "plans"
PLAN = "million-medical"
ICD_10, YIBAO = "http://hl7.org/fhir/sid/icd-10", "urn:lipei:demo:yibao-code"
HOSPITAL = "H99000100001"
DRUG, BED, SCAN = "XC0300000000001", "001109000010000", "002200000010000"


def id_number(person: int) -> str:
    """A synthetic document number; 990001 is no existing area."""
    return f"9900011980{person:07d}X"


def policy(number: int = 1, *, people: int = 1, **changes: Any) -> policy_pb2.Policy:
    """A policy over 2026 that renews none; people count on from the policy's number × 100."""
    made = policy_pb2.Policy(
        policy_id=f"p{number}",
        plan=PLAN,
        start_date="2026-01-01",
        last_date="2026-12-31",
        revision=1,
        members=[
            policy_pb2.InsuredMember(
                member_id=f"m{i}",
                document=policy_pb2.IdentityDocument(
                    kind="CN-ID", number=id_number(number * 100 + i)
                ),
                birth_date="1980-03-07",
                sex=policy_pb2.SEX_FEMALE,
                relationship=policy_pb2.RELATIONSHIP_SPOUSE if i else policy_pb2.RELATIONSHIP_SELF,
                social_insurance=True,
            )
            for i in range(people)
        ],
        payee_accounts=[
            policy_pb2.PayeeAccount(
                holder_name="王小明",
                account_number=f"62220000{number:08d}",
                bank_code="104100000004",
                valid_from="2026-01-01",
            )
        ],
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def yuan(amount: str | int) -> money_pb2.Money:
    """Yuan as a message."""
    return money_pb2.Money(
        currency_code="CNY", minor_units=round_half_up(Decimal(amount).scaleb(2))
    )


def line(number: int, code: str, price: str, quantity: str = "1") -> bill_pb2.BillLine:
    """One charge."""
    return bill_pb2.BillLine(
        number=number,
        code=coding_pb2.Coding(system=YIBAO, code=code),
        quantity=quantity,
        unit_price=price,
        billed=yuan(str(Decimal(price) * Decimal(quantity))),
    )


def bill(
    number: str,
    *lines: bill_pb2.BillLine,
    person: int = 100,
    days: tuple[str, str] = ("2026-05-04", "2026-05-08"),
    fund_paid: str = "0",
    care_type: bill_pb2.CareType.ValueType = bill_pb2.CARE_TYPE_INPATIENT,
) -> bill_pb2.Bill:
    """A final inpatient bill of a tertiary hospital, settled through social insurance."""
    made = bill_pb2.Bill(
        bill_number=number,
        provider_id=HOSPITAL,
        hospital_tier=bill_pb2.HOSPITAL_TIER_TERTIARY,
        kind=bill_pb2.BILL_KIND_FINAL,
        member_token=token("CN-ID", id_number(person)),
        care_type=care_type,
        time_zone="Asia/Shanghai",
        diagnoses=[
            bill_pb2.Diagnosis(
                number=1, code=coding_pb2.Coding(system=ICD_10, code="J18.9"), principal=True
            )
        ],
        lines=lines or [line(1, DRUG, "30000.00")],
        social_insurance=bill_pb2.SocialInsurance(used=True, fund_paid=yuan(fund_paid)),
    )
    for field, day in zip(("start_time", "end_time"), days, strict=True):
        noon = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=4)
        getattr(made, field).FromDatetime(noon)
    total = sum(charge.billed.minor_units for charge in made.lines)
    made.total.CopyFrom(money_pb2.Money(currency_code="CNY", minor_units=total))
    return made


def submission(
    given: bill_pb2.Bill, *, wait_s: float = 5.0, request_id: str = ""
) -> claims_pb2.SubmitClaimRequest:
    """Hand the bill in and wait for the decision."""
    wait = Duration()
    wait.FromNanoseconds(int(wait_s * 1e9))
    return claims_pb2.SubmitClaimRequest(
        request_id=request_id or uuid.uuid4().hex, bill=given, wait=wait
    )


def publish(service: Served, plan: str = PLAN) -> str:
    """Publish an example plan; its version."""
    answer = service.claims.PublishPlan(
        claims_pb2.PublishPlanRequest(
            request_id=uuid.uuid4().hex, yaml=(PLANS / f"{plan}.yaml").read_bytes()
        )
    )
    return str(answer.plan_version)


def imported(
    service: Served, *policies: policy_pb2.Policy, dry_run: bool = False, request_id: str = ""
) -> claims_pb2.ImportPoliciesResponse:
    """Import policies."""
    answer: claims_pb2.ImportPoliciesResponse = service.claims.ImportPolicies(
        claims_pb2.ImportPoliciesRequest(
            request_id=request_id or uuid.uuid4().hex, policies=policies, dry_run=dry_run
        )
    )
    return answer
