"""All 196 published proofs, good and bad, are judged as their makers judge them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from services.common.evidence.merkle import ProofRefused, verify_consistency, verify_inclusion

VECTORS, BAD = 196, 184

pytestmark = pytest.mark.data


def vectors() -> list[tuple[str, dict[str, Any]]]:
    """Each by its path."""
    folder = Path(os.environ["DATA"]) / "merkle_vectors"
    return [
        (path.relative_to(folder).as_posix(), json.loads(path.read_text("utf-8")))
        for path in sorted(folder.rglob("*.json"))
    ]


def proves(vector: dict[str, Any]) -> bool:
    def binary(name: str) -> bytes:
        return base64.b64decode(vector[name])

    proof = [base64.b64decode(node) for node in vector["proof"] or ()]
    try:
        if "leafIdx" in vector:
            index, size = vector["leafIdx"], vector["treeSize"]
            verify_inclusion(index, size, binary("leafHash"), proof, binary("root"))
        else:
            sizes = vector["size1"], vector["size2"]
            verify_consistency(*sizes, binary("root1"), binary("root2"), proof)
    except ProofRefused:
        return False
    return True


def test_every_vector_agrees() -> None:
    found = vectors()
    assert len(found) == VECTORS
    assert sum(vector["wantErr"] for _, vector in found) == BAD
    assert [name for name, vector in found if proves(vector) == vector["wantErr"]] == []
