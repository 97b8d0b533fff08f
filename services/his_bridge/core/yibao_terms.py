"""How a hospital's messages to the national 医保 platform are read. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from services.his_bridge.core.bill import CareType

# 医疗类别 (med_type). Provinces add their own: the profile maps those.
MED_TYPES: Mapping[str, CareType] = {
    "11": CareType.OUTPATIENT,  # 普通门诊
    "12": CareType.OUTPATIENT,  # 门诊挂号
    "13": CareType.EMERGENCY,  # 急诊
    "14": CareType.CHRONIC,  # 门诊慢特病
    "19": CareType.OUTPATIENT,  # 意外伤害门诊
    "21": CareType.INPATIENT,  # 普通住院
    "22": CareType.INPATIENT,  # 外伤住院
    "23": CareType.INPATIENT,  # 转外诊治住院
    "24": CareType.INPATIENT,  # 急诊转住院
    "41": CareType.PHARMACY,  # 定点药店购药
    "51": CareType.OUTPATIENT,  # 生育门诊
    "52": CareType.INPATIENT,  # 生育住院
}


# 急诊转住院
EMERGENCY_MED_TYPES = ("24",)
# 入院途径 (adm_way) of the settlement list: 急诊
EMERGENCY_WAY = "1"


class PersonColumns(msgspec.Struct, frozen=True, kw_only=True):
    """Columns of the hospital's table of persons."""

    cert_type: str = "psn_cert_type"
    certno: str = "certno"
    name: str = "psn_name"

    @property
    def all(self) -> tuple[str, ...]:
        """Every column."""
        return self.cert_type, self.certno, self.name


class YibaoTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Code systems and what else the interface leaves to each place.

    With `bill_per_batch` each 收费批次 (chrg_bchno) of an outpatient visit is a bill of its own;
    else the visit (mdtrt_id) is one, as a stay always is. `emergency_med_types` are the 医疗类别 of
    a stay that began as an emergency.
    """

    line_system: str
    local_line_system: str
    diagnosis_system: str
    med_types: Mapping[str, CareType] = msgspec.field(default_factory=lambda: MED_TYPES)
    emergency_med_types: tuple[str, ...] = EMERGENCY_MED_TYPES
    bill_per_batch: bool = False
    charset: str = "gb18030"  # of bytes that a database hands over as such
    person: PersonColumns = PersonColumns()
