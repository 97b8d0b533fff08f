"""What Temporal stores of us cannot be read, altered or slipped in without the key."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError

from lipei.claims.v1.settlement_pb2 import SettleClaimWork
from services.common.temporal.codec import EncryptingCodec
from services.common.temporal.codec_keys import (
    CodecFault,
    CodecKey,
    KeyFile,
    KeyState,
    Reason,
)
from services.common.temporal.converter import ProtoFirstConverter, data_converter

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SECRET = "policies/张三/claims/4401"
WORK = SettleClaimWork(name=SECRET)


class FixedKeys:
    """Keys in memory that never change."""

    def __init__(self, keys: dict[str, bytes], current: str) -> None:
        self._current = current
        self._keys = {
            key_id: CodecKey(id=key_id, state=KeyState.CURRENT, key=key.hex())
            for key_id, key in keys.items()
        }

    def current(self) -> CodecKey:
        return self._keys[self._current]

    def named(self, key_id: str) -> CodecKey:
        if key_id not in self._keys:
            raise CodecFault(Reason.KEY_MISSING, key_id)
        return self._keys[key_id]


@pytest.fixture
def codec() -> EncryptingCodec:
    return EncryptingCodec(FixedKeys({"k1": OLD}, "k1"))


def encoded(codec: EncryptingCodec, *payloads: Payload) -> list[Payload]:
    return asyncio.run(codec.encode(payloads))


def decoded(codec: EncryptingCodec, *payloads: Payload) -> list[Payload]:
    return asyncio.run(codec.decode(payloads))


def plain(text: str = SECRET) -> Payload:
    return Payload(metadata={"encoding": b"binary/plain", "kind": b"4401"}, data=text.encode())


def readable(payload: Payload) -> bool:
    wire = payload.SerializeToString()
    return any(part in wire for part in (b"4401", "张三".encode(), b"policies"))


def test_payloads_come_back_whole_and_in_order(codec: EncryptingCodec) -> None:
    payloads = [plain("a"), Payload(), plain("b"), plain("")]
    assert decoded(codec, *encoded(codec, *payloads)) == payloads


def test_nothing_of_a_payload_can_be_read(codec: EncryptingCodec) -> None:
    (payload,) = encoded(codec, plain())
    assert not readable(payload)  # neither data nor metadata
    assert readable(plain())
    assert encoded(codec, plain()) != [payload]  # equal values do not show as equal


def test_no_byte_of_a_payload_can_be_altered(codec: EncryptingCodec) -> None:
    (payload,) = encoded(codec, plain())
    for place in range(len(payload.data)):
        data = bytearray(payload.data)
        data[place] ^= 1
        altered = Payload(metadata=payload.metadata, data=bytes(data))
        with pytest.raises(ValueError, match="PAYLOAD_ALTERED"):
            decoded(codec, altered)
    for end in range(len(payload.data)):
        with pytest.raises(ValueError, match="PAYLOAD_ALTERED"):
            decoded(codec, Payload(metadata=payload.metadata, data=payload.data[:end]))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "PAYLOAD_NOT_ENCRYPTED"),
        ({"encoding": b"binary/protobuf"}, "PAYLOAD_NOT_ENCRYPTED"),
        ({"encoding": b"json/plain"}, "PAYLOAD_NOT_ENCRYPTED"),
        ({"encoding": b"binary/lipei-aes-gcm-2"}, "CODEC_KEY_MISSING"),
        ({"encoding": b"binary/lipei-aes-gcm-2", "key-id": b"k9"}, "CODEC_KEY_MISSING"),
        ({"encoding": b"binary/lipei-aes-gcm-2", "key-id": b"\xff"}, "CODEC_KEY_MISSING"),
        ({"encoding": b"binary/lipei-aes-gcm-2", "key-id": b"k1"}, "PAYLOAD_ALTERED"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_a_reason_and_nothing_else(
    codec: EncryptingCodec, metadata: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(CodecFault) as refused:
        decoded(codec, Payload(metadata=metadata, data=SECRET.encode()))
    assert refused.value.reason == reason
    assert SECRET not in str(refused.value)


def test_after_a_rotation_old_histories_open_and_new_ones_need_the_new_key(
    codec: EncryptingCodec,
) -> None:
    rotated = EncryptingCodec(FixedKeys({"k1": OLD, "k2": NEW}, "k2"))
    assert decoded(rotated, *encoded(codec, plain())) == [plain()]
    (fresh,) = encoded(rotated, plain())
    assert fresh.metadata["key-id"] == b"k2"
    with pytest.raises(CodecFault, match="CODEC_KEY_MISSING"):
        decoded(codec, fresh)
    # Another key under the old name opens nothing, nor does an old payload renamed to the new key.
    with pytest.raises(CodecFault, match="PAYLOAD_ALTERED"):
        decoded(EncryptingCodec(FixedKeys({"k2": OLD}, "k2")), fresh)
    fresh.metadata["key-id"] = b"k1"
    with pytest.raises(CodecFault, match="PAYLOAD_ALTERED"):
        decoded(rotated, fresh)


def of(codec: EncryptingCodec, workflow: str, namespace: str = "default") -> EncryptingCodec:
    return codec.with_context(WorkflowSerializationContext(namespace, workflow))


def test_a_payload_opens_in_its_own_workflow_and_in_no_other(codec: EncryptingCodec) -> None:
    (payload,) = encoded(of(codec, "claims/a"), plain())
    assert decoded(of(codec, "claims/a"), payload) == [plain()]
    for elsewhere in (of(codec, "claims/b"), of(codec, "claims/a", "other"), codec):
        with pytest.raises(CodecFault, match="PAYLOAD_ALTERED"):
            decoded(elsewhere, payload)


def test_a_steps_payloads_are_its_workflows(codec: EncryptingCodec) -> None:
    step = ActivitySerializationContext(
        namespace="default",
        activity_id="1",
        activity_type="AdjudicateClaim",
        activity_task_queue="claims",
        workflow_id="claims/a",
        workflow_type="SettleClaim",
        is_local=True,
    )
    (payload,) = encoded(codec.with_context(step), plain())
    assert decoded(of(codec, "claims/a"), payload) == [plain()]


def test_the_runs_of_a_schedule_read_what_was_encrypted_for_the_schedule(
    codec: EncryptingCodec,
) -> None:
    (payload,) = encoded(of(codec, "pull-bills/general"), plain())
    run = of(codec, "pull-bills/general-2026-06-01T02:00:00Z")
    assert decoded(run, payload) == [plain()]
    with pytest.raises(CodecFault, match="PAYLOAD_ALTERED"):
        decoded(of(codec, "pull-bills/general2-2026-06-01T02:00:00Z"), payload)


def before_binding(key: bytes, key_id: bytes = b"k1") -> Payload:
    """A payload as the codec wrote it before it bound workflows."""
    nonce = bytes(12)
    data = nonce + AESGCM(key).encrypt(nonce, plain().SerializeToString(), key_id)
    return Payload(metadata={"encoding": b"binary/lipei-aes-gcm", "key-id": key_id}, data=data)


def test_unbound_payloads_open_only_under_a_key_that_wrote_such(tmp_path: Path) -> None:
    (tmp_path / "old.key").write_text(OLD.hex() + "\n")
    old = EncryptingCodec(KeyFile(tmp_path / "old.key"))
    assert decoded(of(old, "claims/a"), before_binding(OLD)) == [plain()]
    # Today's own payloads cannot be passed off as such.
    (bound,) = encoded(of(old, "claims/a"), plain())
    bound.metadata["encoding"] = b"binary/lipei-aes-gcm"
    with pytest.raises(CodecFault, match="PAYLOAD_ALTERED"):
        decoded(of(old, "claims/b"), bound)
    with pytest.raises(CodecFault, match="PAYLOAD_ALTERED"):
        decoded(EncryptingCodec(FixedKeys({"k1": OLD}, "k1")), before_binding(OLD))


def test_a_retired_key_has_a_reason_of_its_own() -> None:
    class Retired(FixedKeys):
        def named(self, key_id: str) -> CodecKey:
            raise CodecFault(Reason.KEY_RETIRED, key_id)

    keys = Retired({"k1": OLD}, "k1")
    (payload,) = encoded(EncryptingCodec(keys), plain())
    with pytest.raises(CodecFault) as refused:
        decoded(EncryptingCodec(keys), payload)
    assert (refused.value.reason, refused.value.key_id) == ("CODEC_KEY_RETIRED", "k1")


def test_our_messages_are_binary_protobuf_inside(codec: EncryptingCodec) -> None:
    (inner,) = ProtoFirstConverter().to_payloads([WORK])
    assert inner.metadata["encoding"] == b"binary/protobuf"
    assert inner.data == WORK.SerializeToString()


def test_values_make_the_round_trip_through_the_converter_of_clients_and_workers() -> None:
    async def there_and_back() -> list[object]:
        converter = data_converter(FixedKeys({"k1": OLD}, "k1"))
        payloads = await converter.encode([WORK, None, "text", {"a": 1}])
        assert not any(readable(payload) for payload in payloads)
        hints: list[type] = [SettleClaimWork, type(None), str, dict]
        return list(await converter.decode(payloads, hints))

    assert asyncio.run(there_and_back()) == [WORK, None, "text", {"a": 1}]


def failure_under(converter: DataConverter) -> Failure:
    """A failure as it would be stored, of an error with a cause and a stack that tell a secret."""
    failure = Failure()
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            raise ApplicationError(f"cannot pay {SECRET}", SECRET, type="CannotPay") from cause
    except ApplicationError as error:
        asyncio.run(converter.encode_failure(error, failure))
    return failure


def tells(failure: Failure) -> bool:
    wire = failure.SerializeToString()
    return any(part in wire for part in (b"4401", "张三".encode(), b"test_codec.py", b"raise "))


def test_a_failures_message_stack_cause_and_details_cannot_be_read() -> None:
    converter = data_converter(FixedKeys({"k1": OLD}, "k1"))
    failure = failure_under(converter)
    assert not tells(failure)
    assert failure.application_failure_info.type == "CannotPay"  # retry policies need it
    error = asyncio.run(converter.decode_failure(failure))
    assert isinstance(error, ApplicationError)
    assert error.message == f"cannot pay {SECRET}"
    assert list(error.details) == [SECRET]
    assert SECRET in str(error.__cause__)


def test_under_the_sdks_own_failure_converter_everything_but_details_is_clear() -> None:
    # The control: the same encrypting codec with the default failure converter.
    ours = data_converter(FixedKeys({"k1": OLD}, "k1"))
    assert ours.failure_converter_class is DefaultFailureConverterWithEncodedAttributes
    failure = failure_under(
        DataConverter(
            payload_converter_class=ProtoFirstConverter,
            payload_codec=ours.payload_codec,
            failure_converter_class=DefaultFailureConverter,
        )
    )
    assert tells(failure)
    assert SECRET in failure.message
    assert "test_codec.py" in failure.stack_trace
