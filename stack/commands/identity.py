"""`lipei identity ...`: certificates and tokens of the sandbox on this state directory."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from services.common.access.desks import sandbox_names
from services.common.settings import UnknownSetting, trust_domain
from services.common.state import state_dir
from services.common.transport.certificates import TlsRefused, load_identity
from services.common.transport.names import ForeignName
from stack.authority import LIFE, Authority, mints
from stack.commands.acting import acting_as, mint_token
from stack.commands.failing import Failed, using
from stack.commands.options import DEFAULT_STATE, AsJson, State
from stack.commands.printing import print_json, print_table, rows, say, table, told_time
from stack.sandbox_issuer import SandboxIssuer, has_issuer

app = typer.Typer(
    no_args_is_help=True, help="Certificates and tokens: list, mint, issue, revoke, token."
)

_LONGEST_DAYS = 90
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Process or name, as `list` prints them: hospital-general, or "
        "spiffe://{trust domain}/...",
    ),
]


@app.command("list")
def list_issued(state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """List the certificates minted here that have not expired."""
    with using(state):
        found = _authority(state).issued()
    if as_json:
        print_json(
            {
                "certificates": [
                    {
                        "process": one.process,
                        "name": one.uri,
                        "serial": one.serial,
                        "not_after": one.not_after,
                        "revoked": revoked,
                    }
                    for one, revoked in found
                ]
            }
        )
        return
    made = table("process", "name", "until (UTC)", "revoked")
    print_table(
        rows(
            made,
            (
                (one.process, one.uri, told_time(one.not_after), "yes" if revoked else "")
                for one, revoked in found
            ),
        )
    )


@app.command()
def mint(
    hospital: Annotated[
        list[str] | None, typer.Option("--hospital", help="A hospital; may be repeated.")
    ] = None,
    state: State = DEFAULT_STATE,
) -> None:
    """Mint what `lipei up` would, and start nothing: for services that are started by hand."""
    with using(state):
        fresh = _authority(state).ensure(sandbox_names(hospital or ()))
        if has_issuer():
            SandboxIssuer(state_dir(state))
    say(f"minted: {', '.join(fresh) or 'nothing, all of it stands'}")


@app.command()
def issue(
    name: Name,
    out: Annotated[Path, typer.Option("--out", help="Folder for certificate, key, authority.")],
    process: Annotated[str, typer.Option("--process", help="Name of the files.")] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=_LONGEST_DAYS)] = LIFE.days,
    state: State = DEFAULT_STATE,
) -> None:
    """Issue a certificate for another machine. Carry the folder there by a safe way."""
    process = process or name.rpartition("/")[2]
    with using(state):
        authority = _authority(state)
        name = _uri(authority, name)
    if not process or Path(process).name != process:
        raise Failed("--process must be a plain file name", exit_code=2)
    try:
        authority.issue(process, name, out, timedelta(days=days))
    except ForeignName as foreign:
        raise Failed(f"{name}: {foreign}", exit_code=2) from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise Failed(f"--out {out} cannot be written: {why}", exit_code=2) from None
    say(f"{out / process}.pem and .key, good for {days} days; the key is in no other place")


@app.command()
def revoke(
    name: Name,
    state: State = DEFAULT_STATE,
) -> None:
    """Revoke every certificate of a name. Services refuse it from their next call on."""
    with using(state):
        revoked = _authority(state).revoke(name)
    if not revoked:
        raise Failed(f"{name}: no certificate of that name stands; `lipei identity list`")
    say(f"revoked: {', '.join(f'{one.process} ({one.serial})' for one in revoked)}")
    say("the next `lipei up` gives its own processes new ones; other machines need `issue`")


@app.command()
def token(
    roles: Annotated[
        list[str],
        typer.Argument(metavar="ROLE...", help="Roles, or role:tenant, such as member:TOKEN."),
    ],
    state: State = DEFAULT_STATE,
) -> None:
    """Print tokens of the sandbox, one a line, each for 10 minutes and bound to its desk."""
    try:
        for role in roles:
            acting = acting_as(role)
            if not acting.tenant:
                raise Failed(f"{role}: machines have no token; their certificate says who they are")
            with using(state):
                identity = load_identity(state_dir(state), acting.process)
                minted = mint_token(state, acting, identity)
            print(minted)
    except (TlsRefused, UnknownSetting) as refused:
        raise Failed(*str(refused).splitlines()) from None


def _uri(authority: Authority, name: str) -> str:
    """The name in a certificate of what a person called by process or by that name.

    Raises: Failed when no process is called so.
    """
    if "://" in name:
        return name
    hospital = name.removeprefix("desk-").removeprefix("hospital-")
    known = {one.process: one.uri for one, _ in authority.issued()}
    with suppress(ForeignName):  # what no hospital is called is no process of one
        known |= sandbox_names([hospital])
    if name not in known:
        text = "is no process of `lipei identity list`; give one, or spiffe://{trust domain}/..."
        raise Failed(f"{name}: {text}", exit_code=2)
    return known[name]


def _authority(state: Path) -> Authority:
    folder = state_dir(state)
    if not mints(folder, os.environ):
        raise Failed("certificates here are the operator's own; nothing is minted or revoked")
    return Authority(folder, trust_domain())
