"""What every kind of source gives the loader: a settings struct and how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from services.his_bridge.profiles.reader import Section


class SourceSettings(Protocol):
    """The settings of one source."""

    @property
    def scope(self) -> tuple[str, ...]:
        """What a cursor belongs to: with another value reading begins anew."""
        ...


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind may need beside its own section."""

    hospital: str
    top: Section
    environ: Mapping[str, str]


class ReadSettings(Protocol):
    """Reads the profile's `source` section; faults go into the section."""

    def __call__(self, section: Section, context: Context, /) -> SourceSettings:
        """The settings. With faults they are of no use."""
        ...
