"""Good HL7 v2 messages of a Chinese hospital, and how to judge one as the bridge does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from services.his_bridge.core.hl7v2_terms import Hl7v2Terms
from services.his_bridge.core.outcomes import Outcome
from services.his_bridge.dialects.hl7v2 import Hl7Reading, MessageReader, ResultReader
from services.his_bridge.profiles.loader import SourceProfile, parse_profile
from tests.services.his_bridge.records import tokens

NAME, NUMBER, PHONE = "欧阳建国", "11010119900307002X", "13912345678"
TOKEN = tokens("CN-ID", NUMBER)

PROFILE = """
hospital: demo-hospital
dialect: hl7v2
source: {kind: mllp}
zone: Asia/Shanghai
currency: CNY
identities:
  - {system: NI, kind: CN-ID}
  - {system: PPN@NIA, kind: PASSPORT}
  - {system: PID-19, kind: CN-ID}
provider: {id: H110101, tier: secondary}
codes:
  lines:
    accepted:
      - {system: "urn:test:yibao", public_displays: true}
    maps:
      - {from: "urn:test:local", to: "urn:test:yibao", codes: {XUEJIAN: "250101001"}}
  diagnoses:
    accepted:
      - {system: "http://hl7.org/fhir/sid/icd-10", public_displays: true}
social_insurance: unknown
readings:
  categories: {LAB: laboratory, LIS: laboratory}
  codes:
    - {loinc: 4548-4, units: ["%"]}
    - {loinc: 8480-6, units: ["mm[Hg]"]}
    - {loinc: 8462-4, units: ["mm[Hg]"]}
hl7v2:
  systems: {YB: "urn:test:yibao", HIS: "urn:test:local", I10: "http://hl7.org/fhir/sid/icd-10"}
  diagnosis_system: "http://hl7.org/fhir/sid/icd-10"
  units: {mmHg: "mm[Hg]"}
  kept_out: [ADT^A01, SIU]
pull: {lease_s: 1}
"""

MSH = "MSH|^~\\&|HIS|H110101|LIPEI|BRIDGE|20260301103000||{type}|{id}|P|2.5.1||||||GB18030"
EVN = "EVN||20260301103000"
PID = (
    f"PID|1||MRN7701^^^HIS^MR~{NUMBER}^^^GA^NI||欧阳^建国||19900307|M|||北京市朝阳区幸福路7号||{PHONE}"
    "|||||ACC001"
)
PV1 = "PV1|1|I|W1^^1" + "|" * 16 + "V001" + "|" * 25 + "20260228090000|"
DG1 = "DG1|1||E11.9^2型糖尿病^I10|||F|||||||||1"
FT1 = (
    "FT1|1|T1|B1|20260301|20260301|CG|110200001^普通门诊诊察费^YB|||1|50|50|||||||E11.9^^I10",
    "FT1|2|T2|B1|20260301101500||CG|XUEJIAN^血检^HIS|||3|10.01|3.335",
)


def message(kind: str, *segments: str, control_id: str = "M1") -> str:
    return "\r".join([MSH.format(type=kind, id=control_id), EVN, *segments]) + "\r"


def dft(*charges: str, control_id: str = "M1") -> str:
    """The good charges of one message."""
    return message("DFT^P03^DFT_P03", PID, PV1, *(charges or FT1), DG1, control_id=control_id)


def oru(*results: str, obr: str = "", control_id: str = "R1") -> str:
    order = obr or "OBR|1|P1|F1|GLU^糖化^LIS|||20260301090000|||||||||||||||20260301100000||LAB|F"
    rows = results or ("OBX|1|NM|4548-4^HbA1c^LN||7.2|%|||||F",)
    return message("ORU^R01", PID, order, *rows, control_id=control_id)


def profile(change: Callable[[str], str] = lambda text: text) -> SourceProfile:
    return parse_profile(change(PROFILE), "test.yaml")


def reading(found: SourceProfile | None = None) -> Hl7Reading:
    found = found or profile()
    assert isinstance(found.dialect_terms, Hl7v2Terms)
    return Hl7Reading(terms=found.terms, own=found.dialect_terms)


READING = reading()


def judge(
    text: str | bytes, by: Hl7Reading = READING, record_id: str = "HIS/H110101/M1#0"
) -> Outcome:
    """What the bridge makes of a message."""
    raw = text.encode("gb18030") if isinstance(text, str) else text
    reader = MessageReader(by, tokens)
    return reader.judge(record_id, reader.glance(raw), {})


def judge_results(
    text: str, by: Hl7Reading = READING, record_id: str = "HIS/H110101/F1"
) -> Outcome:
    reader = ResultReader(by, tokens)
    return reader.judge(record_id, reader.glance(text.encode("gb18030")), {})


def with_field(text: str, segment: str, field: int, value: str, nth: int = 1) -> str:
    """The message with another value in a field of its nth segment of a name."""
    lines = text.split("\r")
    found = [at for at, line in enumerate(lines) if line.startswith(segment)]
    at = found[nth - 1]
    fields = lines[at].split("|")
    index = field - 1 if segment == "MSH" else field
    fields += [""] * (index + 1 - len(fields))
    fields[index] = value
    lines[at] = "|".join(fields)
    return "\r".join(lines)


def without(text: str, *segments: str) -> str:
    """The message without its segments of these names."""
    return "\r".join(line for line in text.split("\r") if line[:3] not in segments)


def write_profile(folder: Path, change: Callable[[str], str] = lambda text: text) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo-hospital.yaml").write_text(change(PROFILE), "utf-8")


def in_order(texts: Sequence[str]) -> list[bytes]:
    return [text.encode("gb18030") for text in texts]
