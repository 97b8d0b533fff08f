"""A record of rows: bytes to values. Knows what a record is made of, and no column's meaning."""

from __future__ import annotations

import msgspec

from services.his_bridge.core.faults import Fault
from services.his_bridge.core.row_terms import RowTerms
from services.his_bridge.dialects.strict_json import StrictDecoder, names_of


class Rows(msgspec.Struct):
    """A head with its parts, by column."""

    head: dict[str, msgspec.Raw] = {}
    lines: list[dict[str, msgspec.Raw]] = []
    diagnoses: list[dict[str, msgspec.Raw]] = []


class DecodedRows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows and the faults of their structure; without rows nothing could be read."""

    rows: Rows | None
    faults: tuple[Fault, ...]


class RowsDecoder:
    """Reads records of rows. The profile's columns are the keys that a fault may name."""

    def __init__(self, terms: RowTerms) -> None:
        columns: set[str] = set(names_of(Rows))
        for part in (terms.bill, terms.line, terms.diagnosis, terms.reading):
            columns |= set(part.all) if part is not None else set()
        self._decoder = StrictDecoder(Rows, columns)

    def decode(self, raw: bytes) -> DecodedRows:
        """The rows of a record. Never raises: what is wrong stands in the faults."""
        rows, faults = self._decoder.decode(raw)
        return DecodedRows(rows=rows, faults=faults)
