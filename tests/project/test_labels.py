"""The labels' gate can fail: what has no label, or one that gives too much away, is refused."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
GATE = ROOT / ".ci" / "labels.py"
CLAIMS = "protos/lipei/claims/v1/claims.proto"
SETTLEMENT = "protos/lipei/claims/v1/settlement.proto"
PRICING = "protos/lipei/pricing/v1/pricing.proto"
WORK = "protos/lipei/his_bridge/v1/work.proto"
MONEY = "protos/lipei/type/v1/money.proto"
READING = "protos/lipei/type/v1/reading.proto"
MATRIX = "docs/access-matrix.md"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the labels and of what is generated from them, to break."""
    shutil.copytree(
        ROOT / "protos", tmp_path / "protos", ignore=shutil.ignore_patterns("*.py", "*.pyi")
    )
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / MATRIX, tmp_path / MATRIX)
    return tmp_path


class Result(NamedTuple):
    returncode: int
    stderr: str


@pytest.fixture
def gate(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """The gate in this process, where starting it costs nothing, and what protoc itself prints."""
    spec = importlib.util.spec_from_file_location("labels_gate", GATE)
    assert spec is not None
    assert spec.loader is not None
    labels = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(labels)
    monkeypatch.chdir(tree)

    def run(*arguments: str) -> Result:
        capfd.readouterr()
        return Result(labels.main(arguments), capfd.readouterr().err)

    return run


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_the_labels_hold(tree: Path) -> None:
    result = subprocess.run(
        [sys.executable, GATE], cwd=tree, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


# The name marks the breach, so that every one below is about what it says.
BREACHES = [
    (
        CLAIMS,
        "bool dry_run = 3 [(lipei.type.v1.level) = 1];",
        "bool dry_run = 3;",
        "lipei.claims.v1.ImportPoliciesRequest.dry_run: has no level",
    ),
    (
        CLAIMS,
        "bool dry_run = 3 [(lipei.type.v1.level) = 1];",
        "bool dry_run = 3 [(lipei.type.v1.level) = 0];",
        "lipei.claims.v1.ImportPoliciesRequest.dry_run: level 0 is not from 1 to 5",
    ),
    (
        CLAIMS,
        "bool dry_run = 3 [(lipei.type.v1.level) = 1];",
        "bool dry_run = 3 [(lipei.type.v1.level) = 6];",
        "lipei.claims.v1.ImportPoliciesRequest.dry_run: level 6 is not from 1 to 5",
    ),
    (
        PRICING,
        "map<string, string> features = 5 [(lipei.type.v1.level) = 3];",
        "map<string, string> features = 5;",
        "lipei.pricing.v1.QuotePremiumRequest.features: has no level",
    ),
    (
        MONEY,
        "int64 minor_units = 2 [(lipei.type.v1.level) = 2];",
        "int64 minor_units = 2 [(lipei.type.v1.level) = 3];",
        "lipei.type.v1.Money.minor_units: stays in Temporal as part of lipei.claims.v1.Adjud",
    ),
    (
        WORK,
        "int32 taken = 1 [(lipei.type.v1.level) = 1];",
        "int32 taken = 1 [(lipei.type.v1.level) = 3];",
        "lipei.his_bridge.v1.SubmitReleasedBillsResult.taken: stays in Temporal",
    ),
    (
        SETTLEMENT,
        "message SettleClaimWork {",
        "message SettleOtherWork {",
        "lipei.claims.v1.SettleClaimWork: a workflow carries it, but no .proto declares it",
    ),
    (
        CLAIMS,
        'record: "name"',
        "",
        "lipei.claims.v1.ClaimsService.ExplainClaim: its answer shows level 3 outside every record",
    ),
    (
        CLAIMS,
        'record: "name"',
        'record: "claim.name"',
        "lipei.claims.v1.ClaimsService.ExplainClaim: its record 'claim.name' is no text field of",
    ),
    (
        PRICING,
        '"participation.member"',
        '"participation"',
        "lipei.pricing.v1.PricingService.AssessMember: its record 'participation' is no text",
    ),
    (
        PRICING,
        '(lipei.type.v1.record) = "coach_tasks"',
        '(lipei.type.v1.record) = "recorded_count"',
        "lipei.pricing.v1.RecordReadingsResponse: its record 'recorded_count' is no text field",
    ),
    (
        READING,
        "string name = 1 [(lipei.type.v1.level) = 3];",
        "string name = 1 [(lipei.type.v1.level) = 4];",
        "lipei.type.v1.Reading.name: names the record of a read, so its level is 3 at most",
    ),
    (
        CLAIMS,
        "(PublishPlanRequest)",
        "(stream PublishPlanRequest)",
        "lipei.claims.v1.ClaimsService.PublishPlan: takes a stream and answers once",
    ),
    (
        PRICING,
        "(AssessMemberRequest) returns (AssessMemberResponse)",
        "(stream AssessMemberRequest) returns (stream AssessMemberResponse)",
        "lipei.pricing.v1.PricingService.AssessMember: takes a stream, so that its answers name",
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "breach"), BREACHES)
def test_a_breach_is_named(
    tree: Path, gate: Callable[..., Result], file: str, old: str, new: str, breach: str
) -> None:
    rewrite(tree / file, old, new)
    result = gate()
    assert result.returncode == 1
    assert any(line.startswith(breach) for line in result.stderr.splitlines()), result.stderr


@pytest.mark.parametrize(
    ("roles", "breach"),
    [
        ("", "has no role"),
        ("roles: []", "has no role"),
        ("roles: [ROLE_UNSPECIFIED]", "has no role"),
        ("roles: [ROLE_UNSPECIFIED, ROLE_PARTNER]", "ROLE_UNSPECIFIED is never granted"),
    ],
)
def test_an_rpc_without_a_role_is_named(
    tree: Path, gate: Callable[..., Result], roles: str, breach: str
) -> None:
    rewrite(tree / PRICING, "roles: [ROLE_PARTNER]\n", f"{roles}\n")
    result = gate()
    assert result.returncode == 1
    assert f"lipei.pricing.v1.PricingService.ListCoachTasks: {breach}" in result.stderr


def test_an_rpc_without_any_label_is_named(tree: Path, gate: Callable[..., Result]) -> None:
    path = tree / PRICING
    before, rpc = path.read_text("utf-8").split("  rpc ListCoachTasks", 1)
    signature, rest = rpc.split(" {\n", 1)
    after = rest.split("\n  }\n", 1)[1]
    path.write_text(f"{before}  rpc ListCoachTasks{signature};\n{after}", "utf-8")
    result = gate()
    assert result.returncode == 1
    assert "PricingService.ListCoachTasks: has no role" in result.stderr


def test_a_message_that_carries_no_labels_is_named(tree: Path, gate: Callable[..., Result]) -> None:
    path = tree / WORK
    rewrite(path, "import ", 'import "google/protobuf/any.proto";\nimport ')
    rewrite(path, "map<string, int32> refusal_reasons", "map<string, google.protobuf.Any> refusals")
    result = gate()
    assert result.returncode == 1
    assert "RecordReleasedReadingsResult.refusals: google.protobuf.Any carries no" in result.stderr


def test_a_matrix_that_says_something_else_is_stale(
    tree: Path, gate: Callable[..., Result]
) -> None:
    rewrite(tree / PRICING, "roles: [ROLE_PARTNER]\n", "roles: [ROLE_PARTNER, ROLE_MEMBER]\n")
    stale = gate()
    assert (stale.returncode, stale.stderr) == (
        1,
        f"{MATRIX}: is not what the labels say; run `make proto` and commit it\n",
    )
    assert gate("--write").returncode == 0
    assert gate().returncode == 0
    (tree / MATRIX).unlink()
    assert gate().returncode == 1


def test_a_proto_that_cannot_be_read_is_no_pass(tree: Path, gate: Callable[..., Result]) -> None:
    rewrite(tree / MONEY, "message Money {", "message Money ")
    result = gate()
    assert result.returncode == 1
    assert "money.proto" in result.stderr
