"""The guard over real gRPC: each role is refused or answered as docs/access-matrix.md says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from lipei.claims.v1 import claims_pb2, recompute_pb2, recompute_pb2_grpc
from lipei.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from lipei.type.v1 import access_pb2
from services.common.access.caller import (
    Caller,
    NobodyCalls,
    current_caller,
    note_consent,
    note_owner,
)
from services.common.access.guard import Context, Guard
from services.common.access.purposes import MEANINGS, PURPOSES
from services.common.access.withheld import withheld_in
from services.common.database import Database
from services.common.evidence.access_read import AccessRead
from services.common.refusals import Refused, RpcFault, error_of
from tests.callers import AT_US, Reads, caller, guard_for, pseudonym
from tests.services.common.access.answering import (
    METHODS,
    answering,
    answers_in_full,
    asked,
    full,
    path_of,
    run,
)

MATRIX = Path(__file__).parents[4] / "docs" / "access-matrix.md"
ROLES = {name.removeprefix("ROLE_").lower(): n for name, n in access_pb2.Role.items() if n}
GET_CLAIM, LIST_CLAIMS, EXPLAIN, SUBMIT = (
    claims_pb2.DESCRIPTOR.services_by_name["ClaimsService"].methods_by_name[name]
    for name in ("GetClaim", "ListClaims", "ExplainClaim", "SubmitClaim")
)
ASSESS, RECORD, STREAM = (
    pricing_pb2.DESCRIPTOR.services_by_name["PricingService"].methods_by_name[name]
    for name in ("AssessMember", "RecordReadings", "StreamReadings")
)
TOKEN = "k1." + "ab" * 32
CLAIM = "policies/p1/claims/c1"


def by_metadata(context: Context) -> Caller:
    """A fake of identification: whoever calls says which roles it has."""
    said = dict(context.invocation_metadata() or ()).get("test-roles", "")
    if not said:
        raise Refused(grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_MISSING", "show a certificate")
    known = caller(*(ROLES[role] for role in str(said).split(",")))
    told = {key: str(value) for key, value in context.invocation_metadata() or ()}
    insurer = told.get("test-insurer") or None
    return replace(known, purpose=told.get("lipei-purpose", ""), insurer=insurer)


def rows() -> Iterator[tuple[str, list[str], list[str]]]:
    """Each row of the document's tables of rpcs: the rpc's path, the table's head, the row."""
    service, head = "", list[str]()
    for line in MATRIX.read_text("utf-8").splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            service, head = line.removeprefix("## "), []
        elif row[0] == "rpc":
            head = row
        elif head and row[0].removesuffix(" †").isalpha():
            yield f"/{service}/{row[0].removesuffix(' †')}", head, row


def matrix() -> dict[tuple[str, str], str]:
    """The cells of the document by rpc and role; a role without a column has none."""
    return {
        (path, role): cell
        for path, head, row in rows()
        if head[1] in ROLES
        for role, cell in zip(head[1:], row[1:], strict=True)
    }


def fields_named_withheld() -> dict[tuple[str, str], set[str]]:
    """The fields that the document says an rpc withholds from a role."""
    return {
        (path, role): set(re.findall(r"`([^`]+)`", row[2]))
        for path, head, row in rows()
        if head[1] == "withheld from"
        for role in row[1].split(", ")
    }


def levels_in(message: Message) -> Iterator[int]:
    """The level of every populated field, wherever it stands."""
    for field, value in message.ListFields():
        yield field.GetOptions().Extensions[access_pb2.level]
        held = value.values() if hasattr(value, "values") else value
        parts = [held] if isinstance(held, Message) else held
        if field.message_type and field.message_type.file.package.startswith("lipei."):
            for part in parts:
                if isinstance(part, Message):
                    yield from levels_in(part)


def as_role(role: str, purpose: str = "", insurer: str = "") -> dict[str, Any]:
    """How a call says which role its caller has, what for, and of which insurer."""
    said = {"test-roles": role, "lipei-purpose": purpose, "test-insurer": insurer}
    return {"metadata": tuple((key, value) for key, value in said.items() if value)}


def reflecting(channel: Any) -> Any:
    """A stub of reflection; the stubs' types know no asyncio."""
    return reflection_pb2_grpc.ServerReflectionStub(channel)


async def fault_of(channel: grpc.aio.Channel, method: MethodDescriptor, **how: Any) -> RpcFault:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await asked(channel, method, **how)
    return error_of(failed.value)


async def refusal(
    channel: grpc.aio.Channel, method: MethodDescriptor, **how: Any
) -> tuple[grpc.StatusCode, str]:
    fault = await fault_of(channel, method, **how)
    return fault.code, fault.reason


def test_every_role_finds_in_every_rpc_what_the_matrix_says() -> None:
    cells, withheld = matrix(), fields_named_withheld()
    assert {path for path, _ in cells} == {path_of(method) for method in METHODS}
    reads, handled = Reads(), list[str]()

    async def answer(method: MethodDescriptor, request: Any, context: Context) -> Any:
        handled.append(path_of(method))
        return await answers_in_full(method, request, context)

    async def one(channel: grpc.aio.Channel, method: MethodDescriptor, role: str) -> None:
        path, how = path_of(method), as_role(role)
        cell = cells.get((path, role), "")
        handled.clear()
        reads.kept.clear()
        if not cell:
            found = await refusal(channel, method, **how)
            assert found == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED"), (path, role)
            assert (handled, reads.kept) == ([], [])
            return
        message, trailing = await asked(channel, method, **how)
        assert handled == [path]
        highest = max(levels_in(message), default=0)
        assert highest == int(cell.removesuffix("*")), (path, role)
        assert withheld_in(trailing) == withheld.get((path, role), set()), (path, role)
        assert bool(withheld_in(trailing)) == cell.endswith("*")
        assert max((read.level for read in reads.kept), default=0) == (
            highest if highest >= 3 else 0
        ), (path, role)
        assert {read.role for read in reads.kept} <= {role}

    async def all_of_them() -> int:
        async with answering(guard_for(by_metadata, reads.append), answer=answer) as channel:
            for method in METHODS:
                for role in ROLES:
                    await one(channel, method, role)
        return len(METHODS) * len(ROLES)

    assert run(all_of_them()) >= 26 * 13


def test_without_the_guard_every_answer_leaves_in_full() -> None:
    # The control for the test above.
    async def call() -> None:
        async with answering(None) as channel:
            for method in METHODS:
                message, trailing = await asked(channel, method)
                assert message == full(method.output_type)
                assert withheld_in(trailing) == frozenset()

    run(call())


def test_a_caller_whom_nobody_knows_reaches_nothing() -> None:
    unauthenticated = (grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_MISSING")

    async def call() -> None:
        async with answering(guard_for(by_metadata)) as channel:
            for method in METHODS:
                assert await refusal(channel, method) == unauthenticated
            health: Any = health_pb2_grpc.HealthStub(channel)
            reflection = reflecting(channel)
            for attempt in (
                health.Check(health_pb2.HealthCheckRequest()),
                anext(aiter(health.Watch(health_pb2.HealthCheckRequest()))),
                anext(aiter(reflection.ServerReflectionInfo(_listing()))),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await attempt
                assert (error_of(failed.value).code, error_of(failed.value).reason) == (
                    unauthenticated
                )

    run(call())


async def _listing() -> Any:
    yield reflection_pb2.ServerReflectionRequest(list_services="")


@pytest.mark.parametrize("role", ["operator", "member", "service"])
def test_health_and_reflection_are_open_to_whoever_is_known(role: str) -> None:
    async def call() -> None:
        async with answering(guard_for(by_metadata)) as channel:
            how = as_role(role)
            health: Any = health_pb2_grpc.HealthStub(channel)
            reflection = reflecting(channel)
            for answer in (
                await health.Check(health_pb2.HealthCheckRequest(), **how),
                await anext(aiter(health.Watch(health_pb2.HealthCheckRequest(), **how))),
            ):
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            listed = await anext(aiter(reflection.ServerReflectionInfo(_listing(), **how)))
            assert listed.list_services_response.service

    run(call())


def test_what_has_no_label_is_open_to_nobody() -> None:
    async def answer(_request: bytes, _context: Context) -> bytes:
        return b"secret"

    async def stream(_request: Any, context: Context) -> None:
        await context.write(b"secret")

    made: Any = grpc.method_handlers_generic_handler(
        "lipei.claims.v1.ClaimsService",
        {
            "NotInTheProto": grpc.unary_unary_rpc_method_handler(answer),
            "Streams": grpc.unary_stream_rpc_method_handler(stream),
            "TakesAndStreams": grpc.stream_stream_rpc_method_handler(stream),
            "Takes": grpc.stream_unary_rpc_method_handler(answer),
            # Labelled, but not served as the .proto says: no mask would see what it streams.
            "GetClaim": grpc.unary_stream_rpc_method_handler(stream),
        },
    )

    async def bytes_of() -> Any:
        yield b""

    async def call(guard: Guard | None) -> list[Any]:
        found: list[Any] = []
        async with answering(guard, made, methods=()) as opened:
            base, channel = "/lipei.claims.v1.ClaimsService/", cast("Any", opened)
            for attempt in (
                channel.unary_unary(base + "NotInTheProto")(b""),
                anext(aiter(channel.unary_stream(base + "Streams")(b""))),
                anext(aiter(channel.stream_stream(base + "TakesAndStreams")(bytes_of()))),
                channel.stream_unary(base + "Takes")(bytes_of()),
                anext(aiter(channel.unary_stream(base + "GetClaim")(b""))),
            ):
                try:
                    found.append(await attempt)
                except grpc.aio.AioRpcError as error:
                    found.append(error_of(error).reason)
        return found

    assert run(call(guard_for())) == ["RPC_NOT_LABELLED"] * 5
    assert run(call(None)) == [b"secret"] * 5  # the control


def test_what_another_role_may_read_elsewhere_gives_nothing_here() -> None:
    # The records office reads up to 4, but may not call GetClaim.
    who = caller(access_pb2.ROLE_AUDITOR, access_pb2.ROLE_HOSPITAL_RECORDS)

    async def call(known: Caller) -> int:
        async with answering(guard_for(known)) as channel:
            message, _ = await asked(channel, GET_CLAIM)
            return max(levels_in(message))

    assert run(call(who)) == 2
    with_adjuster = caller(access_pb2.ROLE_AUDITOR, access_pb2.ROLE_ADJUSTER)
    assert run(call(with_adjuster)) == 3


def test_a_read_rests_on_the_least_role_that_suffices() -> None:
    reads = Reads()
    who = caller(
        access_pb2.ROLE_MEMBER, access_pb2.ROLE_AUDITOR, access_pb2.ROLE_ADJUSTER,
        access_pb2.ROLE_CHIEF_ACTUARY,
    )  # fmt: skip  # one line a tuple reads worse

    async def answer(_method: MethodDescriptor, _request: Any, _context: Context) -> Any:
        return claims_pb2.ExplainClaimResponse(text_en="of level 3")

    async def call() -> None:
        async with answering(guard_for(who, reads.append), answer=answer) as channel:
            await asked(channel, EXPLAIN, claims_pb2.ExplainClaimRequest(name="a-name"))

    run(call())
    assert reads.kept == [
        AccessRead(
            who="person-7",
            uri="spiffe://lipei.local/insurer/i1/desk/7",
            role="adjuster",
            purpose="claim-review",
            consent="",
            rpc="/lipei.claims.v1.ClaimsService/ExplainClaim",
            record="a-name",
            level=3,
            at_us=AT_US,
        )
    ]


def test_a_refusal_says_which_roles_may() -> None:
    async def call() -> RpcFault:
        async with answering(guard_for(by_metadata)) as channel:
            return await fault_of(channel, EXPLAIN, **as_role("payments"))

    text = run(call()).text
    assert "adjuster, senior_adjuster, member" in text
    assert "payments" not in text


def of_installation() -> list[MethodDescriptor]:
    """The rpcs that are the whole installation's, as the document says."""
    lines = MATRIX.read_text("utf-8").splitlines()
    marked = {line.split()[1] for line in lines if line.startswith("|") and " † " in line}
    return [method for method in METHODS if method.name in marked]


def test_what_is_the_whole_installations_is_no_tenants() -> None:
    handled: list[str] = []

    async def answer(method: MethodDescriptor, request: Any, context: Context) -> Any:
        handled.append(method.name)
        return await answers_in_full(method, request, context)

    async def call() -> None:
        async with answering(guard_for(by_metadata), answer=answer) as channel:
            for method in methods:
                role = "operator" if "Keys" in path_of(method) else "auditor"
                found = await refusal(channel, method, **as_role(role, insurer="i1"))
                assert found == (grpc.StatusCode.PERMISSION_DENIED, "TENANT_NOT_ALLOWED")
                assert handled == []
                await asked(channel, method, **as_role(role))  # the control: of no tenant
                assert handled.pop() == method.name

    methods = of_installation()
    assert {method.name for method in methods} >= {"DescribeKeys", "RewrapKeys", "ListLeafHashes"}
    run(call())


def test_a_purpose_is_one_of_the_callers_or_nothing_is_handled() -> None:
    reads, handled = Reads(), list[str]()

    async def answer(method: MethodDescriptor, request: Any, context: Context) -> Any:
        handled.append(method.name)
        return await answers_in_full(method, request, context)

    async def call() -> None:
        async with answering(guard_for(by_metadata, reads.append), answer=answer) as channel:
            made_up = await fault_of(channel, GET_CLAIM, **as_role("adjuster", "curiosity"))
            assert made_up.code is grpc.StatusCode.INVALID_ARGUMENT
            assert made_up.reason == "PURPOSE_UNKNOWN"
            anothers = await fault_of(channel, GET_CLAIM, **as_role("adjuster", "payment"))
            assert anothers.code is grpc.StatusCode.PERMISSION_DENIED
            assert anothers.reason == "PURPOSE_NOT_ALLOWED"
            for fault in (made_up, anothers):
                assert "claim-review, complaint, member-request" in fault.text
            assert "curiosity" not in made_up.text
            assert (handled, reads.kept) == ([], [])
            for purpose in ("", "complaint"):
                await asked(channel, GET_CLAIM, **as_role("adjuster", purpose))
            for other in ("Audit", "audit,complaint", "AUDIT"):
                assert (await refusal(channel, GET_CLAIM, **as_role("auditor", other)))[1] == (
                    "PURPOSE_UNKNOWN"
                )

    run(call())
    assert [read.purpose for read in reads.kept] == ["claim-review", "complaint"]


def test_for_a_purpose_only_those_roles_count_that_have_it() -> None:
    # Somebody who both pays and reviews: for paying they see what a payer sees.
    both, reads = "payments,adjuster", Reads()

    async def highest(purpose: str) -> int:
        async with answering(guard_for(by_metadata, reads.append)) as channel:
            message, _ = await asked(channel, GET_CLAIM, **as_role(both, purpose))
            return max(levels_in(message))

    assert run(highest("payment")) == 2
    assert reads.kept == []
    assert run(highest("claim-review")) == 3
    assert [(read.role, read.purpose) for read in reads.kept] == [("adjuster", "claim-review")]


def test_every_role_has_a_purpose_and_every_purpose_a_meaning_and_a_role() -> None:
    assert PURPOSES.keys() == set(ROLES.values())
    assert all(PURPOSES.values())
    assert {purpose for some in PURPOSES.values() for purpose in some} == MEANINGS.keys()


def test_a_leaf_says_whose_the_record_is() -> None:
    reads = Reads()
    bill = "hospitals/general/bills/b1"

    async def answer(_method: MethodDescriptor, _request: Any, _context: Context) -> Any:
        note_owner(CLAIM, "insurer/i1")
        note_owner("policies/p1/claims/not-shown", "insurer/i9")
        answer = claims_pb2.ListClaimsResponse()
        for name in (CLAIM, CLAIM + "2", bill):
            answer.claims.add(name=name, bill_number="b")
        return answer

    async def call() -> None:
        async with answering(guard_for(None, reads.append), answer=answer) as channel:
            await asked(channel, LIST_CLAIMS)

    run(call())
    assert [(read.record, read.owner) for read in reads.kept] == [
        (CLAIM, "insurer/i1"),
        (CLAIM + "2", ""),
        (bill, "hospital/general"),
    ]
    with pytest.raises(NobodyCalls):
        note_owner(CLAIM, "insurer/i1")


def test_the_request_names_the_record_where_the_answer_does_not_and_tokens_stay_here() -> None:
    reads = Reads()
    request = pricing_pb2.AssessMemberRequest()
    request.participation.member = f"members/{TOKEN}"

    async def answer(method: MethodDescriptor, _request: Any, _context: Context) -> Any:
        if method is RECORD:
            return pricing_pb2.RecordReadingsResponse(coach_tasks=[f"members/{TOKEN}/coachTasks/1"])
        return pricing_pb2.AssessMemberResponse(incentive=pricing_pb2.Incentive(run_months=3))

    async def call() -> None:
        async with answering(guard_for(None, reads.append), answer=answer) as channel:
            await asked(channel, ASSESS, request)
            await asked(channel, RECORD)

    run(call())
    stand_in = f"members/{pseudonym(TOKEN)}"
    assert [read.record for read in reads.kept] == [stand_in, f"{stand_in}/coachTasks/1"]
    assert TOKEN not in repr(reads.kept)


def test_a_sensitive_answer_that_names_no_record_does_not_leave() -> None:
    async def answer(_method: MethodDescriptor, _request: Any, _context: Context) -> Any:
        return claims_pb2.GetClaimResponse(claim=claims_pb2.Claim(bill_number="b"))

    async def call() -> Any:
        async with answering(guard_for(), answer=answer) as channel:
            return await refusal(channel, GET_CLAIM)

    assert run(call()) == (grpc.StatusCode.INTERNAL, "UNEXPECTED_FAULT")


def test_no_sensitive_answer_leaves_before_its_reads_are_recorded() -> None:
    recorded, may_go = asyncio.Event(), asyncio.Event()

    async def append(_reads: Sequence[AccessRead]) -> None:
        recorded.set()
        await may_go.wait()

    async def call() -> None:
        async with answering(guard_for(None, append)) as channel:
            answer = asyncio.create_task(asked(channel, GET_CLAIM))
            await recorded.wait()
            await asyncio.sleep(0)
            # Whatever else the server has to say comes first, but not the answer.
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert not answer.done()
            may_go.set()
            message, _ = await answer
            assert message.claim.bill_number

    run(call())


def test_an_answer_whose_reads_cannot_be_recorded_does_not_leave() -> None:
    async def append(_reads: Sequence[AccessRead]) -> None:
        raise OSError("no space left")

    async def call() -> Any:
        async with answering(guard_for(None, append)) as channel:
            nothing_sensitive = guard_for(caller(access_pb2.ROLE_AUDITOR), append)
            async with answering(nothing_sensitive) as other:
                await asked(other, GET_CLAIM)  # has no read to record
            return await refusal(channel, GET_CLAIM)

    assert run(call()) == (grpc.StatusCode.INTERNAL, "UNEXPECTED_FAULT")


def streaming(told: Sequence[recompute_pb2.DecideWhatIfResponse], *, guarded: bool) -> Any:
    """An rpc of ours that answers with these messages."""

    async def stream(_request: Any, _context: Context) -> Any:
        for one in told:
            if guarded:
                note_owner(CLAIM, "insurer/noted-on-the-way")
            yield one

    made: Any = grpc.unary_stream_rpc_method_handler(
        stream,
        request_deserializer=recompute_pb2.DecideWhatIfRequest.FromString,
        response_serializer=recompute_pb2.DecideWhatIfResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(
        "lipei.claims.v1.RecomputeService", {"DecideWhatIf": made}
    )


def streamed(guard: Guard | None, *told: recompute_pb2.DecideWhatIfResponse) -> Any:
    """What of them arrives, how the call ends, and what it says is withheld."""
    made = streaming(told, guarded=guard is not None)

    async def call() -> Any:
        found: list[recompute_pb2.DecideWhatIfResponse] = []
        async with answering(guard, made, methods=()) as channel:
            stub = recompute_pb2_grpc.RecomputeServiceStub(channel)
            stream: Any = stub.DecideWhatIf(recompute_pb2.DecideWhatIfRequest())
            try:
                async for one in stream:
                    found.append(one)  # noqa: PERF401 -- what came before a failure counts
            except grpc.aio.AioRpcError as error:
                return found, error_of(error).reason, frozenset()
            return found, "", withheld_in(await stream.trailing_metadata())

    return run(call())


def a_claim(member: str) -> recompute_pb2.DecideWhatIfResponse:
    claim = recompute_pb2.WhatIfClaim(name=CLAIM, member=member)
    return recompute_pb2.DecideWhatIfResponse(claims=[claim])


def test_each_message_of_a_stream_is_masked_and_on_record_before_it_leaves() -> None:
    progress = recompute_pb2.DecideWhatIfResponse()
    progress.progress.done = 1
    told = (a_claim("members/a"), progress, a_claim("members/b"))
    reads = Reads()
    who = caller(access_pb2.ROLE_SENIOR_ADJUSTER)
    found, reason, withheld = streamed(guard_for(who, reads.append), *told)
    assert (found, reason, withheld) == (list(told), "", frozenset())
    assert [(read.record, read.level) for read in reads.kept] == [(CLAIM, 3), (CLAIM, 3)]
    assert {read.owner for read in reads.kept} == {"insurer/noted-on-the-way"}
    reads.kept.clear()
    actuary = caller(access_pb2.ROLE_ACTUARY)
    found, reason, withheld = streamed(guard_for(actuary, reads.append), *told)
    assert [one.claims[0].member for one in found if one.claims] == ["", ""]
    assert (reason, withheld, reads.kept) == ("", {"claims.member"}, [])
    found, _, _ = streamed(None, *told)  # the control
    assert found == list(told)


def test_a_stream_ends_before_a_message_whose_reads_cannot_be_recorded() -> None:
    kept = Reads()

    async def append(some: Sequence[AccessRead]) -> None:
        if kept.kept:
            raise OSError("no space left")
        await kept.append(some)

    found, reason, _ = streamed(guard_for(None, append), a_claim("members/a"), a_claim("members/b"))
    assert [one.claims[0].member for one in found] == ["members/a"]
    assert reason == "UNEXPECTED_FAULT"


def test_a_stream_is_refused_to_other_roles_before_anything_is_handled() -> None:
    found, reason, _ = streamed(guard_for(caller(access_pb2.ROLE_AUDITOR)), a_claim("members/a"))
    assert (found, reason) == ([], "ROLE_NOT_ALLOWED")


class Batches:
    """StreamReadings over a guarded edge: every batch answered with a coach's task."""

    def __init__(self, guard: Guard, **edge: Any) -> None:
        self._guard = guard
        self._edge = edge
        self.handled: list[str] = []

    async def answer(self, _method: MethodDescriptor, batch: Any, _context: Context) -> Any:
        self.handled.append(batch.request_id)
        task = f"members/{TOKEN}/coachTasks/{batch.request_id}"
        recorded = pricing_pb2.RecordReadingsResponse(coach_tasks=[task])
        return pricing_pb2.StreamReadingsResponse(request_id=batch.request_id, recorded=recorded)

    def told(self, *ids: str, ends: bool = True) -> tuple[list[str], str]:
        """The batches that were answered, and how the stream ended."""

        async def call() -> tuple[list[str], str]:
            found: list[str] = []
            how = {"answer": self.answer, "methods": [STREAM], **self._edge}
            async with answering(self._guard, **how) as channel:
                stub: Any = pricing_pb2_grpc.PricingServiceStub(channel)
                stream = stub.StreamReadings()
                try:
                    for one in ids:
                        await stream.write(pricing_pb2.StreamReadingsRequest(request_id=one))
                        answer = await stream.read()
                        if answer is grpc.aio.EOF:
                            break
                        found.append(answer.request_id)
                    if ends:
                        await stream.done_writing()
                    assert await stream.read() is grpc.aio.EOF
                except grpc.aio.AioRpcError as error:
                    return found, error_of(error).reason
                return found, ""

        found: tuple[list[str], str] = run(call())
        return found


def test_each_answer_of_a_stream_into_us_is_on_record_before_it_leaves() -> None:
    reads = Reads()
    who = caller(access_pb2.ROLE_PARTNER)
    assert Batches(guard_for(who, reads.append)).told("a", "b") == (["a", "b"], "")
    named = [f"members/{pseudonym(TOKEN)}/coachTasks/{one}" for one in "ab"]
    assert [(read.record, read.level, read.role) for read in reads.kept] == [
        (name, 3, "partner") for name in named
    ]

    async def append(_reads: Sequence[AccessRead]) -> None:
        raise OSError("no space left")

    assert Batches(guard_for(who, append)).told("a") == ([], "UNEXPECTED_FAULT")
    auditor = Batches(guard_for(caller(access_pb2.ROLE_AUDITOR)))
    assert (auditor.told("a"), auditor.handled) == (([], "ROLE_NOT_ALLOWED"), [])


def test_who_opened_a_stream_is_looked_at_again_for_each_message() -> None:
    looks = 0

    def until(last: int) -> Callable[[Context], Caller]:
        def who(_context: Context) -> Caller:
            nonlocal looks
            looks += 1
            if looks > last:
                text = "revoked meanwhile"
                raise Refused(grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_REVOKED", text)
            return caller(access_pb2.ROLE_PARTNER)

        return who

    batches = Batches(guard_for(until(2)))  # one look at the opening, one at the first message
    assert batches.told("a", "b", "c") == (["a"], "CERTIFICATE_REVOKED")
    assert batches.handled == ["a"]
    looks = 0
    assert Batches(guard_for(until(4))).told("a", "b", "c") == (["a", "b", "c"], "")  # the control

    def another(_context: Context) -> Caller:
        nonlocal looks
        looks += 1
        return caller(access_pb2.ROLE_PARTNER, insurer="other" if looks > 2 else None)

    looks = 0
    assert Batches(guard_for(another)).told("a", "b") == (["a"], "CALLER_CHANGED")


def test_a_stream_into_us_that_lasts_too_long_is_told_to_come_again() -> None:
    short = Batches(guard_for(), longest_stream_s=0.5)
    assert short.told("a", ends=False) == (["a"], "STREAM_OVER")
    assert Batches(guard_for()).told("a") == (["a"], "")  # the control: its sender ends it


@pytest.mark.parametrize(("most", "second"), [(1, "TOO_MANY_STREAMS"), (2, "")])
def test_no_more_streams_into_us_are_open_than_told(most: int, second: str) -> None:
    how: Any = {"answer": Batches(guard_for()).answer, "methods": [STREAM], "most_streams": most}

    async def one(stub: Any) -> str:
        try:
            stream = stub.StreamReadings()
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
            await stream.code()
        except grpc.aio.AioRpcError as error:
            return error_of(error).reason
        return ""

    async def call() -> tuple[str, str]:
        async with answering(guard_for(), **how) as channel:
            stub: Any = pricing_pb2_grpc.PricingServiceStub(channel)
            first = stub.StreamReadings()
            await first.write(pricing_pb2.StreamReadingsRequest(request_id="a"))
            await first.read()
            beside = await one(stub)
            await first.done_writing()
            assert await first.read() is grpc.aio.EOF
            await first.code()
            return beside, await one(stub)

    assert run(call()) == (second, "")


def test_the_handler_and_its_threads_know_the_caller_and_note_consents(tmp_path: Path) -> None:
    reads, database = Reads(), Database(f"sqlite:///{tmp_path / 'some.db'}")
    seen: list[Caller] = []

    def in_a_thread() -> None:
        seen.append(current_caller())
        note_consent(CLAIM, "consents/c7")
        note_consent("policies/p1/claims/not-shown", "consents/c8")

    async def answer(_method: MethodDescriptor, _request: Any, _context: Context) -> Any:
        seen.append(current_caller())
        await database.run(in_a_thread)
        answer = claims_pb2.ListClaimsResponse()
        answer.claims.add(name=CLAIM, bill_number="b")
        answer.claims.add(name=CLAIM + "2", bill_number="b")
        return answer

    who = caller(access_pb2.ROLE_ADJUSTER, insurer="i1")

    async def call() -> None:
        async with answering(guard_for(who, reads.append), answer=answer) as channel:
            await asked(channel, LIST_CLAIMS)

    try:
        run(call())
    finally:
        database.close()
    assert seen == [who, who]
    assert [(read.record, read.consent) for read in reads.kept] == [
        (CLAIM, "consents/c7"),
        (CLAIM + "2", ""),
    ]
    with pytest.raises(NobodyCalls):
        current_caller()
    with pytest.raises(NobodyCalls):
        note_consent(CLAIM, "consents/c7")


def test_each_refusal_is_one_line_with_reason_rpc_and_caller() -> None:
    async def call() -> None:
        async with answering(guard_for(by_metadata)) as channel:
            await refusal(channel, GET_CLAIM)
            await refusal(channel, SUBMIT, **as_role("auditor"))
            await asked(channel, GET_CLAIM, **as_role("auditor"))

    with capture_logs() as lines:
        run(call())
    assert lines == [
        {
            "event": "call_refused",
            "log_level": "warning",
            "reason": reason,
            "rpc": f"/lipei.claims.v1.ClaimsService/{rpc}",
            "uri": uri,
        }
        for reason, rpc, uri in (
            ("CERTIFICATE_MISSING", "GetClaim", ""),
            ("ROLE_NOT_ALLOWED", "SubmitClaim", caller().uri),
        )
    ]


def test_the_log_names_a_refused_caller_whose_certificate_is_known() -> None:
    def without_token(_context: Context) -> Caller:
        refused = Refused(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING", "bring a token")
        refused.uri = "spiffe://lipei.local/insurer/i1/desk/9"
        raise refused

    async def call() -> None:
        async with answering(guard_for(without_token)) as channel:
            await refusal(channel, GET_CLAIM)

    with capture_logs() as lines:
        run(call())
    assert [(line["reason"], line["uri"]) for line in lines] == [
        ("TOKEN_MISSING", "spiffe://lipei.local/insurer/i1/desk/9")
    ]
