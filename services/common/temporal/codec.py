"""AES-GCM over every payload, so that Temporal's database and UI hold no readable content."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterable
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from services.common.log import logger
from services.common.temporal.codec_keys import CodecFault, CodecKey, CodecKeys, Reason

_BOUND = b"binary/lipei-aes-gcm-2"
_UNBOUND = b"binary/lipei-aes-gcm"  # before payloads were bound to their workflow; only read
_NONCE_BYTES = 12
# A schedule's payload is encrypted once, for the id that its runs' ids begin with.
_OF_A_SCHEDULE = re.compile(r"-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z", re.ASCII)


class EncryptingCodec(PayloadCodec, WithSerializationContext):
    """Encrypts with the current key; decrypts with the key whose id the payload names.

    A payload is bound to its key's id, the namespace and the workflow: moved to another workflow it
    does not open. Within one workflow payloads can be exchanged by whoever writes Temporal's
    database; the SDK tells a codec no place in a history.
    """

    def __init__(self, keys: CodecKeys, namespace: str = "", workflow: str = "") -> None:
        self._keys = keys
        self._namespace = namespace
        self._workflow = _OF_A_SCHEDULE.sub("", workflow)

    def with_context(self, context: SerializationContext) -> EncryptingCodec:
        """This codec for the payloads of one workflow, those of its activities included."""
        if isinstance(context, WorkflowSerializationContext | ActivitySerializationContext):
            return EncryptingCodec(self._keys, context.namespace, context.workflow_id or "")
        return self

    async def encode(self, payloads: Iterable[Payload]) -> list[Payload]:
        """Each payload whole, metadata included, as one encrypted payload."""
        key = self._keys.current()
        cipher, key_id, place = _cipher(key.key), key.id.encode(), self._place(key.id)
        encrypted = []
        for payload in payloads:
            nonce = os.urandom(_NONCE_BYTES)
            data = nonce + cipher.encrypt(nonce, payload.SerializeToString(), place)
            encrypted.append(Payload(metadata={"encoding": _BOUND, "key-id": key_id}, data=data))
        return encrypted

    async def decode(self, payloads: Iterable[Payload]) -> list[Payload]:
        """The payloads as they were.

        Raises: CodecFault for a payload that is not encrypted, names a missing or retired key, was
        altered, or was encrypted for another workflow. A workflow's task then fails and is tried
        again until the key is back: nothing is lost.
        """
        return [self._decoded(payload) for payload in payloads]

    def _decoded(self, payload: Payload) -> Payload:
        try:
            return self._opened(payload)
        except CodecFault as fault:
            _refuse(fault)

    def _opened(self, payload: Payload) -> Payload:
        encoding = payload.metadata.get("encoding")
        if encoding not in (_BOUND, _UNBOUND):
            raise CodecFault(Reason.NOT_ENCRYPTED)
        key_id = payload.metadata.get("key-id", b"").decode("ascii", "replace")
        key = self._keys.named(key_id)
        place = self._place(key_id) if encoding == _BOUND else _unbound_place(key)
        nonce, body = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(_cipher(key.key).decrypt(nonce, body, place))
        except (InvalidTag, ValueError, DecodeError):
            raise CodecFault(Reason.ALTERED, key_id) from None

    def _place(self, key_id: str) -> bytes:
        parts = ["lipei temporal payload 2", key_id, self._namespace, self._workflow]
        return json.dumps(parts).encode()


def _unbound_place(key: CodecKey) -> bytes:
    if not key.unbound:
        raise CodecFault(Reason.ALTERED, key.id)
    return key.id.encode()


def _refuse(fault: CodecFault) -> NoReturn:
    logger().error("payload_refused", reason=fault.reason, key=fault.key_id)
    raise fault


@functools.lru_cache(maxsize=64)  # set up once per key: that costs more than a small payload
def _cipher(key: str) -> AESGCM:
    return AESGCM(bytes.fromhex(key))
