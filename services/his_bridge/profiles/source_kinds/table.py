"""Every kind of source that a profile may name."""

from __future__ import annotations

from collections.abc import Mapping

from services.his_bridge.profiles.source_kinds import fhir_bulk, fhir_rest, files, mllp, sql
from services.his_bridge.profiles.source_kinds.port import ReadSettings

USUAL_KIND = "fhir_rest"
SOURCE_KINDS: Mapping[str, ReadSettings] = {
    "fhir_rest": fhir_rest.read,
    "sql": sql.read,
    "fhir_bulk": fhir_bulk.read,
    "files": files.read,
    "mllp": mllp.read,
}
