"""A key of evidence that is gone is refused in words, and never made anew beside what it signed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.evidence.service_evidence import service_evidence
from services.common.settings import evidence_pseudonym_key_file
from services.common.state import KeyReplaced
from tests.services.common.evidence.logs import TABLES, Clock, kept, read
from tests.services.common.sealing.keys import subject_keys


@pytest.fixture(autouse=True)
def _default_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIPEI_EVIDENCE_PSEUDONYM_KEY_FILE", raising=False)


def test_lost_keys_of_a_log_are_asked_back(sqlite_database: str, tmp_path: Path) -> None:
    with kept(sqlite_database) as log:
        keys = subject_keys(log.database)
        signing = tmp_path / "keys" / "pricing_evidence.key"
        pseudonyms = evidence_pseudonym_key_file(tmp_path)

        def start() -> None:
            service_evidence(
                "pricing",
                log.database,
                keys,
                TABLES,
                state=tmp_path,
                key_file=signing,
                records_of=lambda connection, token: (),
                now_us=Clock(),
            )

        start()
        # Nothing is signed and nobody named: both may still be lost, or others.
        signing.unlink()
        pseudonyms.write_text("ab" * 32)
        start()
        log.append([read(0, record="members/6f1c0e2a/readings/r1")])
        log.sign()
        _refused(start, signing, "is not there", "evidence is signed by the key that it held")
        _refused(start, pseudonyms, "is not there", "evidence names members under the key")
        right = pseudonyms.read_text()
        pseudonyms.write_text("cd" * 32)
        with pytest.raises(KeyReplaced, match=r"evidence_pseudonym\.key holds another key"):
            start()
        pseudonyms.write_text(right)
        # The control: another signing key may be put there, and what was made is as good as ever.
        signing.write_text("ef" * 32)
        start()


def _refused(start: Callable[[], None], file: Path, *words: str) -> None:
    before = file.read_text()
    file.unlink()
    with pytest.raises(KeyReplaced) as refused:
        start()
    for word in (file.name, *words, "put that back from its backup"):
        assert word in str(refused.value)
    assert not file.exists()
    file.write_text(before)
