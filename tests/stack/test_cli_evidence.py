"""`lipei evidence ...` against a real service with a log, and two real witnesses."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.common.database import Database
from services.common.evidence import verify
from services.common.evidence.kept_log import KeptLog
from services.common.evidence.leaf import leaf_bytes
from services.common.evidence.merkle import leaf_hash
from services.common.evidence.signers import log_signer
from services.common.state import read_addresses
from services.common.transport.certificates import FOLDER
from stack.authority import AUTHORITY_KEY
from stack.sandbox_issuer import KEY as ISSUER_KEY
from tests.forked import Forked
from tests.identities import session
from tests.services.common.evidence.attacks import attack, attacking
from tests.services.common.evidence.logs import Kept, kept, read, reads
from tests.services.pricing.process import serving
from tests.stack.test_cli_stack import until
from tests.stack.test_supervisor import LONGEST_S
from tests.stack.typed import Typed, environ, lipei

LEAVES = 25
WITNESSES = ("hospital", "insurer")


class Installation:
    """A state directory with pricing and witnesses on it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.file = state / "pricing.db"

    def lipei(self, *words: str | Path) -> Typed:
        return lipei(*words, "--state", self.state)

    def json(self, *words: str | Path) -> Any:
        typed = self.lipei(*words, "--json")
        assert typed.code == 0, typed.err
        return json.loads(typed.out)

    def append(self, count: int, start: int = 0) -> None:
        with kept(f"sqlite:///{self.file}") as log:
            mine = Kept(log.database, log.clock, log_signer("pricing", self.key_file))
            mine.append(reads(count, start))
            mine.sign()

    @property
    def key_file(self) -> Path:
        return self.state / "keys" / "pricing_evidence.key"

    def alarms(self, witness: str) -> set[str]:
        kept_log = KeptLog(self.state / f"witness-{witness}", "pricing")
        return {alarm.reason.value for alarm in kept_log.alarms}

    def keeps(self, witness: str) -> int:
        return KeptLog(self.state / f"witness-{witness}", "pricing").size


@contextmanager
def witnessing(state: Path, name: str) -> Iterator[None]:
    """A witness as a process."""
    process = Forked(
        "services.common.evidence.witness",
        *("--name", name),
        environ=environ(LIPEI_STATE=str(state)),
        out=Path(os.devnull),
        err=Path(os.devnull),
    )
    try:
        until(lambda: f"witness:{name}" in read_addresses(state))
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONGEST_S) == 0


@contextmanager
def running(state: Path) -> Iterator[Installation]:
    here = Installation(state)
    here.append(LEAVES)
    with ExitStack() as stack:
        stack.enter_context(serving(state))
        for secret in (AUTHORITY_KEY, ISSUER_KEY):  # whoever types is the sandbox's owner
            shutil.copy2(session() / FOLDER / secret, state / FOLDER / secret)
        for name in WITNESSES:
            stack.enter_context(witnessing(state, name))
        until(lambda: all(here.keeps(name) == LEAVES for name in WITNESSES))
        yield here


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with running(tmp_path_factory.mktemp("installation") / "state") as found:
        yield found


def test_leaves_are_listed_by_what_was_read_and_by_whom(here: Installation) -> None:
    every = here.json("evidence", "list", "pricing")
    assert [one["index"] for one in every] == list(range(LEAVES))
    assert every[3]["record"] == "policies/p3/claims/c3"
    mine = here.json("evidence", "list", "pricing", "--who", "person-2")
    assert [one["index"] for one in mine] == [2, 7, 12, 17, 22]
    none = here.json("evidence", "list", "pricing", "--until", "2026-01-01T00:00:00Z")
    assert none == []
    shown = here.lipei("evidence", "list", "pricing", "--record", "policies/p3/claims/c3").out
    assert "person-3" in shown
    assert "claims-handling" in shown
    wrong = here.lipei("evidence", "list", "pricing", "--since", "yesterday")
    assert (wrong.code, wrong.said[0].partition(":")[0]) == (2, "--since")


def test_a_list_is_cut_where_asked_and_says_when_it_is_empty(here: Installation) -> None:
    listing = ("evidence", "list", "pricing")
    assert [one["index"] for one in here.json(*listing, "--limit", "3")] == [0, 1, 2]
    cut = here.lipei(*listing, "--limit", "3").out
    assert "the first 3, and there may be more" in cut
    assert "2026-05-28 20:26:40" in cut
    assert "consent" in cut
    assert "there may be more" not in here.lipei(*listing).out
    for more in (("--who", "nobody"), ("--tenant", "hospital/none")):
        empty = here.lipei(*listing, *more)
        assert (empty.code, len(empty.out.splitlines())) == (0, 1)
        assert "pricing has no read of sensitive data on record" in empty.out
    assert len(here.json(*listing, "--tenant", "insurer/i1")) == LEAVES
    assert here.lipei(*listing, "--tenant", "i1").code == 1


def test_a_member_sees_who_read_their_data(here: Installation) -> None:
    token = "k1." + "c" * 64
    mine = ("evidence", "member", "pricing", token)
    empty = here.lipei(*mine)
    assert (empty.code, "no read of this member's data" in empty.out) == (0, True)
    here.lipei(*mine)
    office = here.lipei("--as", "insurer_intake", "--purpose", "member-request", *mine)
    assert (office.code, "no read" in office.out) == (0, True)
    assert here.lipei("--as", "insurer_intake", *mine).code == 1
    assert here.json(*mine) == {"reads": []}


def test_a_tenants_auditor_lists_its_own_and_is_not_told_that_others_leaves_are_gone(
    here: Installation,
) -> None:
    own = here.lipei("--as", "auditor:insurer/insurer", "evidence", "list", "pricing")
    assert (own.code, "no read of sensitive data" in own.out) == (0, True)
    audit = here.lipei("--as", "auditor:insurer/insurer", "evidence", "audit", "pricing")
    assert audit.code == 1
    assert "the whole installation's" in audit.err
    assert "gone" not in audit.err
    others = here.lipei("--as", "auditor:insurer/insurer", "evidence", "prove", "pricing", "3")
    assert others.code == 1
    assert here.lipei("evidence", "prove", "pricing", "3").code == 0  # the control
    wrong = here.lipei("--as", "adjuster", "evidence", "list", "pricing")
    assert "who may: auditor" in wrong.err
    others = here.lipei("--purpose", "payment", "evidence", "list", "pricing")
    assert "here yours are: audit, complaint, incident" in others.err
    made_up = here.lipei("--purpose", "curiosity", "evidence", "list", "pricing")
    assert (made_up.code, made_up.said) == (
        2,
        ["--purpose: is none that there is; auditor's are: audit, complaint, incident"],
    )


@pytest.mark.parametrize("by", ["index", "hash"])
def test_a_proof_is_cosigned_by_both_witnesses_and_verifies_alone(
    here: Installation, tmp_path: Path, by: str
) -> None:
    file = tmp_path / "read.tlog-proof"
    leaf = "17" if by == "index" else leaf_hash(leaf_bytes(read(17))).hex()
    assert here.lipei("evidence", "prove", "pricing", leaf, "--out", file).code == 0
    typed = here.lipei("evidence", "verify", file)
    assert typed.code == 0, typed.out
    assert f"leaf 17 of lipei.local/evidence/pricing, among {LEAVES} leaves" in typed.out
    cosigned = [line for line in typed.out.splitlines() if line.startswith("cosigned by")]
    assert len(cosigned) == 2
    assert all(re.search(r" at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(UTC\)$", line) for line in cosigned)
    assert "  time: 2026-05-28 20:26:40 (UTC)" in typed.out
    program = shutil.copy(verify.__file__, tmp_path / "verify_evidence.py")
    keys = here.state / "keys"
    command = [sys.executable, "-I", "-S", program, file]
    command += ["--log-key", keys / "pricing_evidence.vkey"]
    command += ["--witness-key", keys / "witness_hospital.vkey"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    file.write_text(file.read_text().replace("index 17", "index 16"))
    assert here.lipei("evidence", "verify", file).code == 1


def test_a_leaf_that_is_not_there_cannot_be_proved(here: Installation) -> None:
    assert here.lipei("evidence", "prove", "pricing", str(LEAVES)).code == 1
    assert here.lipei("evidence", "prove", "pricing", "00" * 32).code == 1
    assert here.lipei("evidence", "prove", "pricing", "first").code == 2


def test_watch_shows_what_every_witness_keeps(here: Installation) -> None:
    typed = here.lipei("evidence", "watch", "--once")
    # claims and the bridge do not run here, and that is told: nobody sees their logs.
    assert typed.code == 1
    assert all("it has seen nothing" in line for line in typed.said)
    assert len(typed.said) == 4
    assert typed.out.split().count(str(LEAVES)) == 3
    assert "ALARM" not in typed.err


def test_the_audit_compares_every_leaf_with_every_witness(here: Installation) -> None:
    (found,) = here.json("evidence", "audit", "pricing")
    assert found["leaves"] == LEAVES
    assert [(one["witness"], one["keeps"]) for one in found["witnesses"]] == [
        (name, LEAVES) for name in WITNESSES
    ]
    assert found["faults"] == []
    assert here.lipei("evidence", "audit", "pricing").out.count("none") == 2


def test_a_leaf_changed_in_the_database_raises_every_alarm(tmp_path: Path) -> None:
    with running(tmp_path / "state") as here:
        assert here.lipei("evidence", "audit", "pricing").code == 0
        with sqlite3.connect(here.file) as raw:
            raw.execute("DROP TRIGGER evidence_leaf_no_update")
            raw.execute(
                "UPDATE evidence_leaf SET body = ? WHERE leaf_index = 11",
                [leaf_bytes(read(11, who="nobody"))],
            )
        raw.close()
        until(lambda: all(here.alarms(name) for name in WITNESSES))
        watched = here.lipei("evidence", "watch", "--once")
        assert watched.code == 1
        said = [line for line in watched.said if line.startswith("ALARM")]
        assert len(said) == 2
        assert all("HISTORY_CHANGED" in line and "first bad leaf 11" in line for line in said)
        audited = here.lipei("evidence", "audit", "pricing")
        assert audited.code == 1
        assert [line for line in audited.said if "leaf 11 is not what it was" in line]
        status = here.lipei("status")
        assert (status.code, sum("ALARM" in line for line in status.said)) == (1, 2)
        proof = tmp_path / "a.tlog-proof"
        assert here.lipei("evidence", "prove", "pricing", "11", "--out", proof).code == 0
        assert here.lipei("evidence", "verify", proof).code == 1
        # The control: a leaf that nobody touched still proves itself.
        assert here.lipei("evidence", "prove", "pricing", "12", "--out", proof).code == 0
        assert here.lipei("evidence", "verify", proof).code == 0


def test_what_stands_beside_a_leaf_changed_in_the_database_is_told(tmp_path: Path) -> None:
    with running(tmp_path / "state") as here:
        assert here.lipei("evidence", "audit", "pricing").code == 0
        assert here.lipei("evidence", "list", "pricing").code == 0
        with sqlite3.connect(here.file) as raw:
            raw.execute("DROP TRIGGER evidence_leaf_no_update")
            raw.execute(
                "UPDATE evidence_leaf SET record = 'other', who = 'nobody' WHERE leaf_index = 11"
            )
        raw.close()
        audited = here.lipei("evidence", "audit", "pricing")
        assert audited.code == 1
        assert "pricing: what stands beside leaf 11 is not what it says" in audited.said
        listed = here.lipei("evidence", "list", "pricing")
        assert (listed.code, [line.strip() for line in listed.said][-1]) == (1, "index: 11")
        until(lambda: all(here.alarms(name) for name in WITNESSES))
        said = here.lipei("evidence", "watch", "--once").said
        alarms = [line for line in said if line.startswith("ALARM")]
        assert len(alarms) == 2
        assert all("HISTORY_CHANGED" in line and "first bad leaf 11" in line for line in alarms)


def test_a_log_rewritten_whole_raises_every_alarm(tmp_path: Path) -> None:
    with running(tmp_path / "state") as here:
        database = Database(f"sqlite:///{here.file}")
        with attacking(database, undo=False) as connection:
            signer = log_signer("pricing", here.key_file)
            attack(random.Random(1), connection, "fork", "everything", LEAVES, signer)
        database.close()
        # A look that was under way may have seen both histories, and says so first.
        until(lambda: all("FORKED" in here.alarms(name) for name in WITNESSES))
        assert {here.keeps(name) for name in WITNESSES} == {LEAVES}
        assert here.lipei("evidence", "audit", "pricing").code == 1
