"""Whether a source lets us in and has what its profile names, asked before the bridge runs.

Asks for numbers and names of columns: no record is read, none is kept, no export is begun.
"""

from __future__ import annotations

import msgspec

from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings
from services.his_bridge.profiles.source_kinds.files import FilesSettings
from services.his_bridge.profiles.source_kinds.sql import SqlSettings
from services.his_bridge.sources.fhir_rest import FhirRest
from services.his_bridge.sources.files.folder import check_folder
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.sql import SqlSource

# Somebody waits for the answer at a terminal: once, and not for long.
ASK_S = 5


async def ask(profile: SourceProfile, kinds: tuple[str, ...]) -> SourceFault | None:
    """Ask the source for records of these kinds, as a pull would, and for none of them.

    What comes out is the fault that a pull would end with, if any.
    """
    limits = msgspec.structs.replace(
        profile.limits, attempts=1, timeout_s=min(ASK_S, profile.limits.timeout_s)
    )
    hasty = msgspec.structs.replace(profile, limits=limits)
    try:
        if isinstance(profile.source, FhirRestSettings):
            await _fhir(hasty, kinds)
        elif isinstance(profile.source, SqlSettings):
            await _sql(hasty)
        elif isinstance(profile.source, FilesSettings):
            check_folder(profile.source.folder)
    except SourceFault as fault:
        return fault
    return None


async def _fhir(profile: SourceProfile, kinds: tuple[str, ...]) -> None:
    source = FhirRest(profile)
    try:
        for kind in kinds:
            await source.count(kind)
    finally:
        await source.close()


async def _sql(profile: SourceProfile) -> None:
    source = SqlSource(profile)
    try:
        await source.check()
    finally:
        await source.close()
