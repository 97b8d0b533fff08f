"""The `lipei` command. Registers the commands and turns failures into sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from stack.commands import (
    books,
    claims,
    codec_keys,
    consent,
    demo,
    evidence,
    his,
    identity,
    keys,
    members,
    plans,
    policies,
    pricing,
    providers,
    quote,
    readings,
    status,
    up,
)
from stack.commands.calling import Failed

app = typer.Typer(
    name="lipei",
    help="Health-claim settlement: bills in, decided and paid claims out, every cent explained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _everywhere(
    role: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="ROLE",
            envvar="LIPEI_AS",
            help="Act in this role, or role:tenant, instead of the command's own.",
        ),
    ] = "",
    purpose: Annotated[
        str,
        typer.Option(
            "--purpose",
            metavar="PURPOSE",
            envvar="LIPEI_PURPOSE",
            help="Read for this purpose (docs/access-matrix.md), not for the role's usual one.",
        ),
    ] = "",
    person: Annotated[
        str,
        typer.Option(
            "--person",
            metavar="NAME",
            envvar="LIPEI_PERSON",
            help="Act as this person of the sandbox, for what needs somebody else.",
        ),
    ] = "",
) -> None:
    if role:
        os.environ["LIPEI_AS"] = role
    if purpose:
        os.environ["LIPEI_PURPOSE"] = purpose
    if person:
        os.environ["LIPEI_PERSON"] = person


app.command()(up.up)
app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(demo.demo)
app.command()(status.status)
app.add_typer(plans.app, name="plan")
app.add_typer(policies.app, name="policies")
app.add_typer(providers.app, name="providers")
app.add_typer(members.app, name="members")
app.add_typer(claims.app, name="claims")
app.add_typer(his.app, name="his")
keys.app.command()(codec_keys.rotate_codec)
app.add_typer(keys.app, name="keys")
app.add_typer(consent.app, name="consent")
app.add_typer(identity.app, name="identity")
app.command()(books.books)
app.add_typer(readings.app, name="readings")
app.command()(quote.quote)
app.add_typer(pricing.app, name="pricing")
app.add_typer(evidence.app, name="evidence")


_EVERYWHERE = {"--as": "ROLE", "--purpose": "PURPOSE", "--person": "NAME"}


def _check_order(words: Sequence[str]) -> None:
    """Raises: Failed for an option of every command that stands behind the command."""
    place = 0
    while place < len(words) and words[place].startswith("-"):
        place += 2 if words[place] in _EVERYWHERE else 1
    for word in words[place:]:
        option = word.partition("=")[0]
        if word == "--":
            return
        if option in _EVERYWHERE:
            first = f"lipei {option} {_EVERYWHERE[option]} {words[place]} ..."
            text = f"{option} stands before the command: {first}"
            raise Failed(text, exit_code=2)


def main() -> None:
    """Run the command of the command line; exit 0 done, 1 failed, 2 wrong use."""
    try:
        _check_order(sys.argv[1:])
        app()
    except Failed as failed:
        for line in failed.lines:
            print(line, file=sys.stderr)
        sys.exit(failed.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; don't let the interpreter complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
