"""Every dialect that a profile may name, and how its own terms are read.

The terms are structs of the core, for dialects and profiles know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from services.his_bridge.profiles.reader import Section


def _none(section: Section) -> None:
    """The dialect has no terms of its own."""


# Each reads the section named like the dialect; without that section, an empty one.
DIALECTS: Mapping[str, Callable[[Section], msgspec.Struct | None]] = {
    "fhir_r4": _none,
}
