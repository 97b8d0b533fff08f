"""`lipei members token`: the pseudonym under which this installation knows a person."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from services.common.identity import member_token
from services.common.settings import (
    UnknownSetting,
    member_token_key_file,
    member_token_key_version,
)
from services.common.state import load_or_make_key
from stack.commands.calling import Failed
from stack.commands.options import DEFAULT_STATE, State
from stack.commands.printing import say

app = typer.Typer(no_args_is_help=True, help="Members: token.")


@app.callback()
def _group() -> None:
    """Keeps `token` a word of its own while it is the only one."""


@app.command()
def token(
    number: Annotated[
        str, typer.Argument(metavar="NUMBER", help='"-" reads it from standard input.')
    ],
    kind: Annotated[str, typer.Option("--kind", help="Kind of document, as policies write it.")],
    state: State = DEFAULT_STATE,
) -> None:
    """Print the member token of an identity document under this installation's key.

    Asks no service. A number on the command line stays in the shell's history: prefer "-".
    """
    file = member_token_key_file(state)
    if not file.exists():  # a key made here would fit no bill
        raise Failed(f"{file}: there is no key; `lipei up` makes it")
    text = sys.stdin.readline() if number == "-" else number
    try:
        key = load_or_make_key(file)
        made = member_token(kind, text, key=key, key_version=member_token_key_version())
    except (UnknownSetting, ValueError) as error:
        raise Failed(str(error)) from None
    except OSError as error:
        raise Failed(f"{file}: {error.strerror or 'cannot be read'}") from None
    say(made)
