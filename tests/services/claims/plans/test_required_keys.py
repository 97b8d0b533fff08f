"""The minimal plan of docs/plans.md, and what is said for each of its keys that is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.claims.plans.loader import load_plan
from services.claims.plans.required_keys import WRITE
from services.common.strict_yaml import StrictYamlError

_DOC = Path(__file__).parents[4] / "docs" / "plans.md"
_BLOCK = _DOC.read_text("utf-8").split("## A minimal plan")[1].split("```yaml\n")[1]
MINIMAL = _BLOCK.split("```")[0]


def _without(key: str) -> str:
    """The plan without a key and what stands below it."""
    kept, leaving = [], False
    for line in MINIMAL.splitlines():
        if not line.startswith(" "):
            leaving = line.startswith(f"{key}:")
        if not leaving:
            kept.append(line)
    return "\n".join(kept)


def test_the_minimal_plan_of_the_documents_is_complete() -> None:
    assert load_plan(MINIMAL.encode(), "minimal.yaml").id == "minimal"
    keys = {line.partition(":")[0] for line in MINIMAL.splitlines() if not line.startswith(" ")}
    assert keys == set(WRITE)


@pytest.mark.parametrize("key", WRITE)
def test_who_leaves_a_required_key_out_is_told_what_to_write(key: str) -> None:
    with pytest.raises(StrictYamlError) as caught:
        load_plan(_without(key).encode(), "minimal.yaml")
    assert f'the key "{key}" is missing; {WRITE[key]}' in str(caught.value)
