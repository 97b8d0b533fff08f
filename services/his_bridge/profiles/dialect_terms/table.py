"""Every dialect that a profile may name, and how its own terms are read.

The terms are structs of the core, for dialects and profiles know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from services.his_bridge.profiles.dialect_terms import fhir_r4, hl7v2, sql_rows, yibao
from services.his_bridge.profiles.reader import Section

# Each reads the section named like the dialect; without that section, an empty one.
DIALECTS: Mapping[str, Callable[[Section], msgspec.Struct | None]] = {
    "fhir_r4": fhir_r4.read,
    "hl7v2": hl7v2.read,
    "sql_rows": sql_rows.read,
    "yibao": yibao.read,
}
