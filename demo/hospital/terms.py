"""What the two plans promise, as an actuary reads them: numbers of 2025, each with its clause.

Copied by hand from services/claims/plans/million-medical.yaml and chronic-diabetes.yaml, so that
the truth rests on the text of the plans and not on any code that reads them. Amounts in fen, shares
are the insurer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

YUAN = 100

# Both plans: an examination of these groups is not paid again when the other house did the same
# within so many days, the last one included. 百万医疗 5.7 and its twin of the diabetes plan.
RECOGNISED = ("002102", "002103")
RECOGNITION_DAYS = 14
# Both plans, 3.1: so many days without benefit, none for injuries.
WAITING_DAYS = 30
INJURIES = ("S", "T")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """One plan's numbers."""

    # 百万医疗 2.4, 糖尿病 2.5.
    deductible: int
    # 糖尿病 2.5: what social insurance paid uses the deductible up.
    social_insurance_counts: bool
    # 糖尿病 2.11: per outpatient or emergency visit.
    copay: int
    # 糖尿病 2.12; None: the plan has none.
    out_of_pocket: int | None
    # Section → most in a year. 百万医疗 2.8, 2.9; 糖尿病 2.9, 2.10.
    section_ceilings: dict[str, int]
    # 百万医疗 2.7, 糖尿病 2.13.
    sum_insured: int
    # 百万医疗 2.10: most for a day in bed; None: the plan has none.
    bed_a_day: Decimal | None
    # 百万医疗 2.11; None: the plan has none.
    rehabilitation_units: int | None
    # 糖尿病 2.14: claims of outpatient and emergency visits; None: the plan has none.
    visits: int | None
    # 百万医疗 5.6, 糖尿病 5.5: above it a person looks.
    auto_pay: int


MEDICAL = Terms(
    deductible=10_000 * YUAN,
    social_insurance_counts=False,
    copay=0,
    out_of_pocket=None,
    section_ceilings={"outpatient": 20_000 * YUAN, "special drugs": 1_000_000 * YUAN},
    sum_insured=2_000_000 * YUAN,
    bed_a_day=Decimal(1000),
    rehabilitation_units=30,
    visits=None,
    auto_pay=100_000 * YUAN,
)
DIABETES = Terms(
    deductible=500 * YUAN,
    social_insurance_counts=True,
    copay=20 * YUAN,
    out_of_pocket=20_000 * YUAN,
    section_ceilings={"drugs": 6_000 * YUAN, "checks": 2_000 * YUAN},
    sum_insured=300_000 * YUAN,
    bed_a_day=None,
    rehabilitation_units=None,
    visits=60,
    auto_pay=50_000 * YUAN,
)

BEDS = "00110900"
REHABILITATION = "003402"

# 百万医疗 4.1 to 4.3 and 糖尿病 4.1: services that are not paid, by plan.
MEDICAL_EXCLUDED_SERVICES = ("001109000020000", "003105", "003114")
DIABETES_EXCLUDED_SERVICES = MEDICAL_EXCLUDED_SERVICES
# 百万医疗 4.2 to 4.4: diagnoses that are not paid.
MEDICAL_EXCLUDED_DIAGNOSES = ("K05", "Z41", "N97")
# 百万医疗 1.2: completed years of a child, the last insured one.
CHILD_LAST_AGE = 25
# 糖尿病 1.2: completed years of the person insured, the first.
DIABETES_FIRST_AGE = 18


def medical_section(code: str, care: str) -> str:
    """百万医疗 2.3, then 2.1 and 2.2.

    >>> medical_section("XL01EBD102A001010100650", "IMP")
    'special drugs'
    """
    if code.startswith("XL01"):
        return "special drugs"
    return "inpatient" if care == "IMP" else "outpatient"


def diabetes_section(code: str, care: str) -> str:
    """糖尿病 2.1 and 2.2, then 2.3 and 2.4."""
    if code.startswith("XA10"):
        return "drugs"
    if code.startswith("002503020"):
        return "checks"
    return "inpatient" if care == "IMP" else "outpatient"


def medical_share(
    section: str, *, community: bool, settled: bool, has_social_insurance: bool
) -> Decimal:
    """百万医疗 2.5 and 2.6.

    Not settled through social insurance although the member has it: 60 %. Else an outpatient line
    80 % in a tertiary hospital and 90 % in the community, any other line 100 %.
    """
    if has_social_insurance and not settled:
        return Decimal("0.60")
    if section == "outpatient":
        return Decimal("0.90") if community else Decimal("0.80")
    return Decimal("1.00")


def diabetes_share(
    tier: str, *, community: bool, settled: bool, has_social_insurance: bool
) -> Decimal:
    """糖尿病 2.6 to 2.8, by outcome tier and house."""
    if has_social_insurance and not settled:
        return Decimal("0.50")
    if tier == "controlled":
        return Decimal("0.95") if community else Decimal("0.90")
    if tier == "improving":
        return Decimal("0.85")
    return Decimal("0.90") if community else Decimal("0.75")
