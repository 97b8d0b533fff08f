"""Every kind of source that a profile may name."""

from __future__ import annotations

from collections.abc import Mapping

from services.his_bridge.profiles.source_kinds import fhir_rest
from services.his_bridge.profiles.source_kinds.port import ReadSettings

USUAL_KIND = "fhir_rest"
SOURCE_KINDS: Mapping[str, ReadSettings] = {
    "fhir_rest": fhir_rest.read,
}
