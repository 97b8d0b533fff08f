"""StudyService of pricing: readings of the people of a study, batch by batch, under its names.

Each batch is one transaction of its own. The guard puts each person on record before a batch
leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, time
from typing import Any

import grpc

from lipei.pricing.v1 import study_pb2 as pb
from lipei.pricing.v1 import study_pb2_grpc
from lipei.type.v1 import reading_pb2
from services.common.access.caller import forget_noted, note_name, note_owner
from services.common.access.studies import asked_study, study_names
from services.common.access.study_tokens import NAMED_AT_ONCE, StudySeal
from services.common.access.tenant import current_tenant
from services.common.database import Database
from services.common.grpc_edge import Violation, invalid
from services.pricing.core.readings import Fasting, Provenance
from services.pricing.storage.readings import Kept
from services.pricing.storage.studies import Most, Portion, Read, StudyReadings

FULL_NAME = "lipei.pricing.v1.StudyService"
Context = grpc.aio.ServicerContext[Any, Any]
_NAME_BYTES = 16
# Members a batch, of a hundred readings each a message of about a megabyte.
BATCH = 100
# Revisions of readings a batch, unless one member alone has more: who measures at home several
# times a day has thousands, and what a caller may receive at once is 64 MiB.
READINGS_AT_ONCE = 20_000
_PROVENANCES = {
    one: reading_pb2.ReadingProvenance.Value(f"READING_PROVENANCE_{one}") for one in Provenance
}
_FASTING = {
    Fasting.UNKNOWN: reading_pb2.FASTING_STATUS_UNSPECIFIED,
    Fasting.FASTING: reading_pb2.FASTING_STATUS_FASTING,
    Fasting.NON_FASTING: reading_pb2.FASTING_STATUS_NON_FASTING,
}


_Names = Callable[[str, str], str]


class StudyServicer(study_pb2_grpc.StudyServiceServicer):
    """Holds no state of its own."""

    def __init__(
        self,
        database: Database,
        store: StudyReadings,
        key: bytes,
        *,
        now_us: Callable[[], int],
        batch: int = BATCH,
        readings: int = READINGS_AT_ONCE,
    ) -> None:
        """`key` makes the names of people in studies; claims has the same, and seals with it."""
        self._database = database
        self._store = store
        self._key = key
        self._seal = StudySeal(key)
        self._now_us = now_us
        self._most = Most(members=batch, readings=readings)

    async def ExportReadings(
        self, request: pb.ExportReadingsRequest, context: Context
    ) -> AsyncIterator[pb.ExportReadingsResponse]:
        """The readings of those of the people who have any, batch by batch."""
        before = asked_study(request.study, request.before_date, now_us=self._now_us())
        tenant = current_tenant()
        tenant.required_insurer()
        _check_people(request.people)
        wanted = {one.hex() for one in request.people}
        before_us = int(datetime.combine(before, time.min, UTC).timestamp()) * 1_000_000
        name = study_names(self._key, tenant, request.study, before)
        sealed_for = f"{tenant.key} {request.study} {request.before_date}"
        # A token of claims is none here, though both seal under one key.
        pages = f"{sealed_for} readings"
        named = b"".join(request.people)
        self._seal.check_grant(sealed_for, named, request.grant)
        after = self._seal.position(pages, request.page_token)

        def is_wanted(token: str) -> bool:
            return name("person", token) in wanted

        def portion() -> Portion:
            return self._store.portion(tenant, is_wanted, before_us, after, self._most)

        done, total = await self._database.run(self._store.counted, tenant, after)
        while True:
            found = await self._database.run(portion)
            done += found.looked_at
            answer = pb.ExportReadingsResponse(done=done, total=max(done, total))
            for one in found.people:
                person = name("person", one.token)
                _add(answer, one, person, name)
                note_name(person, f"members/{one.token}/studies/{request.study}")
                note_owner(person, tenant.key)
            if found.last:
                answer.next_page_token = self._seal.page_token(pages, found.last)
            yield answer
            forget_noted()
            if not found.last:
                return
            after = found.last
            self._seal.check_grant(sealed_for, named, request.grant)


def _check_people(people: Sequence[bytes]) -> None:
    """Raises: Refused (INVALID_ARGUMENT) unless they are names, and not too many."""
    faults = []
    if not 1 <= len(people) <= NAMED_AT_ONCE:
        faults.append(Violation("people", "BAD_COUNT", f"name 1 to {NAMED_AT_ONCE}"))
    faults += [
        Violation(f"people[{index}]", "MALFORMED", f"must have {_NAME_BYTES} bytes")
        for index, one in enumerate(people[:NAMED_AT_ONCE])
        if len(one) != _NAME_BYTES
    ]
    if faults:
        raise invalid(faults)


def _add(answer: pb.ExportReadingsResponse, one: Read, person: str, name: _Names) -> None:
    message = answer.people.add(person=person)
    for kept in one.readings:
        message.readings.append(_reading(kept, name))


def _reading(kept: Kept, name: _Names) -> pb.StudyReading:
    said = kept.reading
    made = pb.StudyReading(
        # Of one member two recorders may use the same name.
        reading=name("reading", f"{kept.recorder} {said.name}"),
        code=said.written.code,
        value=said.written.value,
        unit=said.written.unit,
        provenance=_PROVENANCES[said.written.provenance],
        fasting_status=_FASTING[said.written.fasting],
    )
    if said.written.device:
        # Of whom and whose too: one device that two people share would join them.
        made.device = name("device", f"{kept.recorder} {said.member_token} {said.written.device}")
    made.effective_time.FromMicroseconds(said.effective_us)
    made.receive_time.FromMicroseconds(kept.received_us)
    return made
