"""The settlement step on a fresh SQLite database, without sockets and without Temporal."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import select

from lipei.claims.v1 import claims_pb2, policy_pb2
from lipei.type.v1 import bill_pb2, coding_pb2, money_pb2
from services.claims.intake import check, take_in
from services.claims.main import now_us
from services.claims.messages import claim_name
from services.claims.paying import Payments
from services.claims.payout_steps import PayingAccount
from services.claims.payouts.bank import Bank
from services.claims.payouts.iso20022 import Party
from services.claims.plan_shelf import PlanShelf
from services.claims.plans.loader import load_plan
from services.claims.policy_import import import_policies
from services.claims.servicer import ClaimsParts
from services.claims.settlement import SettlementServicer
from services.claims.storage import policies
from services.claims.storage.tables import decision
from services.common.database import Database, migrate
from services.common.identity import member_token
from services.common.sealing import Sealer

_YIBAO, _ICD = "urn:lipei:demo:yibao-code", "http://hl7.org/fhir/sid/icd-10"
_LINES = 5


class Nobody:
    """Workflows that are never asked for."""

    async def decided(self, claim_name: str, claim_id: str, update_id: str) -> None:
        """Do nothing."""


async def settled_batch(
    folder: Path, count: int, plan_file: bytes
) -> tuple[float, list[tuple[bytes, bytes]]]:
    """Seconds that one SettleClaims of `count` claims took, and what it stored as bytes."""
    database = Database(f"sqlite:///{folder / 'claims.db'}")
    migrate(database, "services.claims")
    key = bytes(32)
    parts = ClaimsParts(
        database=database,
        plans=PlanShelf(),
        workflows=Nobody(),
        sealer=Sealer({"k1": key}, "k1"),
        token=lambda kind, number: member_token(kind, number, key=key, key_version="k1"),
        now_us=now_us,
    )
    debtor = Party(holder_name="Bench", account_number="62220001", bank_code="104100000004")
    paying = PayingAccount(name="main", debtor=debtor)
    payments = Payments(database, Bank("http://127.0.0.1:9"), parts.sealer, paying, now_us=now_us)
    names = _taken_in(parts, count, plan_file)
    servicer = SettlementServicer(parts, payments)
    begun = time.perf_counter()
    await database.run(servicer.settle, names)
    took = time.perf_counter() - begun
    with database.reading() as connection:
        stored = [
            (row.inputs, row.output)
            for row in connection.execute(select(decision.c.inputs, decision.c.output))
        ]
    database.close()
    return took, stored


def _taken_in(parts: ClaimsParts, count: int, plan_file: bytes) -> list[str]:
    plan = load_plan(plan_file, "bench")
    names = []
    with parts.database.writing() as connection:
        policies.store_plan(connection, plan, plan_file, 0)
        request = claims_pb2.ImportPoliciesRequest(
            request_id="bench", policies=[_policy(number) for number in range(count)]
        )
        import_policies(
            connection,
            request,
            plans=parts.plans,
            token=parts.token,
            sealer=parts.sealer,
            at_us=0,
        )
        for number in range(count):
            submission = claims_pb2.SubmitClaimRequest(
                request_id=f"bench-{number}", bill=_bill(parts, number)
            )
            taken = take_in(connection, parts.plans, submission, check(submission), number)
            names += [claim_name(*claim) for claim in taken.claims]
    return names


def _policy(number: int) -> policy_pb2.Policy:
    return policy_pb2.Policy(
        policy_id=f"p{number}",
        plan="million-medical",
        start_date="2026-01-01",
        last_date="2026-12-31",
        revision=1,
        members=[
            policy_pb2.InsuredMember(
                member_id="m0",
                document=policy_pb2.IdentityDocument(kind="CN-ID", number=f"99000{number:013d}"),
                birth_date="1980-03-07",
                relationship=policy_pb2.RELATIONSHIP_SELF,
                social_insurance=True,
            )
        ],
    )


def _bill(parts: ClaimsParts, number: int) -> bill_pb2.Bill:
    prices = [number + 1000 * n for n in range(1, _LINES + 1)]
    made = bill_pb2.Bill(
        bill_number=f"B{number}",
        provider_id="H99000100001",
        hospital_tier=bill_pb2.HOSPITAL_TIER_TERTIARY,
        kind=bill_pb2.BILL_KIND_FINAL,
        member_token=parts.token("CN-ID", f"99000{number:013d}"),
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
    made.start_time.FromJsonString("2026-05-04T04:00:00Z")
    made.end_time.FromJsonString("2026-05-08T04:00:00Z")
    return made
