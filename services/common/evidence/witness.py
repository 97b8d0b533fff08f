"""A witness: `python -m services.common.evidence.witness --name insurer`.

Looks at the logs of all services every two seconds, keeps what is proved in a folder of its own,
and serves it. An alarm is a file there, a line in the log, and stays until a person removes it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc

from lipei.evidence.v1 import evidence_pb2 as pb
from lipei.evidence.v1 import evidence_pb2_grpc
from services.common import log
from services.common.access.storeless import storeless_guard
from services.common.evidence.hash_range import range_faults
from services.common.evidence.kept_log import Alarm, KeptBroken, KeptLog
from services.common.evidence.note import NoteRefused, VerifierKey, verifier_key
from services.common.evidence.signers import witness_signer
from services.common.evidence.witnessing import LogUnanswered, ProofMissing, Watch
from services.common.grpc_edge import Serving, serve
from services.common.process import now_us, start
from services.common.process_settings import LipeiSettings
from services.common.refusals import error_of, invalid, not_found
from services.common.settings import UnknownSetting, trust_domain
from services.common.state import KeyReplaced, read_addresses, state_dir
from services.common.transport.certificates import Identity, load_identity
from services.common.transport.channels import channel
from services.common.transport.credentials import CertificateRenewed, until_renewed
from services.common.transport.names import witness_uri

A = TypeVar("A")

LOGS = ("claims", "his_bridge", "pricing")
EVERY_S = 2.0
_ASK_S = 10.0
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)
_INDEX = re.compile(r"[0-9]{1,18}", re.ASCII)
_FULL_NAME = pb.DESCRIPTOR.services_by_name["WitnessService"].full_name
Context = grpc.aio.ServicerContext[Any, Any]


class WitnessSettings(LipeiSettings):
    """What a witness reads besides the common settings."""

    witness_address: str = "127.0.0.1:0"
    witness_key_file: Path | None = None
    witness_folder: Path | None = None
    evidence_keys: Path | None = None
    claims_target: str = ""
    his_bridge_target: str = ""
    pricing_target: str = ""


class RemoteLog:
    """A service's log over gRPC, wherever the service is now."""

    def __init__(
        self, name: str, target: str, state: Path, identity: Callable[[], Identity]
    ) -> None:
        self._name = name
        self._target = target
        self._state = state
        self._identity = identity
        self._by: tuple[str, Identity] | None = None
        self._channel: grpc.aio.Channel | None = None

    async def checkpoint(self) -> str:
        """The newest checkpoint."""
        stub = await self._stub()
        request = pb.GetCheckpointRequest()
        answer = await _answered(stub.GetCheckpoint(request, timeout=_ASK_S))
        return answer.note

    async def consistency(self, old: int, new: int) -> Sequence[bytes]:
        """A consistency proof."""
        stub = await self._stub()
        request = pb.GetConsistencyProofRequest(old_size=old, new_size=new)
        answer = await _answered(stub.GetConsistencyProof(request, timeout=_ASK_S))
        return answer.hashes

    async def hashes(self, start: int, count: int) -> bytes:
        """Hashes of leaves as they are now."""
        stub = await self._stub()
        request = pb.ListLeafHashesRequest(start_index=start, count=count)
        answer = await _answered(stub.ListLeafHashes(request, timeout=_ASK_S))
        return answer.hashes

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()

    async def _stub(self) -> evidence_pb2_grpc.EvidenceServiceAsyncStub:
        at = self._target or read_addresses(self._state).get(self._name, "")
        if not at:
            raise LogUnanswered
        by = (at, self._identity())
        if self._channel is None or by != self._by:
            await self.close()
            self._channel, self._by = channel(at, by[1], self._name), by
        return evidence_pb2_grpc.EvidenceServiceStub(self._channel)


async def _answered(call: Awaitable[A]) -> A:
    try:
        return await call
    except grpc.RpcError as error:
        fault: Any = error
        if fault.code() in (grpc.StatusCode.DATA_LOSS, grpc.StatusCode.OUT_OF_RANGE):
            index = error_of(error).metadata.get("index", "")
            raise ProofMissing(int(index) if _INDEX.fullmatch(index) else None) from None
        raise LogUnanswered from None


class Myself:
    """The witness's own certificate, as it is now."""

    def __init__(self, state: Path, name: str) -> None:
        self._state = state
        self._name = name
        self.identity = self._loaded()

    def _loaded(self) -> Identity:
        uri = witness_uri(trust_domain(), self._name)
        return load_identity(self._state, f"witness-{self._name}", uri=uri)

    async def keep_renewed(self) -> None:
        """Take the new certificate whenever the files hold one, until cancelled."""
        while True:
            try:
                await until_renewed(self.identity)
            except CertificateRenewed:
                self.identity = self._loaded()


class Witness:
    """Looks at every log in turn and serves what is kept."""

    def __init__(self, watches: dict[str, Watch], keys: Path) -> None:
        self.watches = watches
        self._keys = keys

    async def keep_looking(self) -> None:
        """Look at all logs every two seconds until cancelled."""
        while True:
            for name, watch in self.watches.items():
                await self._look(name, watch)
            await asyncio.sleep(EVERY_S)

    async def _look(self, name: str, watch: Watch) -> None:
        keys = keys_in(self._keys / f"{name}_evidence.vkey")
        if not keys:  # the log has never run here, or nobody has brought its key
            log.logger().warning("evidence_key_missing", name=name)
            return
        try:
            alarm = await watch.look(keys, now_us())
        except LogUnanswered:
            log.logger().debug("evidence_log_silent", name=name)
            return
        if alarm is not None:
            log.logger().critical(
                "evidence_alarm",
                name=name,
                reason=alarm.reason.value,
                index=alarm.first_bad_index,
            )


class WitnessServicer(evidence_pb2_grpc.WitnessServiceServicer):
    """Serves what a witness keeps."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    async def ListKeptCheckpoints(  # noqa: N802 - the rpc's name
        self, request: pb.ListKeptCheckpointsRequest, context: Context
    ) -> pb.ListKeptCheckpointsResponse:
        """The last checkpoint of every log, and every alarm."""
        watches = self._witness.watches.items()
        return pb.ListKeptCheckpointsResponse(checkpoints=[_kept(*both) for both in watches])

    async def ListKeptHashes(  # noqa: N802 - the rpc's name
        self, request: pb.ListKeptHashesRequest, context: Context
    ) -> pb.ListKeptHashesResponse:
        """Hashes of one log's leaves as they were first seen."""
        if violations := range_faults(request.start_index, request.count):
            raise invalid(violations)
        watch = self._witness.watches.get(request.log)
        if watch is None:
            raise not_found("log", request.log)
        hashes = await asyncio.to_thread(watch.kept.hashes, request.start_index, request.count)
        return pb.ListKeptHashesResponse(hashes=hashes)


def keys_in(file: Path) -> list[VerifierKey]:
    """The public keys in a file, one a line: a log's key, and while it changes its old one.

    Raises: UnknownSetting when the file holds something else.
    """
    try:
        return [verifier_key(line) for line in file.read_text("utf-8").splitlines() if line]
    except OSError:
        return []
    except (NoteRefused, UnicodeDecodeError):
        raise UnknownSetting(f"{file.name} holds no verifier keys") from None


def _kept(name: str, watch: Watch) -> pb.KeptCheckpoint:
    note = watch.kept.note
    found = pb.KeptCheckpoint(log=name, note="" if note is None else note.written())
    if watch.seen_us:
        found.seen_time.FromMicroseconds(watch.seen_us)
    found.alarms.extend(_alarm(alarm) for alarm in watch.kept.alarms)
    return found


def _alarm(alarm: Alarm) -> pb.Alarm:
    found = pb.Alarm(reason=alarm.reason.value, offered_note=alarm.offered_note)
    found.time.FromMicroseconds(alarm.at_us)
    if alarm.first_bad_index is not None:
        found.first_bad_index = alarm.first_bad_index
    return found


async def run(name: str, settings: WitnessSettings) -> None:
    """Watch and serve until SIGTERM."""
    state = state_dir(settings.state)
    folder = settings.witness_folder or state / f"witness-{name}"
    kept = {found: KeptLog(folder, found) for found in LOGS}
    key_file = settings.witness_key_file or state / "keys" / f"witness_{name}.key"
    if not key_file.exists() and any(one.note is not None for one in kept.values()):
        raise KeyReplaced(key_file, "is not there", "checkpoints are signed by", "witness")
    signer = witness_signer(name, key_file)
    targets = {
        "claims": settings.claims_target,
        "his_bridge": settings.his_bridge_target,
        "pricing": settings.pricing_target,
    }
    myself = Myself(state, name)
    logs = {
        found: RemoteLog(found, targets[found], state, lambda: myself.identity) for found in LOGS
    }
    watches = {
        found: Watch(kept=kept[found], log=remote, cosigner=signer)
        for found, remote in logs.items()
    }
    witness = Witness(watches, settings.evidence_keys or state / "keys")
    try:
        await serve(
            [
                Serving(
                    evidence_pb2_grpc.add_WitnessServiceServicer_to_server,
                    WitnessServicer(witness),
                    _FULL_NAME,
                )
            ],
            name=f"witness:{name}",
            address=settings.witness_address,
            state=state,
            identity=myself.identity,
            guard=storeless_guard(myself.identity, state, now_us=now_us),
            background=[witness.keep_looking, myself.keep_renewed],
        )
    finally:
        for remote in logs.values():
            await remote.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--name", required=True, help="whose witness it is: insurer, hospital ...")
    name: str = parser.parse_args(arguments).name
    if not _NAME.fullmatch(name):
        sys.exit("a witness's name is 1 to 40 of a-z, 0-9 and hyphens, and begins with a letter")
    start(
        f"witness-{name}",
        WitnessSettings,
        lambda settings: run(name, settings),
        refusals=(KeptBroken,),
    )


if __name__ == "__main__":
    main()
