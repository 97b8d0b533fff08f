"""The rules of .ci/house.py refuse what they should, and nothing else."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", ROOT / ".ci" / "house.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def breaches(house: ModuleType, folder: Path, name: str, text: str) -> list[tuple[str, int]]:
    (folder / ".gitignore").write_text("build/\n*.log\n", "utf-8")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return [(file, line) for file, line, _ in house.breaches_in(folder)]


# The markers are put together here, so that this file keeps the rules itself.
NOQA, IGNORE, NOSEC = "# no" + "qa", "# type: " + "ignore", "# no" + "sec"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", f"import os  {NOQA}: F401\n"),
        ("a.py", f"import os  {NOQA}\n"),
        ("a.py", f"x = y  {IGNORE}[name-defined]\n"),
        ("a.py", f"x = y  {IGNORE}[name-defined]  {NOQA}: F821\n"),
        ("a.py", f"eval(x)  {NOSEC} B307\n"),
        ("pyproject.toml", 'ignore = [\n    "D104",\n]\n'),
        ("pyproject.toml", '"tests/**" = [\n    "S",\n]\n'),
        ("a.lock", "left>=1.0\n"),
        ("a.lock", "left @ https://files.example/left.whl\n"),
        ("a.lock", "--index" + "-url https://packages.example/sim" + "ple/\n"),
        ("a.txt", "pip install --extra-index" + "-url x y\n"),
        ("a.md", "see /home" + "/somebody/lipei\n"),
        ("deep/a.yaml", f"path: {Path.home()}/keys\n"),
    ],
)
def test_a_breach_is_found(house: ModuleType, tmp_path: Path, name: str, text: str) -> None:
    assert {file for file, _ in breaches(house, tmp_path, name, text)} == {name}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", f"import os  {NOQA}: F401 loaded for its effect\n"),
        ("a.py", f"x = y  {IGNORE}[name-defined]  # the stubs lack it\n"),
        ("a.py", f"eval(x)  {NOSEC} B307 a constant of ours\n"),
        ("a.py", f'"""A text about {NOQA}."""\n'),
        ("a_pb2.py", f"import os  {NOQA}: F401\n"),
        (
            "pyproject.toml",
            'ignore = [\n    "D104", # said elsewhere\n]\nselect = [\n    "D",\n]\n',
        ),
        ("a.lock", "left==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:00\n    # via us\n"),
        ("a.md", "see https://example.org/home/page\n"),
        ("build/a.md", "see /home" + "/somebody/lipei\n"),
        ("a.log", "see /home" + "/somebody/lipei\n"),
    ],
)
def test_the_rest_is_let_be(house: ModuleType, tmp_path: Path, name: str, text: str) -> None:
    assert breaches(house, tmp_path, name, text) == []


def test_the_place_of_the_checkout_is_found(house: ModuleType, tmp_path: Path) -> None:
    assert breaches(house, tmp_path, "a.py", f'x = "{tmp_path}/x"\n') == [("a.py", 1)]
