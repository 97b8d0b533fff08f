"""What the demo hospital does for patients who stay: operations, intensive care, long courses.

Knows no patient and no money.
"""

from __future__ import annotations

from demo.hospital import care
from demo.hospital.care import Treatment, Use, once

_WARD = (
    Use(code=care.BED, daily=True),
    Use(code=care.ROUND, daily=True),
    Use(code=care.NURSING_2, daily=True),
    Use(code=care.INFUSION, daily=True, most=2),
    Use(code=care.INFUSION_SET, daily=True, most=2),
    Use(code=care.SALINE, daily=True, least=1, most=3),
    *once(care.BLOOD, care.URINE, care.LIVER, care.KIDNEY, care.ECG),
)
_ICU = (
    Use(code=care.ICU_BED, least=2, most=5),
    Use(code=care.NURSING_1, least=2, most=5),
    Use(code=care.VENTILATOR, least=24, most=96),
)

STAYS: tuple[Treatment, ...] = (
    Treatment(
        name="pneumonia",
        care="IMP",
        diseases=("J18.9",),
        nights=(6, 12),
        weight=3,
        winter=True,
        uses=(
            *_WARD,
            *once(care.CHEST_CT),
            Use(code=care.CEFTRIAXONE, least=2, most=4, daily=True),
        ),
    ),
    Treatment(
        name="a belly infection, watched",
        care="IMP",
        diseases=("A09.9",),
        nights=(1, 3),
        weight=2,
        uses=(*_WARD, *once(care.ULTRASOUND), Use(code=care.SMECTITE, most=2)),
    ),
    Treatment(
        name="an appendix taken out",
        care="IMP",
        diseases=("K35.8",),
        nights=(4, 7),
        uses=(
            *_WARD,
            *once(care.BELLY_CT, care.APPENDIX, care.ANAESTHESIA),
            Use(code=care.CEFTRIAXONE, daily=True),
        ),
    ),
    Treatment(
        name="a gallbladder taken out",
        care="IMP",
        diseases=("K80.1",),
        nights=(5, 8),
        ages=(25, 120),
        uses=(
            *_WARD,
            *once(care.ULTRASOUND, care.GALLBLADDER, care.ANAESTHESIA),
            Use(code=care.OMEPRAZOLE),
            Use(code=care.VIP_BED, least=1, most=3, chance=0.5),
        ),
    ),
    Treatment(
        name="a heart attack with stents",
        care="IMP",
        diseases=("I21.9", "I10"),
        nights=(7, 14),
        ages=(42, 120),
        weight=2,
        uses=(
            *_WARD,
            *_ICU,
            *once(care.RESCUE, care.TROPONIN, care.LIPIDS, care.PCI),
            Use(code=care.STENT, least=2, most=4),
            Use(code=care.LYSIS, most=2),
            *once(care.ASPIRIN, care.ATORVASTATIN),
        ),
    ),
    Treatment(
        name="a broken hip, nailed",
        care="IMP",
        diseases=("S72.0",),
        nights=(10, 18),
        ages=(50, 120),
        uses=(
            *_WARD,
            *once(care.DR, care.NAILING, care.ANAESTHESIA),
            Use(code=care.NAIL, least=1, most=3),
            Use(code=care.REHABILITATION, least=4, most=12),
        ),
    ),
    Treatment(
        name="a stroke",
        care="IMP",
        diseases=("I63.9", "I10"),
        nights=(12, 20),
        ages=(48, 120),
        weight=2,
        uses=(
            *_WARD,
            *_ICU,
            *once(care.RESCUE, care.LIPIDS, care.HEAD_CT),
            Use(code=care.LYSIS, least=2, most=4),
            Use(code=care.REHABILITATION, least=10, most=24),
        ),
    ),
    Treatment(
        name="lung cancer, a course of treatment",
        care="IMP",
        diseases=("C34.9",),
        nights=(9, 16),
        ages=(40, 120),
        weight=2,
        uses=(
            *_WARD,
            *once(care.CHEST_CT, care.MARKERS),
            Use(code=care.RADIOTHERAPY, least=5, most=10),
            Use(code=care.TARGETED, most=3),
            Use(code=care.IMMUNE, least=2, most=4),
        ),
    ),
)

KIDNEY_STAY = Treatment(
    name="diabetic kidney disease, a stay",
    care="IMP",
    diseases=("E11.2", "E11.9"),
    nights=(6, 11),
    uses=(
        *_WARD,
        *once(care.GLUCOSE, care.HBA1C, care.ULTRASOUND),
        Use(code=care.GLARGINE, least=1, most=3),
    ),
)

# Stays that a plan is meant to cut, to hold or to refuse.
LONG_COURSE = Treatment(
    name="lung cancer, a long course of immune therapy",
    care="IMP",
    diseases=("C34.9",),
    nights=(14, 20),
    uses=(
        *_WARD,
        *once(care.MARKERS),
        Use(code=care.TARGETED, most=3),
        Use(code=care.IMMUNE, least=13, most=17),
    ),
)
LONG_REHABILITATION = Treatment(
    name="after a stroke, more exercise than a year's limit",
    care="IMP",
    diseases=("I63.9", "I10"),
    nights=(14, 22),
    uses=(
        *_WARD,
        *_ICU,
        *once(care.LIPIDS),
        Use(code=care.LYSIS, least=2, most=4),
        Use(code=care.REHABILITATION, least=34, most=45),
    ),
)
CLINIC_STAY = Treatment(
    name="pneumonia, in a clinic",
    care="IMP",
    diseases=("J18.9",),
    nights=(4, 8),
    uses=(*_WARD, *once(care.DR), Use(code=care.CEFTRIAXONE, least=2, most=4, daily=True)),
)
