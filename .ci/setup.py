"""Bring .venv to what requirements-dev.lock and pyproject.toml say; do nothing when it is there.

Runs under the system's Python before anything is installed, so it knows the standard library only.
The stamp in .venv is written last: an environment without its stamp was interrupted and is made
anew, and so is one that was moved, since the scripts in it carry its path.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).absolute().parent.parent
PIN = re.compile(r"^[A-Za-z0-9][\w.-]*==", re.MULTILINE)
COLLECTING = re.compile(r"^Collecting ([\w.-]+)")
LINES_EVERY = 25  # packages between two lines of progress where nobody looks at a terminal


def main() -> int:
    """Set up, or do nothing; 1 when pip or the file system refuses, which is said on stderr."""
    venv = ROOT / ".venv"
    lock = ROOT / "requirements-dev.lock"
    wanted = {
        "environment": digest(without_comments(lock.read_bytes()), os.fsencode(venv)),
        "project": digest((ROOT / "pyproject.toml").read_bytes()),
    }
    stamp = venv / "lipei-stamp.json"
    found = read_stamp(stamp, venv)
    if found == wanted:
        return 0
    try:
        stamp.unlink(missing_ok=True)
        if found.get("environment") != wanted["environment"]:
            make_environment(venv, lock)
        install_project(venv)
        write_stamp(stamp, wanted)
    except OSError as error:
        return failed(f"cannot write {error.filename or venv}: {error.strerror}")
    except subprocess.CalledProcessError as error:
        what = "pip" if "pip" in error.cmd else "python -m venv"
        return failed(f"{what} failed as shown above; mend it and run `make setup` again")
    except KeyboardInterrupt:
        return failed("interrupted; the next run starts .venv anew")
    print("set up: .venv", flush=True)
    return 0


def digest(*parts: bytes) -> str:
    """Name the parts by their content."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def without_comments(lock: bytes) -> bytes:
    """What of a lock decides what is installed."""
    return b"\n".join(line for line in lock.splitlines() if not line.lstrip().startswith(b"#"))


def read_stamp(stamp: Path, venv: Path) -> dict[str, str]:
    """What .venv was last brought to; empty when it is half made, moved or has lost its Python."""
    try:
        found: dict[str, str] = json.loads(stamp.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if (venv / "bin" / "python").exists() else {}


def write_stamp(stamp: Path, wanted: dict[str, str]) -> None:
    """Write it whole or not at all."""
    draft = stamp.with_suffix(".draft")
    draft.write_text(json.dumps(wanted), "utf-8")
    draft.replace(stamp)


def make_environment(venv: Path, lock: Path) -> None:
    """An empty environment, then every pin of the lock: hashes required, nothing is compiled."""
    python = sys.version.split()[0]
    pins = len(PIN.findall(lock.read_text("utf-8")))
    print(f"setting up .venv with Python {python} and {pins} locked packages", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)  # noqa: S603 fixed arguments
    command = pip(venv, "--require-hashes", "--only-binary", ":all:", "--no-deps", "-r", str(lock))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:  # noqa: S603 fixed arguments
        assert process.stdout is not None  # noqa: S101 it is a pipe
        show_progress(process.stdout, pins)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def install_project(venv: Path) -> None:
    """Our own packages in place, so that `lipei` is on the path and edits count at once."""
    command = pip(venv, "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    subprocess.run(command, check=True, env=environment())  # noqa: S603 fixed arguments


def pip(venv: Path, *arguments: str) -> list[str]:
    """The command line of one `pip install`; the index is the user's own setting."""
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    return [str(venv / "bin" / "python"), "-m", "pip", "install", *options, *arguments]


def environment() -> dict[str, str]:
    """Ours, without what would lead pip outside .venv."""
    outside = {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PYTHONHOME", "PYTHONPATH"}
    return {name: value for name, value in os.environ.items() if name not in outside}


def show_progress(lines: Iterable[str], pins: int) -> None:
    """One line that counts on a terminal, now and then a line elsewhere."""
    terminal = sys.stdout.isatty()
    count = 0
    for line in lines:
        if collecting := COLLECTING.match(line):
            count += 1
            if terminal:
                print(f"\r\033[K  {count} of {pins}: {collecting[1]}", end="", flush=True)
            elif count % LINES_EVERY == 0:
                print(f"  {count} of {pins}", flush=True)
        elif line.startswith("Installing collected packages"):
            print("\r\033[K  installing" if terminal else "  installing", flush=True)


def failed(text: str) -> int:
    """Say why on stderr."""
    print(f"lipei: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
