"""Every `lipei` command in the manual of the bridge is one, with the options that it is given."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException

from stack.cli import command_line
from tests.services.his_bridge import messages_hl7
from tests.services.his_bridge.population import good
from tests.services.his_bridge.receiving.test_mllp_tls import mint
from tests.stack.typed import lipei

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((ROOT / "docs").glob("his-*.md"))
PROOF = ROOT / "docs" / "his-first-proof.md"
# Of a line in a block of code, and of what stands between backticks in a sentence.
_BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(lipei [^`]+)`")


def commands_of(text: str) -> Iterator[str]:
    """As they are printed, without what a table of commands says of them."""
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            if line.startswith("lipei "):
                yield re.split(r" {2,}", line)[0]
    for found in _INLINE.findall(_BLOCK.sub("", text)):
        yield " ".join(found.split())


@cache
def every_command() -> Any:
    """The whole command line, made once for all that is printed."""
    return typer.main.get_command(command_line(""))


class NoCommand(Exception):
    """A command, an option or a value that is none."""


def check(command: str) -> None:
    """Raises: NoCommand."""
    words = shlex.split(command.replace("[RECORD]", "record"))[1:]
    found = every_command()
    while hasattr(found, "commands") and words:
        if "|" in words[0]:
            return  # a list of commands, each of which stands elsewhere
        name = words.pop(0)
        if name not in found.commands:
            raise NoCommand(name)
        found = found.commands[name]
    if hasattr(found, "commands"):
        return
    try:
        found.make_context(found.name, words)
    except TyperException as error:
        # An overview leaves out what every call needs.
        if type(error).__name__ != "MissingParameter":
            raise NoCommand(str(error)) from None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_is_one(document: Path) -> None:
    wrong = {}
    for command in commands_of(document.read_text("utf-8")):
        try:
            check(command)
        except NoCommand as error:
            wrong[command] = str(error)
    assert not wrong


def test_a_command_or_an_option_that_is_none_is_found() -> None:
    """The control."""
    for command in (
        "lipei his pul general-hospital",
        "lipei his pull general-hospital --fast",
        "lipei members token CN-ID 11010119900307002X --kind CN-ID",
    ):
        with pytest.raises(NoCommand):
            check(command)


def test_each_way_in_takes_ten_commands() -> None:
    blocks = _BLOCK.findall(PROOF.read_text("utf-8"))
    assert [len(block.strip().splitlines()) for block in blocks] == [10, 10, 10, 10]


@pytest.mark.parametrize("way", [0, 1, 2, 3], ids=["files", "sql", "mllp", "fhir"])
def test_what_needs_no_stack_runs_as_printed(
    way: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mint(tmp_path, "mllp")
    mint(tmp_path, "engines")
    around, claims, _ = good(3)

    Path("day.ndjson").write_text("\n".join(map(json.dumps, (*around, *claims))), "utf-8")
    Path("batch.hl7").write_bytes(messages_hl7.dft().encode("gb18030"))
    env: dict[str, str] = {}
    block = _BLOCK.findall(PROOF.read_text("utf-8"))[way]
    for line in block.splitlines():
        words = shlex.split(line.replace("$PWD", str(tmp_path)))
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            env[name] = value
        elif words[:2] == ["cp", words[1]] and words[1].startswith("services/"):
            # What is to be said in a copy: here, where the listener's certificates lie.
            text = (ROOT / words[1]).read_text("utf-8").replace("/etc/lipei", str(tmp_path))
            Path(words[2]).write_text(text, "utf-8")
        elif words[:2] == ["lipei", "his"] and words[2] in ("add", "parse"):
            state = ["--state", str(tmp_path / "state")] if words[2] == "add" else []
            typed = lipei(*words[1:], *state, env=env)
            # What a record says is its own matter; the command itself is understood.
            assert typed.code in (0, 1), typed.err
            assert words[2] == "parse" or typed.code == 0, typed.err
