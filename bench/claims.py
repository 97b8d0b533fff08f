"""Decisions: the pure engine, and a batch of them stored through the settlement step."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from datetime import date
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import TypedDict

from bench.service import settled_batch
from services.claims.core import canonical
from services.claims.core.adjudicate import NO_PRIOR_PAYMENTS, adjudicate
from services.claims.core.facts import (
    BillFacts,
    CareType,
    Coding,
    CoverInterval,
    DiagnosisFacts,
    HospitalTier,
    LineFacts,
    MemberFacts,
    PolicySnapshot,
    Relationship,
    SocialInsuranceFacts,
    UsageSnapshot,
)
from services.claims.core.plan import Plan
from services.claims.plans.loader import load_plan

DECISIONS = 2_000
STORED = 200
LINES = 5
_YIBAO, _ICD = "urn:lipei:demo:yibao-code", "http://hl7.org/fhir/sid/icd-10"


class Row(TypedDict):
    """One measured path."""

    path: str
    unit: str
    ours: float
    floor: float
    ratio: float
    cpu_ms: float


def decide(_folder: Path) -> Row:
    """Pure decisions of five-line bills, beside canonical JSON of the same facts."""
    plan, policy = _plan(), _policy()
    bills = [_bill(number) for number in range(DECISIONS)]
    cpu, begun = time.process_time(), time.perf_counter()
    for bill in bills:
        adjudicate(plan, policy, UsageSnapshot(), bill)
    ours = time.perf_counter() - begun
    cpu = time.process_time() - cpu
    begun = time.perf_counter()
    for bill in bills:
        inputs = canonical.Inputs(
            plan_version="floor",
            policy=policy,
            usage=UsageSnapshot(),
            bill=bill,
            prior=NO_PRIOR_PAYMENTS,
        )
        canonical.inputs_bytes(inputs)
    floor = time.perf_counter() - begun
    return _row("decide a 5-line claim", "µs/claim", ours, floor, cpu, DECISIONS)


def settle(folder: Path) -> Row:
    """Stored decisions of one batch on SQLite, beside the same bytes in one plain table."""
    cpu = time.process_time()
    ours, stored = asyncio.run(settled_batch(folder, STORED, _plan_file()))
    cpu = time.process_time() - cpu
    plain = sqlite3.connect(folder / "floor.db", isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        plain.execute(f"PRAGMA {pragma}")
    plain.execute("CREATE TABLE decision (id INTEGER PRIMARY KEY, inputs BLOB, output BLOB)")
    begun = time.perf_counter()
    plain.execute("BEGIN IMMEDIATE")
    for inputs, output in stored:
        plain.execute("INSERT INTO decision (inputs, output) VALUES (?, ?)", (inputs, output))
    plain.execute("COMMIT")
    floor = time.perf_counter() - begun
    plain.close()
    return _row("settle a batch of 200, SQLite", "µs/claim", ours, floor, cpu, STORED)


def _row(path: str, unit: str, ours: float, floor: float, cpu: float, count: int) -> Row:
    return Row(
        path=path,
        unit=unit,
        ours=round(ours / count * 1e6, 1),
        floor=round(floor / count * 1e6, 1),
        ratio=round(ours / floor, 2),
        cpu_ms=round(cpu / count * 1e3, 3),
    )


def _plan_file() -> bytes:
    return (resources.files("services.claims") / "plans" / "million-medical.yaml").read_bytes()


def _plan() -> Plan:
    return load_plan(_plan_file(), "million-medical.yaml")


def _policy() -> PolicySnapshot:
    start, end = date(2026, 1, 1), date(2027, 1, 1)
    cover = CoverInterval(start=start, end=end, continuous_since=start)
    member = MemberFacts(
        member_id="m0",
        birth_date=date(1980, 3, 7),
        relationship=Relationship.SELF,
        cover=(cover,),
        social_insurance=True,
    )
    return PolicySnapshot(policy_id="p1", revision=1, start=start, end=end, member=member)


def _bill(number: int) -> BillFacts:
    lines = tuple(
        LineFacts(
            number=n,
            code=Coding(system=_YIBAO, code=f"XC03000000000{n:02d}"),
            quantity=Decimal(2),
            unit_price=Decimal(number + 1000 * n),
            billed=2 * 100 * (number + 1000 * n),
            fund_paid=100 * n,
        )
        for n in range(1, LINES + 1)
    )
    return BillFacts(
        bill_number=f"B{number}",
        provider_id="H99000100001",
        hospital_tier=HospitalTier.TERTIARY,
        care_type=CareType.INPATIENT,
        start_date=date(2026, 5, 4),
        end_date=date(2026, 5, 8),
        currency="CNY",
        lines=lines,
        diagnoses=(
            DiagnosisFacts(number=1, code=Coding(system=_ICD, code="J18.9"), principal=True),
        ),
        social_insurance=SocialInsuranceFacts(used=True),
    )
