"""Setting up tells what is missing, and trusts no environment that is half made or moved."""

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that setting up reads, and a PATH with no more than a shell needs."""
    (tmp_path / ".ci").mkdir()
    for name in (
        ".ci/setup",
        ".ci/setup.py",
        "Makefile",
        "pyproject.toml",
        "requirements-dev.lock",
    ):
        shutil.copy(ROOT / name, tmp_path / name)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("dirname", "sh"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    return tmp_path


def python(checkout: Path, name: str, *, version: str, modules: Iterable[str] = ()) -> None:
    """A stand-in that answers what .ci/setup asks an interpreter, and tells when it is chosen."""
    fits = (3, 11) <= tuple(int(part) for part in version.split(".")[:2]) <= (3, 14)
    text = f"""#!/bin/sh
case "$*" in
    *python_version*) echo {version} ;;
    *version_info*) exit {0 if fits else 1} ;;
    *ensurepip*) exit {0 if "ensurepip" in modules else 1} ;;
    *) echo "{name} runs $*" ;;
esac
"""
    path = checkout / "tools" / name
    path.write_text(text, "utf-8")
    path.chmod(0o755)


def set_up(checkout: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(checkout / "tools"), **more}
    command = [str(checkout / "tools" / "sh"), ".ci/setup"]
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


def test_without_python_it_says_what_to_install(checkout: Path) -> None:
    result = set_up(checkout)
    assert result.returncode == 1
    assert "found: none" in result.stderr
    assert "apt install python3 python3-venv" in result.stderr


def test_an_old_python_is_named(checkout: Path) -> None:
    python(checkout, "python3", version="3.9.2", modules=["ensurepip"])
    result = set_up(checkout)
    assert result.returncode == 1
    assert "needs Python 3.11 to 3.14; found: python3=3.9.2" in result.stderr


def test_a_python_without_venv_has_its_own_message(checkout: Path) -> None:
    python(checkout, "python3", version="3.11.2")
    result = set_up(checkout)
    assert result.returncode == 1
    assert "cannot make a virtual environment: python3=3.11.2" in result.stderr
    assert "apt install python3-venv " in result.stderr


def test_the_newest_python_that_can_is_taken(checkout: Path) -> None:
    python(checkout, "python3.14", version="3.14.1")
    python(checkout, "python3.12", version="3.12.3", modules=["ensurepip"])
    python(checkout, "python3", version="3.11.2", modules=["ensurepip"])
    assert set_up(checkout).stdout == "python3.12 runs .ci/setup.py\n"


def test_python_may_be_named(checkout: Path) -> None:
    python(checkout, "python3.12", version="3.12.3", modules=["ensurepip"])
    python(checkout, "own", version="3.13.1", modules=["ensurepip"])
    assert set_up(checkout, PYTHON="own").stdout == "own runs .ci/setup.py\n"


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_venv", ROOT / ".ci" / "setup.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def steps(setup: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What setting up does in the checkout, written down instead of done."""
    done: list[str] = []

    def make_environment(venv: Path, _lock: Path) -> None:
        done.append("environment")
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        (venv / "bin" / "python").touch()

    monkeypatch.setattr(setup, "ROOT", checkout)
    monkeypatch.setattr(setup, "make_environment", make_environment)
    monkeypatch.setattr(setup, "install_project", lambda _venv: done.append("project"))
    return done


def test_it_sets_up_once(setup: ModuleType, steps: list[str]) -> None:
    assert setup.main() == 0
    assert steps == ["environment", "project"]
    assert setup.main() == 0
    assert steps == ["environment", "project"]


def test_a_new_lock_makes_the_environment_anew(
    setup: ModuleType, steps: list[str], checkout: Path
) -> None:
    setup.main()
    lock = checkout / "requirements-dev.lock"
    lock.write_text(lock.read_text("utf-8") + "    # via a comment\n", "utf-8")
    setup.main()
    assert steps == ["environment", "project"]
    lock.write_text(lock.read_text("utf-8") + "another==1.0\n", "utf-8")
    setup.main()
    assert steps == ["environment", "project"] * 2


def test_a_new_pyproject_installs_the_project_only(
    setup: ModuleType, steps: list[str], checkout: Path
) -> None:
    setup.main()
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    setup.main()
    assert steps == ["environment", "project", "project"]


def test_an_interrupted_environment_is_made_anew(
    setup: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_venv: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(setup, "install_project", interrupted)
        assert setup.main() == 1
    assert setup.main() == 0
    assert steps == ["environment", "environment", "project"]


def test_an_environment_that_lost_its_python_is_made_anew(
    setup: ModuleType, steps: list[str], checkout: Path
) -> None:
    setup.main()
    (checkout / ".venv" / "bin" / "python").unlink()
    setup.main()
    assert steps == ["environment", "project"] * 2


def test_a_moved_environment_is_made_anew(
    setup: ModuleType, steps: list[str], checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.main()
    moved = checkout / "elsewhere"
    moved.mkdir()
    for name in (".ci", ".venv", "pyproject.toml", "requirements-dev.lock"):
        (checkout / name).rename(moved / name)
    monkeypatch.setattr(setup, "ROOT", moved)
    setup.main()
    assert steps == ["environment", "project"] * 2


def test_a_stamp_of_nonsense_is_no_stamp(setup: ModuleType, tmp_path: Path) -> None:
    stamp = tmp_path / "stamp.json"
    stamp.write_text("{", "utf-8")
    assert setup.read_stamp(stamp, tmp_path) == {}


def test_pip_is_kept_inside(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_RETRIES", "7")
    assert "PIP_USER" not in setup.environment()
    assert setup.environment()["PIP_RETRIES"] == "7"


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a fresh shell, not as a child of the make that runs the tests."""
    environment = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("target", "data", "text"),
    [
        ("test-data", "", "say where the data is: make test-data DATA=FOLDER"),
        ("test-data", "no/such", "no such folder: DATA=no/such"),
    ],
)
def test_data_is_asked_for_before_anything_else(
    checkout: Path, target: str, data: str, text: str
) -> None:
    result = make(checkout, target, f"DATA={data}")
    assert result.returncode == 2
    assert text in result.stderr
    assert not (checkout / ".venv").exists()


def test_make_alone_lists_every_target(checkout: Path) -> None:
    result = make(checkout)
    listed = {line.split()[1] for line in result.stdout.splitlines()}
    text = (ROOT / "Makefile").read_text("utf-8")
    (phony,) = (line for line in text.splitlines() if line.startswith(".PHONY:"))
    assert listed == set(phony.split()[1:]) - {"has-data"}
    assert not (checkout / ".venv").exists()


def test_the_stamp_is_written_whole_or_not_at_all(setup: ModuleType, tmp_path: Path) -> None:
    setup.write_stamp(tmp_path / "stamp.json", {"environment": "a", "project": "b"})
    assert [path.name for path in tmp_path.iterdir()] == ["stamp.json"]
    assert json.loads((tmp_path / "stamp.json").read_text("utf-8"))["environment"] == "a"
