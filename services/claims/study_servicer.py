"""StudyService of claims: people as a study may see them, batch by batch, and who is in no study.

Who is told of, how exactly and in which order, is selected in one transaction; each batch is one
of its own: however slow the caller is, nothing is held meanwhile. Whoever was selected and is gone
ends it. The guard puts each person on record before a batch leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date

import grpc
from sqlalchemy import Connection

from lipei.claims.v1 import study_pb2 as pb
from lipei.claims.v1 import study_pb2_grpc
from services.claims.core.study import Born
from services.claims.serving import ClaimsParts, Context
from services.claims.storage import studies
from services.claims.studying import Names, Reader, Selection, Studied
from services.common.access.caller import forget_noted, note_name, note_owner
from services.common.access.studies import asked_study, study_names
from services.common.access.study_tokens import NAMED_AT_ONCE, StudySeal
from services.common.access.tenant import current_tenant
from services.common.grpc_edge import Refused, Violation, invalid
from services.common.identity import is_member_token
from services.common.request_id import request_id_faults

FULL_NAME = "lipei.claims.v1.StudyService"
MOST_MEMBERS = 100
# People a batch: a message of about a hundred kilobytes.
BATCH = 200
_NAME_BYTES = 16
_MEMBER = "members/"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    study: str
    before: date
    insurer: str
    name: Names
    # Whose study it is, and which: what is sealed is good for no other.
    sealed_for: str

    @property
    def pages(self) -> str:
        """What page tokens are sealed for; not as they were when people came in another order."""
        return f"{self.sealed_for} people in their places"


class StudyServicer(study_pb2_grpc.StudyServiceServicer):
    """Holds no state of its own."""

    def __init__(self, parts: ClaimsParts, key: bytes, *, batch: int = BATCH) -> None:
        """`key` names people in studies and seals what claims says of them; pricing has it too."""
        self._parts = parts
        self._key = key
        self._seal = StudySeal(key)
        self._batch = batch

    async def ExportPeople(
        self, request: pb.ExportPeopleRequest, context: Context
    ) -> AsyncIterator[pb.ExportPeopleResponse]:
        """Every person who may be in the study, batch by batch."""
        asked = self._asked(request)
        position = self._seal.position(asked.pages, request.page_token)
        began, _, rest = position.partition("/")
        newest, _, before = rest.partition("/")
        run = self._parts.database.run
        selection = await run(self._selected, asked, int(newest) if newest else None)
        if began and began != selection.digest:
            raise _changed()
        start = int(before or 0)
        told_before, more = False, True
        while more:
            studied, answer = await run(self._told, asked, selection, start)
            if not start:
                answer.left_out.MergeFrom(selection.left_out)
            start += self._batch
            more = start < len(selection.order)
            if not more:
                # Whoever was told of in this call may have left since.
                if told_before or answer.people:
                    await self._check(asked, selection)
                answer.grants.extend(self._grants(asked, selection))
            token = self._seal.page_token(
                asked.pages, f"{selection.digest}/{selection.last_policy}/{start}"
            )
            if more:
                answer.next_page_token = token
            else:
                answer.confirm_token = token
            for person, member in studied.tokens.items():
                note_name(person, f"{_MEMBER}{member}/studies/{asked.study}")
                note_owner(person, current_tenant().key)
            told_before |= bool(answer.people)
            yield answer
            forget_noted()

    async def _check(self, asked: _Asked, selection: Selection) -> None:
        """Raises: Refused (POPULATION_CHANGED) when somebody of the selection left, or changed."""
        run = self._parts.database.run
        now = await run(self._selected, asked, selection.last_policy)
        if now.digest != selection.digest:
            raise _changed()

    def _grants(self, asked: _Asked, selection: Selection) -> list[bytes]:
        told, step = selection.told(), NAMED_AT_ONCE * _NAME_BYTES
        return [
            self._seal.grant(asked.sealed_for, told[start : start + step])
            for start in range(0, len(told), step)
        ]

    def _asked(self, request: pb.ExportPeopleRequest) -> _Asked:
        """Raises: Refused with every fault of the request."""
        before = asked_study(request.study, request.before_date, now_us=self._parts.now_us())
        tenant = current_tenant()
        return _Asked(
            study=request.study,
            before=before,
            insurer=tenant.required_insurer(),
            name=study_names(self._key, tenant, request.study, before),
            sealed_for=f"{tenant.key} {request.study} {request.before_date}",
        )

    def _selected(self, asked: _Asked, newest: int | None) -> Selection:
        """All who may be in the study, of policies up to the newest that is known or of now."""
        born: dict[str, Born] = {}
        names: dict[str, bytes] = {}
        places: dict[str, str] = {}
        left_out = pb.StudyLeftOut()
        with self._parts.database.reading() as connection:
            if newest is None:
                newest = studies.last_policy(connection, asked.insurer)
            after, more = "", True
            while more:
                rows = studies.people_after(connection, asked.insurer, newest, after, self._batch)
                for one in self._reader(connection, asked).opened(rows, left_out):
                    born[one.id] = one.born
                    names[one.id] = bytes.fromhex(asked.name("person", one.token))
                    places[one.id] = asked.name("place", one.token)
                more = len(rows) == self._batch
                after = rows[-1].id if rows else after
        order = sorted(places, key=places.__getitem__)
        return Selection(newest, born, names, order, left_out)

    def _told(
        self, asked: _Asked, selection: Selection, start: int
    ) -> tuple[Studied, pb.ExportPeopleResponse]:
        """The next people of the order.

        Raises: Refused (POPULATION_CHANGED) when one of them is not as they were selected.
        """
        ids = selection.order[start : start + self._batch]
        with self._parts.database.reading() as connection:
            rows = studies.people_of(connection, asked.insurer, selection.last_policy, ids)
            reader = self._reader(connection, asked)
            people = reader.opened(rows, pb.StudyLeftOut())
            if {one.id: one.born for one in people} != {one: selection.born[one] for one in ids}:
                raise _changed()
            studied = reader.told(people, selection.census, asked.name, pb.StudyLeftOut())
        total = len(selection.order)
        answer = pb.ExportPeopleResponse(
            people=studied.people,
            left_out=studied.left_out,
            done=min(start + self._batch, total),
            total=total,
        )
        return studied, answer

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


def _changed() -> Refused:
    text = "people came or went, so that somebody told of may stand out; begin anew"
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, "POPULATION_CHANGED", text)
