"""The wire's gates can fail: a broken promise, stale code and a left-over file are refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUF = str(Path(sys.executable).with_name("buf"))
BREAKING = [BUF, "breaking", "--against", "protos/released.binpb"]
GENERATED = [sys.executable, str(ROOT / ".ci" / "generate.py"), "--check"]
MONEY = "protos/lipei/type/v1/money.proto"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the wire, to break."""
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "protos", tmp_path / "protos", ignore=ignored)
    return tmp_path


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_the_wire_keeps_what_was_released(tree: Path) -> None:
    result = run(BREAKING, tree)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int64 minor_units = 2", "int64 amount = 2"),
        ("int64 minor_units = 2", "int64 minor_units = 3"),
        ("int64 minor_units = 2", "string minor_units = 2"),
        ("  string currency_code = 1 [(lipei.type.v1.level) = 2];\n", ""),
    ],
)
def test_a_broken_promise_is_refused(tree: Path, old: str, new: str) -> None:
    rewrite(tree / MONEY, old, new)
    result = run(BREAKING, tree)
    assert result.returncode != 0
    assert "money.proto" in result.stdout


def test_generating_twice_gives_the_same(tree: Path) -> None:
    result = run(GENERATED, tree)
    assert result.returncode == 0, result.stderr


def test_a_changed_proto_makes_the_code_stale(tree: Path) -> None:
    rewrite(tree / MONEY, "int64 minor_units = 2", "bool exact = 3;\n  int64 minor_units = 2")
    result = run(GENERATED, tree)
    assert result.returncode == 1
    assert "money_pb2.py: stale" in result.stderr
    assert "run `make proto`" in result.stderr


def test_code_without_its_proto_is_left_over(tree: Path) -> None:
    shutil.copy(
        tree / "protos/lipei/type/v1/money_pb2.py", tree / "protos/lipei/type/v1/gone_pb2.py"
    )
    result = run(GENERATED, tree)
    assert result.returncode == 1
    assert "gone_pb2.py: left over" in result.stderr


def test_only_files_with_a_service_have_grpc_code() -> None:
    grpc = {path.name for path in (ROOT / "protos").rglob("*_pb2_grpc.py")}
    services = {
        path.name.replace(".proto", "_pb2_grpc.py")
        for path in (ROOT / "protos").rglob("*.proto")
        if "\nservice " in path.read_text("utf-8")
    }
    assert grpc == services
