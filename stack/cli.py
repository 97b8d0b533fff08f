"""The `lipei` command. Registers the commands and turns failures into sentences."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from copy import copy
from importlib import metadata
from types import ModuleType
from typing import Annotated

import typer
from typer.main import get_command_name
from typer.models import CommandInfo

from stack.commands.failing import Failed
from stack.commands.terminal import shown

_HELP = "Health-claim settlement: bills in, decided and paid claims out, every cent explained."
# Each name and the module of `stack.commands` that has it: as a function, or as `app`.
_COMMANDS = ("up", "demo", "status", "books", "quote")
_GROUPS = {
    "plan": "plans",
    "policies": "policies",
    "providers": "providers",
    "members": "members",
    "claims": "claims",
    "his": "his",
    "keys": "keys",
    "consent": "consent",
    "identity": "identity",
    "pricing": "pricing",
    "readings": "readings",
    "medication": "medication",
    "evidence": "evidence",
}
_RUNS_OTHERS = "rerun"  # of its group: it needs them all
_ANYTHING_FOLLOWS = {"allow_extra_args": True, "ignore_unknown_options": True}
_EVERYWHERE = {"--as": "ROLE", "--purpose": "PURPOSE", "--person": "NAME"}


def command_line(chosen: str, within: str = "") -> typer.Typer:
    """The command line with that command alone; with every command when there is none such.

    So with a group's command `within` it. To import all of them, or to look at every option of a
    large group, takes longer than most of them to answer.
    """
    app = typer.Typer(
        name="lipei",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_everywhere)
    known = chosen in (*_COMMANDS, *_GROUPS)
    for name in _COMMANDS:
        if name == chosen or not known:
            command = getattr(_module(name), name)
            if name == "demo":  # it has a command line of its own
                app.command(add_help_option=False, context_settings=_ANYTHING_FOLLOWS)(command)
            else:
                app.command()(command)
    for name, module in _GROUPS.items():
        if name == chosen or not known:
            app.add_typer(_narrowed(_module(module).app, within), name=name)
    return app


def _narrowed(group: typer.Typer, chosen: str) -> typer.Typer:
    """The group with that command alone; as it is when that is none, or runs the others."""
    commands = [one for one in group.registered_commands if _name(one) == chosen]
    groups = [one for one in group.registered_groups if one.name == chosen]
    if chosen == _RUNS_OTHERS or len(commands) + len(groups) != 1:
        return group
    narrowed = copy(group)
    narrowed.registered_commands, narrowed.registered_groups = commands, groups
    return narrowed


def _name(command: CommandInfo) -> str:
    return command.name or get_command_name(command.callback.__name__ if command.callback else "")


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"stack.commands.{name}")


def _tell_version(asked: bool) -> None:
    if asked:
        from services.claims.core.decision import ENGINE_VERSION  # noqa: PLC0415 - heavy

        print(f"lipei {metadata.version('lipei')}, engine {ENGINE_VERSION}")
        raise typer.Exit


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
    version: Annotated[  # noqa: ARG001 - its callback has answered by now
        bool,
        typer.Option(
            "--version",
            callback=_tell_version,
            is_eager=True,
            help="Say which version this is, and which engine decides claims.",
        ),
    ] = False,
) -> None:
    if role:
        os.environ["LIPEI_AS"] = role
    if purpose:
        os.environ["LIPEI_PURPOSE"] = purpose
    if person:
        os.environ["LIPEI_PERSON"] = person


def _place(words: Sequence[str]) -> int:
    """Where the command stands, behind the options of every command."""
    place = 0
    while place < len(words) and words[place].startswith("-"):
        place += 2 if words[place] in _EVERYWHERE else 1
    return place


def _check_order(words: Sequence[str], place: int) -> None:
    """Raises: Failed for an option of every command that stands behind the command."""
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
        words = sys.argv[1:]
        place = _place(words)
        _check_order(words, place)
        command_line(*words[place : place + 2] or [""])()
    except Failed as failed:
        for line in failed.lines:
            print(shown(line), file=sys.stderr)
        sys.exit(failed.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; don't let the interpreter complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
