"""What the reader of one channel makes of records, under the maps of codes that hold now.

A mistake of ours on one record must stop no other: it is logged by its type, and the record is one
that the bridge failed on. Blocks, and runs in the database's thread pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from services.common import log
from services.common.database import Database
from services.his_bridge.core.faults import Fault, Reason
from services.his_bridge.core.mapping import StoredMap, with_maps
from services.his_bridge.core.outcomes import KeptOut, Outcome, SetAside
from services.his_bridge.core.terms import SourceTerms
from services.his_bridge.dialects.port import Glance, Key, Learns, Learnt, RecordReader
from services.his_bridge.sources.port import RawRecord
from services.his_bridge.storage import code_maps

ReaderOf = Callable[[SourceTerms], RecordReader]
FAILED = SetAside(faults=(Fault(reason=Reason.BRIDGE_FAILED, path=""),))
# Stands for a supporting record that the bridge failed on.
_UNREAD = object()


class MapsLoaded(Exception):
    """Maps of codes were loaded since the records were judged: they are to be judged anew."""


class Judging:
    """One channel's reader, which is made anew when maps of codes were loaded.

    `maps_read` is the number of the newest map that it knows.
    """

    def __init__(self, channel: str, terms: SourceTerms, reader_of: ReaderOf) -> None:
        self.reader = reader_of(terms)
        self._channel = channel
        self._terms = terms
        self._reader_of = reader_of
        self.maps_read = 0
        self.maps: Sequence[StoredMap] = ()

    def use_maps(self, database: Database) -> None:
        """Maps loaded by anybody, also by another replica."""
        with database.reading() as connection:
            newest = code_maps.newest(connection, self._terms.hospital)
            if newest == self.maps_read:
                return
            maps = code_maps.in_force(connection, self._terms.hospital)
        self.reader = self._reader_of(with_maps(self._terms, maps))
        self.maps = maps
        self.maps_read = newest

    def take_turn(self, connection: Connection) -> None:
        """Let nobody load a map until the transaction ends.

        Whoever loads one resumes what waits when it is done; nothing may come to wait for a code of
        it meanwhile.

        Raises: MapsLoaded when somebody did since `use_maps`.
        """
        code_maps.take_turn(connection, self._terms.hospital, shared=True)
        if code_maps.newest(connection, self._terms.hospital) != self.maps_read:
            raise MapsLoaded

    def glance(self, raw: bytes) -> Glance | None:
        """What a record is at first sight; None when the bridge failed on it."""
        try:
            return self.reader.glance(raw)
        except Exception as fault:  # noqa: BLE001 one record must not stop all others
            self.failed(fault)
            return None

    def judge(self, record_id: str, glance: Glance | None, support: Mapping[Key, Any]) -> Outcome:
        """What becomes of a record."""
        if glance is None or any(support.get(key) is _UNREAD for key in glance.needs):
            return FAILED
        try:
            return self.reader.judge(record_id, glance, support)
        except Exception as fault:  # noqa: BLE001 one record must not stop all others
            self.failed(fault)
            return FAILED

    def supporting(self, key: Key, raw: bytes) -> Any:
        """A record that others point at."""
        try:
            return self.reader.read_supporting(key[0], raw)
        except Exception as fault:  # noqa: BLE001 one record must not stop all others
            self.failed(fault)
            return _UNREAD

    def learnt(self, found: Mapping[Key, bytes], support: Mapping[Key, Any]) -> Sequence[Learnt]:
        """What records that were looked up say by themselves; nothing, where the bridge failed."""
        if not isinstance(self.reader, Learns):
            return ()
        read = {key: one for key, one in support.items() if one is not _UNREAD}
        try:
            return self.reader.learnt(found, read)
        except Exception as fault:  # noqa: BLE001 one record must not stop all others
            self.failed(fault)
            return ()

    def tried(
        self,
        records: Sequence[RawRecord],
        glances: Sequence[Glance | None],
        found: Mapping[Key, bytes],
    ) -> list[Outcome]:
        """What would become of records; keeps nothing."""
        support = {key: self.supporting(key, raw) for key, raw in found.items()}
        return [
            KeptOut()
            if glance is not None and glance.keep_out
            else self.judge(record.record_id, glance, support)
            for record, glance in zip(records, glances, strict=True)
        ]

    def failed(self, fault: Exception) -> None:
        """Log a mistake of ours by its type only: the text may hold what the record holds."""
        log.logger().error(
            "record_failed",
            hospital=self._terms.hospital,
            channel=self._channel,
            fault=type(fault).__name__,
        )
