"""Generate the typed Python code of every .proto beside it, or prove that it is current.

It knows protoc and its plugins from the development lock, nothing of what the messages mean. The
output depends on the .proto files and the locked tools only, so that `--check` can compare byte
for byte.
"""

import argparse
import filecmp
import re
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path("protos")
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$|^py\.typed$")
SERVICE = re.compile(r"^service\s", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the generated code; with --check only compare, and return 1 when it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    check: bool = parser.parse_args(arguments).check
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        if not generate(PROTOS, fresh):
            return 1
        differences = compare(fresh, PROTOS)
        if check:
            return report(differences)
        replace(fresh, PROTOS, differences)
    return 0


def generate(source: Path, target: Path) -> bool:
    """Run protoc for all of `source` into `target`; gRPC code only for files with a service."""
    protos = sorted(source.rglob("*.proto"))
    with_service = [proto for proto in protos if SERVICE.search(proto.read_text("utf-8"))]
    ok = run(source, protos, [f"--python_out={target}", f"--mypy_out=quiet:{target}"]) and run(
        source, with_service, [f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}"]
    )
    (target / "lipei" / "py.typed").touch()
    return ok


def run(source: Path, protos: Sequence[Path], outputs: Sequence[str]) -> bool:
    """Call protoc in this process; it prints its own errors."""
    scripts = Path(sys.prefix) / "bin"
    plugins = [
        f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    includes = [f"-I{source}", f"-I{files('grpc_tools') / '_proto'}"]
    code: int = protoc.main(["protoc", *plugins, *includes, *outputs, *map(str, protos)])
    return code == 0


def generated_in(root: Path) -> set[Path]:
    """Every generated file below `root`, relative to it."""
    return {
        path.relative_to(root)
        for path in root.rglob("*")
        if path.is_file() and GENERATED.search(path.name) and "__pycache__" not in path.parts
    }


def compare(fresh: Path, committed: Path) -> dict[Path, str]:
    """What has to happen to each committed file: written, rewritten or removed."""
    wanted, present = generated_in(fresh), generated_in(committed)
    differences = dict.fromkeys(wanted - present, "missing")
    differences |= dict.fromkeys(present - wanted, "left over")
    for path in wanted & present:
        if not filecmp.cmp(fresh / path, committed / path, shallow=False):
            differences[path] = "stale"
    return differences


def report(differences: dict[Path, str]) -> int:
    """Name each stale file, and say what to do."""
    for path, what in sorted(differences.items()):
        print(f"{PROTOS / path}: {what}", file=sys.stderr)
    if differences:
        print("run `make proto` and commit what it writes", file=sys.stderr)
    return 1 if differences else 0


def replace(fresh: Path, committed: Path, differences: dict[Path, str]) -> None:
    """Bring the committed code to what protoc gave; files that are current keep their time."""
    for path, what in sorted(differences.items()):
        if what == "left over":
            (committed / path).unlink()
        else:
            (committed / path).write_bytes((fresh / path).read_bytes())
        print(f"{PROTOS / path}: {'removed' if what == 'left over' else 'written'}")


if __name__ == "__main__":
    sys.exit(main())
