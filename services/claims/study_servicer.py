"""StudyService of claims: people as a study may see them, batch by batch, and who is in no study.

Each batch is one transaction of its own: however slow the caller is, nothing is held meanwhile.
The guard puts each person on record before a batch leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date

import grpc
from sqlalchemy import Connection

from lipei.claims.v1 import study_pb2 as pb
from lipei.claims.v1 import study_pb2_grpc
from services.claims.core.study import Born, Census
from services.claims.serving import ClaimsParts, Context
from services.claims.storage import studies
from services.claims.studying import Names, Reader, Studied
from services.common.access.caller import forget_noted, note_name, note_owner
from services.common.access.studies import asked_study, study_names
from services.common.access.tenant import current_tenant
from services.common.grpc_edge import Refused, Violation, invalid, page_token, parse_page_token
from services.common.identity import is_member_token
from services.common.request_id import request_id_faults

FULL_NAME = "lipei.claims.v1.StudyService"
MOST_MEMBERS = 100
# People a batch: a message of about a hundred kilobytes.
BATCH = 200
_MEMBER = "members/"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    study: str
    before: date
    insurer: str
    name: Names


class StudyServicer(study_pb2_grpc.StudyServiceServicer):
    """Holds no state of its own."""

    def __init__(self, parts: ClaimsParts, key: bytes, *, batch: int = BATCH) -> None:
        """`key` makes the names of people in studies; pricing has the same."""
        self._parts = parts
        self._key = key
        self._batch = batch

    async def ExportPeople(
        self, request: pb.ExportPeopleRequest, context: Context
    ) -> AsyncIterator[pb.ExportPeopleResponse]:
        """Every person who may be in the study, batch by batch."""
        asked = self._asked(request)
        kind = f"study {current_tenant().key} {request.study} {request.before_date}"
        began, _, after = (parse_page_token(request.page_token, kind) or "").partition("/")
        census = await self._census(asked)
        if began and began != census.digest:
            text = (
                "people came or went, so that births may have to be told less exactly; begin anew"
            )
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "POPULATION_CHANGED", text)
        while True:
            run = self._parts.database.run
            studied, last, done, total = await run(self._told, asked, census, after)
            answer = pb.ExportPeopleResponse(
                people=studied.people, left_out=studied.left_out, done=done, total=total
            )
            if last:
                answer.next_page_token = page_token(kind, f"{census.digest}/{last}")
            for person, token in studied.tokens.items():
                note_name(person, f"{_MEMBER}{token}/studies/{asked.study}")
                note_owner(person, current_tenant().key)
            yield answer
            forget_noted()
            if not last:
                return
            after = last

    def _asked(self, request: pb.ExportPeopleRequest) -> _Asked:
        """Raises: Refused with every fault of the request."""
        before = asked_study(request.study, request.before_date)
        tenant = current_tenant()
        return _Asked(
            study=request.study,
            before=before,
            insurer=tenant.required_insurer(),
            name=study_names(self._key, tenant, request.study),
        )

    async def _census(self, asked: _Asked) -> Census:
        born: list[Born] = []
        after = ""
        while True:
            some, after = await self._parts.database.run(self._born, asked, after)
            born += some
            if not after:
                return Census(born)

    def _born(self, asked: _Asked, after: str) -> tuple[list[Born], str]:
        with self._parts.database.reading() as connection:
            rows = studies.people_after(connection, asked.insurer, after, self._batch)
            people = self._reader(connection, asked).opened(rows, pb.StudyLeftOut())
        return [one.born for one in people], rows[-1].id if len(rows) == self._batch else ""

    def _told(self, asked: _Asked, census: Census, after: str) -> tuple[Studied, str, int, int]:
        """The next people, the last id that was looked at while there may be more, and how far."""
        with self._parts.database.reading() as connection:
            rows = studies.people_after(connection, asked.insurer, after, self._batch)
            reader = self._reader(connection, asked)
            left_out = pb.StudyLeftOut()
            people = reader.opened(rows, left_out)
            studied = reader.told(people, census, asked.name, left_out)
            last = rows[-1].id if rows else after
            done, total = studies.count_people(connection, asked.insurer, last)
        return studied, last if len(rows) == self._batch else "", done, total

    def _reader(self, connection: Connection, asked: _Asked) -> Reader:
        sealer = self._parts.keys.sealer(connection)
        return Reader(
            connection, sealer, self._parts.plans, insurer=asked.insurer, before=asked.before
        )

    async def LeaveOutMembers(
        self, request: pb.LeaveOutMembersRequest, context: Context
    ) -> pb.LeaveOutMembersResponse:
        """Keep the members out of every study."""
        faults = request_id_faults(request.request_id)
        if not 1 <= len(request.members) <= MOST_MEMBERS:
            faults.append(Violation("members", "BAD_COUNT", f"name 1 to {MOST_MEMBERS}"))
        for index, member in enumerate(request.members[:MOST_MEMBERS]):
            token = member.removeprefix(_MEMBER)
            if not member.startswith(_MEMBER) or not is_member_token(token):
                text = "must read members/{token}"
                faults.append(Violation(f"members[{index}]", "MALFORMED", text))
        if faults:
            raise invalid(faults)
        tokens = [member.removeprefix(_MEMBER) for member in request.members]
        await self._parts.database.run(self._leave_out, tokens)
        return pb.LeaveOutMembersResponse()

    def _leave_out(self, tokens: list[str]) -> None:
        with self._parts.database.writing() as connection:
            sealer = self._parts.keys.sealer(connection)
            studies.leave_out(connection, sealer, tokens, self._parts.now_us())
