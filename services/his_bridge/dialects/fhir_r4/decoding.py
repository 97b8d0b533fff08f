"""FHIR JSON to structs, strictly; what changes a record's meaning unread is a fault. No resource.

FHIR forbids to process what has a modifier extension, or rules of its own, that one does not know:
it may say that a charge was never made, or that nothing of the record is so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.dialects.fhir_r4.findings import below
from services.his_bridge.dialects.fhir_r4.structs import Extension
from services.his_bridge.dialects.strict_json import StrictDecoder

T = TypeVar("T")
_CHANGE_MEANING = ("modifier_extension", "implicit_rules")
# As they stand in JSON; a key may be written with escapes, as of its letters all begin.
_SIGNS = (b"modifierExtension", b"implicitRules", b"\\u00")


class FhirDecoder(StrictDecoder[T]):
    """Reads one kind of resource, and names every modifier of what the bridge reads of it."""

    def decode(self, raw: bytes) -> tuple[T | None, tuple[Fault, ...]]:
        """The resource, and its faults; None when nothing of it can be read."""
        found, faults = super().decode(raw)
        if not isinstance(found, msgspec.Struct) or not any(sign in raw for sign in _SIGNS):
            return found, faults
        unknown = (Fault(reason=Reason.MODIFIER_UNKNOWN, path=at) for at in _modifiers(found, ""))
        return found, (*faults, *unknown)


def _modifiers(element: msgspec.Struct, path: str) -> Iterator[str]:
    kind = type(element)
    for attribute, name in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        value, where = getattr(element, attribute), below(path, name)
        if attribute in _CHANGE_MEANING:
            if value:
                yield where
        elif isinstance(value, msgspec.Struct):
            yield from _modifiers(value, where)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                # Extensions hold extensions as deep as anybody likes, and no modifier.
                if isinstance(inner, msgspec.Struct) and not isinstance(inner, Extension):
                    yield from _modifiers(inner, f"{where}[{index}]")
