"""A FHIR server that exports whole files (`$export`): what of, how often, and from where."""

from __future__ import annotations

import msgspec

from services.his_bridge.profiles.reader import Section
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings, base_url_of
from services.his_bridge.profiles.source_kinds.port import Context
from services.his_bridge.profiles.source_kinds.smart import read_smart

DAY_S = 86_400


class FhirBulkSettings(FhirRestSettings, frozen=True, kw_only=True):
    """What is exported: `export` is the path before `$export`, empty for the whole server.

    `file_hosts` are hosts beside the server's own from which its files may be fetched, without our
    token. `deleted_withdraws`: a bill that the server says it deleted is taken back.
    """

    export: str = ""
    every_s: int = 3600
    longest_export_s: int = DAY_S
    file_hosts: tuple[str, ...] = ()
    deleted_withdraws: bool = True
    max_ratio: int = 200

    @property
    def scope(self) -> tuple[str, ...]:
        """Another server or another selection begins anew; searching the same server does too."""
        return (self.base_url, f"{self.export}/$export")


def read(section: Section, context: Context) -> FhirBulkSettings:
    """The settings; `base_url` stands at the profile's top."""
    usual = msgspec.structs.asdict(FhirBulkSettings(base_url=""))
    hosts = section.texts("file_hosts")
    section.check("file_hosts", hosts, r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?")
    return FhirBulkSettings(
        base_url=base_url_of(context),
        smart=read_smart(section, context),
        export=section.text("export", r"Patient|Group/[A-Za-z0-9.-]{1,64}", required=False) or "",
        every_s=section.whole("every_s", usual["every_s"], low=0, high=30 * DAY_S),
        longest_export_s=section.whole(
            "longest_export_s", usual["longest_export_s"], low=10, high=30 * DAY_S
        ),
        file_hosts=hosts,
        deleted_withdraws=section.flag("deleted_withdraws", True),
        max_ratio=section.whole("max_ratio", usual["max_ratio"], low=2, high=2000),
    )
