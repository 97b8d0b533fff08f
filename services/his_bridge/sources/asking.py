"""Whether a source lets us in and has what its profile names, asked before the bridge runs.

Asks for numbers and names of columns: no record is read, none is kept, no export is begun.
"""

from __future__ import annotations

import msgspec

from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.fhir_bulk import FhirBulkSettings
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings
from services.his_bridge.profiles.source_kinds.files import FilesSettings
from services.his_bridge.profiles.source_kinds.sql import SqlSettings
from services.his_bridge.sources.fhir_rest import FhirRest
from services.his_bridge.sources.files.folder import check_folder
from services.his_bridge.sources.http import HospitalHttp, Missing, Refused, TooLarge
from services.his_bridge.sources.port import SourceFault
from services.his_bridge.sources.sql import SqlSource

# Somebody waits for the answer at a terminal: once, and not for long.
ASK_S = 5


class _Operation(msgspec.Struct):
    name: str = ""


class _Resource(msgspec.Struct):
    type: str = ""
    operation: list[_Operation] = []


class _Rest(msgspec.Struct):
    operation: list[_Operation] = []
    resource: list[_Resource] = []


class _Capabilities(msgspec.Struct):
    """What a server says that it can do, as far as it matters here."""

    rest: list[_Rest] = []


async def ask(profile: SourceProfile, kinds: tuple[str, ...]) -> SourceFault | None:
    """Ask the source for records of these kinds, as a pull would, and for none of them.

    What comes out is the fault that a pull would end with, if any.
    """
    hasty = _hasty(profile)
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


async def names_export(profile: SourceProfile) -> bool | None:
    """Whether a bulk source's CapabilityStatement names the `$export` that the profile asks for.

    None where it cannot be read. It is no proof either way. A kick-off would be one, but that has
    the server begin to prepare all that it has.
    """
    hasty = _hasty(profile)
    settings = hasty.source
    if not isinstance(settings, FhirBulkSettings):
        raise TypeError("the profile's source is no bulk export")
    http = HospitalHttp(settings.base_url, hasty.limits, settings.smart)
    try:
        said = msgspec.json.decode(await http.get("metadata"), type=_Capabilities)
    except (SourceFault, Missing, Refused, TooLarge, msgspec.DecodeError, UnicodeDecodeError):
        return None
    finally:
        await http.close()
    of = settings.export.partition("/")[0]  # Patient, Group; nothing for the whole server
    operations = (
        operation
        for rest in said.rest
        for operation in (
            [each for one in rest.resource if one.type == of for each in one.operation]
            if of
            else rest.operation
        )
    )
    # Some write the name with its sign, or that of its definition (`group-export`).
    return any(one.name.lstrip("$").split("-")[-1] == "export" for one in operations)


def _hasty(profile: SourceProfile) -> SourceProfile:
    limits = msgspec.structs.replace(
        profile.limits, attempts=1, timeout_s=min(ASK_S, profile.limits.timeout_s)
    )
    return msgspec.structs.replace(profile, limits=limits)


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
