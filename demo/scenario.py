"""What one run of the demo plays: a hospital's records, policies, plans, and what must come out.

The two scenarios are the generated hospital and a folder of FHIR files. Policies leave here as the
insurer's protobuf messages; nothing here knows how a claim is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import fhir, synthea
from demo.his import Resource
from demo.hospital.hospital import BILLS, PEOPLE, Hospital, generate
from demo.hospital.insured import TIERS_CERTIFIED
from demo.hospital.people import DIABETES_PLAN, MEDICAL_PLAN, Cover, Insured
from demo.hospital.split import CLINIC, HOSPITAL
from demo.hospital.truth import End
from lipei.claims.v1 import policy_pb2

ROOT = Path(__file__).resolve().parent.parent
PLANS = ROOT / "services" / "claims" / "plans"
PROFILES = ROOT / "services" / "his_bridge" / "profiles"
SYNTHEA_PLAN = "synthea-usd"
# Before every bill.
PROVIDERS_SINCE = "2020-01-01"


# Kind and number of an identity document.
Document = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a run must show, known before it starts."""

    bills: int
    claims: int
    quarantined: int
    refused: int
    # Stay at the hospital for want of a consent; end because one is withdrawn.
    held: int = 0
    withdrawn: int = 0
    # Wait for a paper or a person; what a plan's terms read is not known before the run elsewhere.
    pended: int | None = None


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Everything that a run needs."""

    title: str
    # The source profile's id, and the hospital's in resource names.
    hospital: str
    currency: str
    seed: int | None
    plans: tuple[str, ...]
    resources: Sequence[Resource]
    # Imported in this order; a renewal comes after what it renews.
    policies: tuple[tuple[policy_pb2.Policy, ...], ...]
    expected: Expected
    # Kind and number of the documents of everybody who consents at the hospital.
    consenting: tuple[Document, ...]
    # And of those of them who withdraw it once everything has come to rest.
    withdrawing: tuple[Document, ...] = ()
    # Whom the insurer knows, so that it refuses everybody else's bills; without any it knows all.
    providers: tuple[str, ...] = ()
    # Bills outside the profile's period, which the bridge must keep out by itself.
    outside: int = 0
    # The generated hospital with the truth about every bill; None where nobody knows the truth.
    generated: Hospital | None = None


def generated(seed: int, *, people: int = PEOPLE, bills: int = BILLS) -> Scenario:
    """The demo hospital of a seed."""
    hospital = generate(seed, people=people, bills=bills)
    ends = [one.end for one in hospital.truth]
    aside, refused = ends.count(End.QUARANTINED), ends.count(End.REFUSED)
    held = ends.count(End.HELD)
    covers = hospital.roster.covers
    years = sorted({cover.last.year for cover in covers})
    return Scenario(
        title=f"示例市第一人民医院 · {people} insured people, {bills} bills in yuan, seed {seed}",
        hospital="demo-hospital",
        currency="CNY",
        seed=seed,
        plans=(MEDICAL_PLAN, DIABETES_PLAN),
        resources=fhir.resources(hospital),
        policies=tuple(
            tuple(_policy(cover) for cover in covers if cover.last.year == year) for year in years
        ),
        expected=Expected(
            bills=bills,
            claims=bills - aside - refused - held,
            quarantined=aside,
            refused=refused,
            held=held,
            withdrawn=ends.count(End.WITHDRAWN),
            pended=ends.count(End.PENDED),
        ),
        consenting=tuple(
            ("CN-ID", person.id_number)
            for person in (*hospital.roster.people, *hospital.visitors)
            if person.id_number and person not in hospital.silent
        ),
        providers=(HOSPITAL, CLINIC),
        withdrawing=tuple(("CN-ID", person.id_number or "") for person in hospital.leaving),
        generated=hospital,
    )


def from_folder(folder: Path) -> Scenario:
    """The bills of 2019 and 2020 in a folder of Synthea NDJSON.gz files, every patient insured.

    Raises: synthea.FolderRefused when a file is missing or cannot be read.
    """
    read = synthea.read(folder)
    return Scenario(
        title=f"{folder.name} · {len(read.policies[0])} insured people, {read.bills} bills in USD",
        hospital="synthea",
        currency="USD",
        seed=None,
        plans=(SYNTHEA_PLAN,),
        resources=read.resources,
        policies=read.policies,
        expected=Expected(bills=read.bills, claims=read.bills, quarantined=0, refused=0),
        consenting=tuple(
            (member.document.kind, member.document.number)
            for policy in read.policies[0]
            for member in policy.members
        ),
        outside=read.outside,
    )


def _policy(cover: Cover) -> policy_pb2.Policy:
    return policy_pb2.Policy(
        policy_id=cover.policy_id,
        plan=cover.plan,
        start_date=cover.start.isoformat(),
        last_date=cover.last.isoformat(),
        previous_policy_id=cover.previous,
        revision=1,
        effective_date=cover.start.isoformat(),
        members=[_member(one) for one in cover.insured],
        payee_accounts=[
            policy_pb2.PayeeAccount(
                holder_name=cover.holder_name,
                account_number=cover.account_number,
                bank_code=cover.bank_code,
                valid_from=cover.start.isoformat(),
            )
        ],
    )


def _member(one: Insured) -> policy_pb2.InsuredMember:
    person = one.person
    return policy_pb2.InsuredMember(
        member_id=person.key,
        document=policy_pb2.IdentityDocument(kind="CN-ID", number=person.id_number or ""),
        birth_date=person.born.isoformat(),
        sex=policy_pb2.SEX_FEMALE if person.female else policy_pb2.SEX_MALE,
        relationship=policy_pb2.Relationship.Value(f"RELATIONSHIP_{one.relationship}"),
        disclosed_conditions=[
            policy_pb2.DisclosedCondition(
                code_prefix=condition.code_prefix,
                terms=policy_pb2.PreExistingTerms.Value(f"PRE_EXISTING_TERMS_{condition.terms}"),
                share=condition.share,
            )
            for condition in one.disclosed
        ],
        social_insurance=person.social,
        outcome_tier=policy_pb2.OutcomeTier(
            tier=one.outcome_tier, certified_date=TIERS_CERTIFIED.isoformat()
        )
        if one.outcome_tier
        else None,
    )
