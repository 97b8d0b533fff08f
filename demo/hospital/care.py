"""What the demo hospital does for which disease: the lines of a visit, before any price is drawn.

Plain clinical habit, not guidelines; stays are in wards.py. Knows no patient and no money.
"""

from __future__ import annotations

from dataclasses import dataclass

# Short names of service codes, so that a treatment reads on one screen.
VISIT, EXPERT, EMERGENCY = "001102000010000", "001102000020000", "001102000030000"
ROUND, REFILL, ONLINE = "001102000050000", "001102000990000", "001102000070000"
BED, VIP_BED, ICU_BED = "001109000010000", "001109000020000", "001109000030000"
NURSING_1, NURSING_2 = "001201000010000", "001201000020000"
RESCUE, INFUSION, INFUSION_SET = "001202000010000", "001204000060000", "C1402010020000010007"
DR, LUMBAR_MR, CHEST_CT, BELLY_CT, HEAD_CT, ULTRASOUND = (
    "002101020150000",
    "002102000010000",
    "002103000010000",
    "002103000020000",
    "002103000030000",
    "002203010010000",
)
BLOOD, URINE, GLUCOSE, HBA1C = (
    "002501010150000",
    "002501020350000",
    "002503020010000",
    "002503020030000",
)
LIPIDS, KIDNEY, LIVER, ECG = (
    "002503030010000",
    "002503070010000",
    "002503050010000",
    "003107010010000",
)
TROPONIN, MARKERS, RADIOTHERAPY = "002503060020000", "002504040050000", "002401000050000"
VENTILATOR, REHABILITATION, ANAESTHESIA = "003106030010000", "003402000200000", "003301000050000"
CLEANING, IMPLANT, LASER = "003105030010000", "003105190010000", "003114000990000"
GALLBLADDER, APPENDIX, PCI, NAILING = (
    "003310060020000",
    "003310040200000",
    "003308020100000",
    "003315060200000",
)
STENT, NAIL = "C0203010010000010001", "C0301020030000020014"
METFORMIN, DAPAGLIFLOZIN, GLARGINE, SITAGLIPTIN = (
    "XA10BAE046A001010100483",
    "XA10BKD015A001010100117",
    "XA10AEG058B002010200926",
    "XA10BHX037A001010100305",
)
AMLODIPINE, VALSARTAN, ATORVASTATIN, ASPIRIN = (
    "XC08CAA126A001010100774",
    "XC09CAX029A001010100612",
    "XC10AAA240A001010100551",
    "XB01ACA055A001010100230",
)
AMOXICILLIN, CEFTRIAXONE, IBUPROFEN, OMEPRAZOLE = (
    "XJ01CAA041A001010100091",
    "XJ01DDT063B001010100418",
    "XM01AEB117A001010100266",
    "XA02BCA214A001010100842",
)
SMECTITE, OINTMENT, OSELTAMIVIR = (
    "XA07BCM108P001010100521",
    "XD07ACM154F001010100390",
    "XJ05AHA215A001010100153",
)
SALINE, TARGETED, IMMUNE, LYSIS, LIANHUA = (
    "XB05BBL205B020010100337",
    "XL01EBD102A001010100650",
    "XL01FFX214B001010100777",
    "XB01ADT211B001010100419",
    "ZA01BAL0056010100728",
)


@dataclass(frozen=True, kw_only=True)
class Use:
    """One service of a treatment: how many, how often, and whether every day of a stay."""

    code: str
    least: int = 1
    most: int = 1
    chance: float = 1.0
    daily: bool = False


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """What is done for one disease; care is AMB, EMER, IMP, REFILL or ONLINE; nights in a stay."""

    name: str
    care: str
    diseases: tuple[str, ...]
    nights: tuple[int, int] = (0, 0)
    uses: tuple[Use, ...]
    # At least so old, and at most.
    ages: tuple[int, int] = (0, 120)
    # How often it happens beside the others of its care.
    weight: int = 1
    # Three times as often from November to February as in other months.
    winter: bool = False
    # The community clinic does it too.
    clinic: bool = False


def once(*codes: str, chance: float = 1.0) -> tuple[Use, ...]:
    """Each of these services once, if at all."""
    return tuple(Use(code=code, chance=chance) for code in codes)


VISITS: tuple[Treatment, ...] = (
    Treatment(
        name="a cold",
        care="AMB",
        diseases=("J06.9",),
        weight=5,
        winter=True,
        clinic=True,
        uses=(*once(VISIT, BLOOD), Use(code=LIANHUA, most=3), Use(code=IBUPROFEN, chance=0.5)),
    ),
    Treatment(
        name="bronchitis",
        care="AMB",
        diseases=("J20.9",),
        weight=3,
        winter=True,
        uses=(*once(VISIT, BLOOD), *once(DR, chance=0.6), Use(code=AMOXICILLIN, least=1, most=2)),
    ),
    Treatment(
        name="influenza",
        care="AMB",
        diseases=("J11.1",),
        weight=2,
        winter=True,
        clinic=True,
        uses=(*once(VISIT, BLOOD, OSELTAMIVIR), Use(code=IBUPROFEN, chance=0.6)),
    ),
    Treatment(
        name="an upset stomach",
        care="AMB",
        diseases=("A09.9",),
        weight=2,
        clinic=True,
        uses=(*once(VISIT, BLOOD), Use(code=SMECTITE, most=2)),
    ),
    Treatment(
        name="eczema",
        care="AMB",
        diseases=("L30.9",),
        weight=2,
        clinic=True,
        uses=(*once(VISIT), Use(code=OINTMENT, most=3)),
    ),
    Treatment(
        name="low back pain",
        care="AMB",
        diseases=("M54.5",),
        ages=(25, 120),
        uses=(*once(EXPERT), *once(LUMBAR_MR, chance=0.4), Use(code=IBUPROFEN, most=2)),
    ),
    Treatment(
        name="gastritis",
        care="AMB",
        diseases=("K29.7",),
        weight=3,
        ages=(16, 120),
        uses=(*once(EXPERT), *once(ULTRASOUND, chance=0.5), Use(code=OMEPRAZOLE, most=3)),
    ),
    Treatment(
        name="an infection of the urinary tract",
        care="AMB",
        diseases=("N39.0",),
        weight=2,
        uses=(*once(VISIT, URINE, BLOOD), *once(KIDNEY, chance=0.4), Use(code=AMOXICILLIN)),
    ),
    Treatment(
        name="high blood pressure, first visit of the year",
        care="AMB",
        diseases=("I10", "E78.5"),
        weight=2,
        ages=(40, 120),
        uses=(
            *once(EXPERT, ECG, LIPIDS, KIDNEY),
            Use(code=AMLODIPINE, most=2),
            *once(ATORVASTATIN),
        ),
    ),
    Treatment(
        name="a sprained ankle",
        care="EMER",
        diseases=("S93.4",),
        weight=3,
        ages=(6, 120),
        uses=once(EMERGENCY, DR, IBUPROFEN),
    ),
    Treatment(
        name="chest pain",
        care="EMER",
        diseases=("R07.4",),
        weight=2,
        ages=(35, 120),
        uses=(*once(EMERGENCY, ECG, TROPONIN, BLOOD), *once(CHEST_CT, chance=0.6)),
    ),
    Treatment(
        name="belly ache",
        care="EMER",
        diseases=("R10.4",),
        weight=2,
        uses=(*once(EMERGENCY, BLOOD, ULTRASOUND), *once(BELLY_CT, chance=0.3), *once(INFUSION)),
    ),
)

# Monthly refills, by disease.
DIABETES_REFILL = Treatment(
    name="a month's drugs against diabetes",
    care="REFILL",
    diseases=("E11.9",),
    uses=(
        *once(REFILL, GLUCOSE),
        *once(HBA1C, chance=0.35),
        Use(code=METFORMIN, least=1, most=3),
        Use(code=DAPAGLIFLOZIN, least=1, most=2, chance=0.6),
        Use(code=GLARGINE, least=1, most=4, chance=0.5),
        Use(code=SITAGLIPTIN, least=2, most=4, chance=0.3),
    ),
    clinic=True,
)
PRESSURE_REFILL = Treatment(
    name="a month's drugs against high blood pressure",
    care="REFILL",
    diseases=("I10",),
    uses=(
        *once(REFILL),
        Use(code=AMLODIPINE, least=1, most=2),
        Use(code=VALSARTAN, least=1, most=2, chance=0.6),
        Use(code=ASPIRIN, chance=0.5),
        *once(LIPIDS, chance=0.2),
    ),
    clinic=True,
)
# A doctor's talk by video, and the drugs sent home (互联网复诊).
DIABETES_ONLINE = Treatment(
    name="diabetes, an on-line follow-up",
    care="ONLINE",
    diseases=("E11.9",),
    uses=(
        *once(ONLINE),
        Use(code=METFORMIN, least=1, most=2),
        Use(code=DAPAGLIFLOZIN, chance=0.4),
    ),
)
PRESSURE_ONLINE = Treatment(
    name="high blood pressure, an on-line follow-up",
    care="ONLINE",
    diseases=("I10",),
    uses=(*once(ONLINE, AMLODIPINE), Use(code=VALSARTAN, chance=0.5)),
)

# Visits with an examination that the other house may repeat too soon.
EXAMINATIONS: tuple[Treatment, ...] = (
    Treatment(
        name="a cough that stays, looked into",
        care="AMB",
        diseases=("R05",),
        uses=(*once(VISIT, CHEST_CT), Use(code=LIANHUA, most=2)),
    ),
    Treatment(
        name="a belly ache, looked into",
        care="AMB",
        diseases=("R10.4",),
        uses=(*once(VISIT, BELLY_CT), Use(code=OMEPRAZOLE, most=2)),
    ),
    Treatment(
        name="low back pain, looked into",
        care="AMB",
        diseases=("M54.5",),
        uses=(*once(VISIT, LUMBAR_MR), Use(code=IBUPROFEN, most=2)),
    ),
)

# Bills that a plan is meant to refuse.
COSMETIC = Treatment(
    name="a cosmetic laser",
    care="AMB",
    diseases=("Z41.1",),
    ages=(18, 60),
    uses=(*once(EXPERT), Use(code=LASER, least=1, most=3)),
)
DENTAL = Treatment(
    name="teeth",
    care="AMB",
    diseases=("K05.1",),
    ages=(18, 120),
    uses=(*once(VISIT, CLEANING), Use(code=IMPLANT, chance=0.5)),
)
LUMBAR = Treatment(
    name="a lumbar disc, known before the cover",
    care="AMB",
    diseases=("M51.2",),
    ages=(25, 120),
    uses=(*once(EXPERT, LUMBAR_MR), Use(code=IBUPROFEN, least=1, most=2)),
)
