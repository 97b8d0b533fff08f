"""What a witness demands, keeps, refuses and remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.evidence.checkpoint import Checkpoint
from services.common.evidence.kept_log import Alarm, KeptBroken, KeptLog, Reason
from services.common.evidence.merkle import HASH_BYTES
from services.common.evidence.note import Kind, Note, SignerKey
from services.common.evidence.witnessing import LogPort, LogUnanswered, ProofMissing, Watch
from tests.services.common.evidence.attacks import WITNESS
from tests.services.common.evidence.logs import ORIGIN, SIGNER, Kept, kept, reads
from tests.services.common.evidence.ports import Bent, LocalLog

KEYS = [SIGNER.verifier]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Kept]:
    with kept(f"sqlite:///{tmp_path / 'log.db'}") as found:
        found.sign()
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "witness"


def watch(folder: Path, port: LogPort) -> Watch:
    return Watch(kept=KeptLog(folder, "pricing"), log=port, cosigner=WITNESS)


def look(one: Watch, log: Kept) -> Alarm | None:
    return asyncio.run(one.look(KEYS, log.clock.now_us))


def grown(log: Kept, count: int) -> None:
    with log.proofs() as proofs:
        size = proofs.size()
    log.append(reads(count, size))
    log.sign()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_follows_a_log_by_consistency_proofs_and_cosigns(log: Kept, folder: Path) -> None:
    port = LocalLog(log.database)
    one = watch(folder, port)
    for count in (0, 1, 6, 30):
        grown(log, count)
        port.asked.clear()
        assert look(one, log) is None
    assert port.asked == ["checkpoint", "consistency", "hashes", "hashes"]
    assert one.kept.size == 37
    again = KeptLog(folder, "pricing")  # after a restart
    assert again.checkpoint == one.kept.checkpoint
    assert again.note is not None
    assert SIGNER.verifier.signed_at(again.note) == 0
    assert WITNESS.verifier.signed_at(again.note) == log.clock.now_us // 1_000_000
    assert again.hashes(0, 100) == asyncio.run(port.hashes(0, 100))
    assert again.hashes(30, 3) == asyncio.run(port.hashes(30, 3))
    assert again.hashes(37, 3) == b""


def test_a_first_sight_takes_the_log_as_it_is(log: Kept, folder: Path) -> None:
    grown(log, 20)
    one = watch(folder, LocalLog(log.database))
    assert look(one, log) is None
    assert one.kept.size == 20


def test_an_unchanged_log_is_cosigned_anew_once_a_minute(log: Kept, folder: Path) -> None:
    grown(log, 3)
    one = watch(folder, LocalLog(log.database))
    look(one, log)
    signed = files(folder)
    log.clock.pass_s(59)
    look(one, log)
    assert files(folder) == signed
    log.clock.pass_s(1)
    look(one, log)
    assert files(folder) != signed
    assert one.kept.note is not None
    assert WITNESS.verifier.signed_at(one.kept.note) == log.clock.now_us // 1_000_000


def test_a_silent_log_is_no_alarm_and_moves_nothing(log: Kept, folder: Path) -> None:
    port = LocalLog(log.database)
    one = watch(folder, port)
    look(one, log)
    seen, kept_files = one.seen_us, files(folder)
    port.silent = True
    grown(log, 3)
    log.clock.pass_s(600)
    with pytest.raises(LogUnanswered):
        look(one, log)
    assert (one.seen_us, files(folder)) == (seen, kept_files)


def offered(size: int, root: bytes, signer: SignerKey = SIGNER, origin: str = ORIGIN) -> str:
    text = Checkpoint(origin=origin, size=size, root=root).text()
    return Note(text, (signer.sign(text),)).written()


def alarmed(log: Kept, folder: Path, **answers: object) -> Alarm:
    """The alarm of a witness that kept 10 of 20 leaves, from a log that answers so."""

    async def bent(*_asked: int, answer: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    grown(log, 10)
    look(watch(folder, LocalLog(log.database)), log)
    grown(log, 10)
    before = files(folder)
    port = Bent(
        log.database,
        **{
            name: lambda *asked, answer=answer: bent(*asked, answer=answer)
            for name, answer in answers.items()
        },
    )
    one = watch(folder, port)
    alarm = look(one, log)
    assert alarm is not None
    after = files(folder)
    assert {name: after[name] for name in before} == before  # it has not moved
    assert one.kept.alarms == KeptLog(folder, "pricing").alarms == (alarm,)
    assert look(one, log) is None  # told once
    assert one.kept.alarms == (alarm,)
    return alarm


def test_a_bad_signature(log: Kept, folder: Path) -> None:
    stranger = SignerKey(ORIGIN, Kind.LOG, bytes([5]) * 32)
    note = offered(20, bytes(32), stranger)
    alarm = alarmed(log, folder, checkpoint=note)
    assert (alarm.reason, alarm.offered_note) == (Reason.BAD_SIGNATURE, note)


def test_a_checkpoint_of_another_log(log: Kept, folder: Path) -> None:
    other = SignerKey("lipei.test/evidence/claims", Kind.LOG, bytes(range(32)))
    note = offered(20, bytes(32), other, "lipei.test/evidence/claims")
    assert alarmed(log, folder, checkpoint=note).reason is Reason.BAD_SIGNATURE


def test_a_smaller_log(log: Kept, folder: Path) -> None:
    alarm = alarmed(log, folder, checkpoint=offered(9, bytes(32)))
    assert (alarm.reason, alarm.first_bad_index) == (Reason.ROLLED_BACK, None)


def test_another_root_of_the_same_size(log: Kept, folder: Path) -> None:
    assert alarmed(log, folder, checkpoint=offered(10, bytes(32))).reason is Reason.FORKED


@pytest.mark.parametrize("proof", [[], [bytes(32)], [b""], [bytes(31)] * 4])
def test_a_proof_that_proves_nothing(log: Kept, folder: Path, proof: list[bytes]) -> None:
    assert alarmed(log, folder, consistency=proof).reason is Reason.FORKED


def test_a_proof_that_cannot_be_given(log: Kept, folder: Path) -> None:
    assert alarmed(log, folder, consistency=ProofMissing()).reason is Reason.TREE_BROKEN


@pytest.mark.parametrize("hashes", [b"", bytes(33)])
def test_leaves_that_are_not_there(log: Kept, folder: Path, hashes: bytes) -> None:
    assert alarmed(log, folder, hashes=hashes).reason is Reason.TREE_BROKEN


def test_leaves_that_are_not_the_checkpoints(log: Kept, folder: Path) -> None:
    alarm = alarmed(log, folder, hashes=bytes(HASH_BYTES * 10))
    assert (alarm.reason, alarm.first_bad_index) == (Reason.HISTORY_CHANGED, 0)


def test_an_alarm_stays_until_a_person_takes_it_away(log: Kept, folder: Path) -> None:
    alarmed(log, folder, checkpoint=offered(10, bytes(32)))
    one = watch(folder, LocalLog(log.database))
    assert look(one, log) is None
    assert one.kept.size == 20  # the honest log goes on being followed
    assert [alarm.reason for alarm in one.kept.alarms] == [Reason.FORKED]
    (folder / "pricing.alarms.json").unlink()
    assert one.kept.alarms == ()


def test_a_process_that_ends_between_leaves_and_checkpoint_loses_nothing(
    log: Kept, folder: Path
) -> None:
    grown(log, 10)
    look(watch(folder, LocalLog(log.database)), log)
    with (folder / "pricing.hashes").open("ab") as file:
        file.write(bytes(50))
    grown(log, 10)
    one = watch(folder, LocalLog(log.database))
    assert look(one, log) is None
    assert (folder / "pricing.hashes").stat().st_size == 20 * HASH_BYTES


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pricing.checkpoint", b"nonsense"),
        ("pricing.hashes", b""),
        ("pricing.hashes", bytes(320)),
        ("pricing.alarms.json", b"{"),
        ("pricing.alarms.json", b'[{"reason": "FINE"}]'),
    ],
)
def test_files_that_no_witness_wrote_stop_its_start(
    log: Kept, folder: Path, name: str, content: bytes
) -> None:
    grown(log, 10)
    look(watch(folder, LocalLog(log.database)), log)
    (folder / name).write_bytes(content)
    with pytest.raises(KeptBroken):
        KeptLog(folder, "pricing")


def test_a_checkpoint_that_was_not_proved_is_not_kept(folder: Path) -> None:
    one = KeptLog(folder, "pricing")
    for size, root in ((1, bytes([1]) * 32), (2, bytes(32))):
        found = Checkpoint(origin=ORIGIN, size=size, root=root)
        with pytest.raises(KeptBroken):
            one.move(found, Note(found.text(), ()), bytes(32))
    assert not folder.exists()
