"""What a profile says of 医保 interface messages: section `yibao`."""

from __future__ import annotations

from services.his_bridge.core.bill import CareType
from services.his_bridge.core.yibao_terms import (
    EMERGENCY_MED_TYPES,
    MED_TYPES,
    PersonColumns,
    YibaoTerms,
)
from services.his_bridge.profiles.dialect_terms.sql_rows import CHARSETS, SYSTEM, meanings
from services.his_bridge.profiles.reader import Section
from services.his_bridge.profiles.source_kinds.sql import NAME


def read(section: Section) -> YibaoTerms:
    """The terms; faults go into the section."""
    systems = section.section("systems", required=True)
    usual = PersonColumns()
    person = section.section("person")
    terms = YibaoTerms(
        line_system=systems.text("lines", SYSTEM) or "",
        local_line_system=systems.text("local_lines", SYSTEM) or "",
        diagnosis_system=systems.text("diagnoses", SYSTEM) or "",
        med_types={**MED_TYPES, **meanings(section, "med_types", CareType)},
        emergency_med_types=section.texts("emergency_med_types") or EMERGENCY_MED_TYPES,
        bill_per_batch=section.flag("bill_per_batch", False),
        charset=section.text("charset", CHARSETS, required=False) or "gb18030",
        person=PersonColumns(
            cert_type=person.text("cert_type", NAME, required=False) or usual.cert_type,
            certno=person.text("certno", NAME, required=False) or usual.certno,
            name=person.text("name", NAME, required=False) or usual.name,
        ),
    )
    systems.close()
    person.close()
    return terms
