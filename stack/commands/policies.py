"""`lipei policies import FILE`: policies, members and payee accounts into claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from lipei.claims.v1 import claims_pb2 as pb
from lipei.claims.v1 import policy_pb2
from lipei.claims.v1.claims_pb2_grpc import ClaimsServiceStub
from services.common.refusals import Violation
from services.common.strict_yaml import StrictYamlError
from stack.commands.calling import CallFailed, Failed, calling, content_of, faulty, fresh_request_id
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import counted, print_json, say, when
from stack.identity_documents import document_doubts
from stack.message_file import MessageFile, read_messages

app = typer.Typer(no_args_is_help=True, help="Policies: import.")

MOST = 1_000  # of one request, which is all or none
CALL_S = 120.0
_FEMALE = {policy_pb2.SEX_FEMALE: True, policy_pb2.SEX_MALE: False}


@app.callback()
def _group() -> None:
    """Keeps `import` a word of its own while it is the only one."""


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML; see docs/operating.md.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; store nothing.")
    ] = False,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Import policies, all or none. Every fault is named with its line."""
    read = read_policies(file)
    request = pb.ImportPoliciesRequest(
        request_id=fresh_request_id(), policies=read.messages, dry_run=dry_run
    )
    try:
        with calling(state, "claims", "insurer_intake") as channel:
            answer = ClaimsServiceStub(channel).ImportPolicies(request, timeout=CALL_S)
    except CallFailed as refused:
        if not refused.fault.violations:
            raise
        raise faulty(file, read.line_of, refused.fault.violations) from None
    if answer.faults:
        found = [Violation(f.field, f.reason, f.text) for f in answer.faults]
        raise faulty(file, read.line_of, found)
    for doubt in doubts(file, read):
        typer.echo(doubt, err=True)
    if as_json:
        print_json(answer)
        return
    would = "would be " if dry_run else ""
    say(
        f"{answer.created} {would}created, {answer.revised} {would}revised, "
        f"{answer.unchanged} unchanged"
    )
    for erased in answer.erased_members:
        say(
            f"{file}:{read.line_of(f'policies[{erased.index}]')}: member {erased.member_id} of "
            f"{erased.policy_id} was erased on {when(erased.erase_time)} (UTC): nothing of theirs "
            "was taken in again; to insure the person anew, raise the revision and give another "
            "member_id"
        )


def doubts(file: Path, read: MessageFile[policy_pb2.Policy]) -> Iterator[str]:
    """Warnings of documents that are mistyped: no hospital's bill would ever find such a person."""
    for i, policy in enumerate(read.messages):
        for j, member in enumerate(policy.members):
            field = f"policies[{i}].members[{j}].document.number"
            female = _FEMALE.get(member.sex)
            document = member.document
            if not (document.kind and document.number):
                continue  # claims says that it is missing
            for doubt in document_doubts(
                document.kind, document.number, born=member.birth_date, female=female
            ):
                yield f"{file}:{read.line_of(field)}: warning: {field}: {doubt}"


def read_policies(file: Path) -> MessageFile[policy_pb2.Policy]:
    """The policies of a file, at most as many as one request takes.

    Raises: Failed with every fault of the file.
    """
    try:
        read = read_messages(content_of(file), str(file), "policies", policy_pb2.Policy)
    except StrictYamlError as error:
        count = counted(len(error.faults), "fault")
        raise Failed(*str(error).splitlines(), f"{count}; nothing was stored") from None
    if len(read.messages) > MOST:
        raise Failed(f"{file}: {len(read.messages)} policies; split it, {MOST} are the most")
    return read
