"""The wheel holds what runs: our packages, the typed wire and the files beside the code."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where each source folder lands in the wheel.
PLACES = {
    "services": "services",
    "workflows": "workflows",
    "stack": "stack",
    "protos/lipei": "lipei",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*command, "--directory", folder], cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("lipei-*-py3-none-any.whl")
    return set(zipfile.ZipFile(path).namelist())


def sources() -> set[str]:
    """Every file beside our code, by its place in the wheel."""
    return {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, place in PLACES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_holds_every_file_beside_the_code(wheel: set[str]) -> None:
    assert sources() - wheel == set()


def test_it_holds_nothing_else(wheel: set[str]) -> None:
    others = {name for name in wheel - sources() if ".dist-info/" not in name}
    assert others == set()


def test_it_holds_the_typed_wire_the_numbers_and_the_migrations(wheel: set[str]) -> None:
    assert {"lipei/py.typed", "lipei/claims/v1/claims_pb2.pyi"} <= wheel
    for folder, suffix in [
        ("services/claims/plans/", ".yaml"),
        ("services/pricing/tariffs/", ".json"),
        ("services/his_bridge/profiles/", ".yaml"),
        ("services/claims/migrations/", ".py"),
    ]:
        assert any(name.startswith(folder) and name.endswith(suffix) for name in wheel), folder


def test_it_carries_its_licence_and_its_command(wheel: set[str]) -> None:
    tails = {name.split(".dist-info/")[1] for name in wheel if ".dist-info/" in name}
    assert {"licenses/LICENSE", "entry_points.txt"} <= tails
