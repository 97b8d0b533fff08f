"""Every import contract can fail: a tree that breaks each of them is refused by each of them."""

import shutil
import tomllib
from pathlib import Path

import pytest

from tests.forked import Ended, run_forked
from tests.project import lint_imports

ROOT = Path(__file__).parents[2]
MODULE = lint_imports.__name__
PACKAGES = ("services", "workflows", "stack", "demo", "bench")

# Contract, the module that breaks it, and how.
BREACHES = [
    ("services", "services/pricing/core/peeks.py", "import services.claims.core"),
    ("services", "services/common/peeks.py", "import services.claims.core"),
    ("services", "services/unplaced/__init__.py", ""),
    ("claims", "services/claims/core/loads.py", "import services.claims.plans"),
    ("claims", "services/claims/payouts/stores.py", "import services.claims.storage"),
    ("pricing", "services/pricing/core/stores.py", "import services.pricing.servicer"),
    (
        "fitting",
        "services/pricing/fitting/experience/asks.py",
        "import services.pricing.fitting.pricing_file",
    ),
    ("fitting-offline", "services/pricing/fitting/dials.py", "import grpc"),
    ("his-bridge", "services/his_bridge/dialects/dials.py", "import services.his_bridge.sources"),
    ("his-bridge", "services/his_bridge/unplaced.py", ""),
    ("pure-core", "services/claims/core/wired.py", "import grpc"),
    ("pure-core", "services/pricing/core/timed.py", "import time"),
    ("pure-core", "services/his_bridge/core/speaks.py", "from lipei.type.v1 import bill_pb2"),
    ("workings", "services/claims/plans/workings.py", "import services.claims.core.amounts"),
    ("core-common", "services/claims/core/stated.py", "import services.common.state"),
    ("money-dated", "services/common/money.py", "import services.common.dated"),
    ("temporal", "services/claims/servicer.py", "import temporalio"),
    ("workflows", "workflows/decides.py", "import services.claims.core"),
    ("services-below", "services/claims/core/started.py", "import workflows"),
    ("stack-above", "stack/stores.py", "import services.claims.storage"),
    ("stack-alone", "demo/inside.py", "import stack"),
    ("demo-apart", "demo/hospital/copies.py", "import services.claims.core"),
    ("demo-apart", "demo/peeks.py", "import services.pricing.core"),
    ("demo-hospital", "demo/hospital/speaks.py", "from lipei.type.v1 import bill_pb2"),
]


def contracts() -> dict[str, str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return {contract["id"]: contract["name"] for contract in found}


def copy_tree(target: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", target)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            copy = target / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)


def lint(folder: Path, contract: str) -> Ended:
    # Where our packages lie it asks Python, which would name those that are imported.
    return run_forked(MODULE, "--contract", contract, environ={}, cwd=folder, alone=True)


def test_every_contract_has_a_breach() -> None:
    assert contracts().keys() == {contract for contract, _, _ in BREACHES}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walls")
    copy_tree(folder)
    return folder


@pytest.mark.parametrize(("contract", "module", "statement"), BREACHES)
def test_a_breach_is_refused(tree: Path, contract: str, module: str, statement: str) -> None:
    path = tree / module
    before = path.read_text("utf-8") if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{before or ''}\n{statement}\n", "utf-8")
    try:
        result = lint(tree, contract)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, "utf-8")
    assert result.code == 1, result.out + result.err
    assert "1 broken" in result.out
