"""Thousands of attacks on a log of some hundred leaves: each is found, its first leaf named."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from services.common.evidence.audit import audit
from tests.services.common.evidence.attacks import (
    CHANGES,
    attack,
    attacking,
    drawn,
    first_bad,
    witnessed,
)
from tests.services.common.evidence.logs import SIGNER, TABLES, kept, reads

ATTACKS, SEEN, MORE = 2_000, 211, 30
SEED = 4
SUMMARY = Path(__file__).parents[2] / "build" / "fault" / "evidence.json"

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]


def test_all_of_two_thousand_attacks_are_found_and_named(tmp_path: Path) -> None:
    done, named, unseen_without = Counter[str](), Counter[str](), Counter[str]()
    with kept(f"sqlite:///{tmp_path / 'log.db'}") as log:
        for start in range(0, SEEN, 20):
            log.append(reads(min(20, SEEN - start), start))
            log.sign()
        outside = asyncio.run(witnessed(log, tmp_path / "witness"))
        log.append(reads(MORE, SEEN))
        log.sign()
        draw = random.Random(SEED)
        for _ in range(ATTACKS):
            name, cover = drawn(draw)
            with attacking(log.database) as connection:
                before, after = attack(draw, connection, name, cover, SEEN)
                found = audit(connection, TABLES, [SIGNER.verifier], outside)
                alone = audit(connection, TABLES, [SIGNER.verifier])
            done[name] += 1
            named[name] += found.first_bad_index == first_bad(before, after, SEEN)
            unseen_without[name] += not alone.faults
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    figures = {"attacks": done, "found and named": named, "unseen without witness": unseen_without}
    SUMMARY.write_text(json.dumps(figures, indent=1) + "\n")
    assert done.total() == ATTACKS
    assert done.keys() == CHANGES.keys()
    assert named == done
    # The control: without what stands outside, who writes everything anew is not seen.
    assert unseen_without["full rebuild"] == done["full rebuild"]
    assert unseen_without["fork"] == done["fork"]
