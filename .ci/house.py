"""Hold rules of the house that no linter knows: no traces of a machine, no ignore without a reason.

It reads every text file that .gitignore does not name, so that it works without git, and prints
file and line of each breach. It changes nothing.
"""

import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
# An index belongs to whoever installs. The names are split so that this file keeps its own rule.
INDEX = re.compile(
    "--(extra-)?index" + "-url|--trusted" + "-host|--find" + "-links|pypi" + r"\.org"
)
INDEX_HOST = re.compile("python" + r"hosted\.org|https?://\S+" + "/simple" + r"\b")
HOMES = re.compile(r"(?<![\w.])/(home|Users)/[a-z][\w.-]*/")
MARKERS = re.compile(
    r"#\s*(noqa(:\s*[A-Z]+\d+([,\s]+[A-Z]+\d+)*)?"
    r"|type:\s*ignore(\[[\w, -]*\])?"
    r"|nosec(\s+B\d+([,\s]+B\d+)*)?"
    r"|fmt:\s*(off|on|skip)"
    r"|pragma:\s*no cover)"
)
WORD = re.compile(r"[A-Za-z]{2,}|[\u4e00-\u9fff]{2,}")
# Entries of a list of switched-off rules: "S311", or "B101", in pyproject.toml.
SWITCHED_OFF = re.compile(r'^\s*"[A-Z]+\d*",?\s*$')


def main() -> int:
    """Print each breach below the current folder; 1 when there is one."""
    root = Path.cwd()
    breaches = sorted(breaches_in(root))
    for path, line, text in breaches:
        print(f"{path}:{line}: {text}", file=sys.stderr)
    return 1 if breaches else 0


def breaches_in(root: Path) -> Iterator[tuple[str, int, str]]:
    """Each breach as file, line and what is wrong."""
    machine = [f"{path}/" for path in {root, Path.home()} if path != Path("/")]
    for path in tracked(root):
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        name = path.relative_to(root).as_posix()
        for number, line in enumerate(text.splitlines(), 1):
            yield from ((name, number, what) for what in traces(line, machine))
        if name.endswith(".lock"):
            yield from ((name, number, what) for number, what in unpinned(text))
        if path.suffix == ".py" and not GENERATED.search(name):
            yield from ((name, number, what) for number, what in bare_ignores(text))
        if name == "pyproject.toml":
            yield from ((name, number, what) for number, what in bare_switches(text))


def tracked(root: Path) -> Iterator[Path]:
    """The files that .gitignore does not name; its lines are folders (`build/`) and globs."""
    patterns = (root / ".gitignore").read_text("utf-8").split()
    ignored = [".git", *(pattern.rstrip("/") for pattern in patterns)]
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not matches(name, ignored))
        yield from (Path(folder, name) for name in sorted(files) if not matches(name, ignored))


def matches(name: str, patterns: list[str]) -> bool:
    """Whether a pattern names it."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def traces(line: str, machine: list[str]) -> Iterator[str]:
    """What of a line tells where it was written or where packages came from."""
    if INDEX.search(line) or INDEX_HOST.search(line):
        yield "names a package index; it belongs into the configuration of whoever installs"
    if HOMES.search(line) or any(path in line for path in machine):
        yield "names a path of one machine"


def unpinned(lock: str) -> Iterator[tuple[int, str]]:
    """Lines of a lock that are no exact pin, no hash and no comment."""
    for number, line in enumerate(lock.splitlines(), 1):
        if "://" in line or not re.match(r"[\w.-]+(\[[\w,-]+\])?==|    --hash=sha256:|\s*#", line):
            yield number, "a lock holds exact pins and hashes only"


def bare_ignores(source: str) -> Iterator[tuple[int, str]]:
    """Comments that silence a tool and do not say why on the same line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or not MARKERS.search(token.string):
            continue
        if not WORD.search(MARKERS.sub("", token.string)):
            yield token.start[0], "an ignore carries its reason on the same line"


def bare_switches(text: str) -> Iterator[tuple[int, str]]:
    """Rules that pyproject.toml switches off without a reason."""
    off = False
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r'("\S+"|ignore|skips) = \[', line):
            off = True
        elif line.startswith("]"):
            off = False
        elif off and SWITCHED_OFF.match(line):
            yield number, "a rule that is switched off carries its reason on the same line"


if __name__ == "__main__":
    sys.exit(main())
