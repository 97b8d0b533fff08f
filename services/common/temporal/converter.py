"""How values become payloads: binary protobuf first, encrypted, failures encoded too."""

from __future__ import annotations

from temporalio.converter import (
    BinaryNullPayloadConverter,
    BinaryProtoPayloadConverter,
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    JSONPlainPayloadConverter,
)

from services.common.temporal.codec import EncryptingCodec
from services.common.temporal.codec_keys import CodecKeys


class ProtoFirstConverter(CompositePayloadConverter):
    """Binary protobuf for our messages; JSON remains for the SDK's own plain values.

    The default order stores protobuf as JSON, where renaming a field breaks histories.
    """

    def __init__(self) -> None:
        super().__init__(
            BinaryNullPayloadConverter(),
            BinaryProtoPayloadConverter(),
            JSONPlainPayloadConverter(),
        )


def data_converter(keys: CodecKeys) -> DataConverter:
    """The one converter of all clients and workers.

    Failure messages and stack traces stay readable under the SDK's default failure converter even
    with an encrypting codec; this one encodes them.
    """
    return DataConverter(
        payload_converter_class=ProtoFirstConverter,
        payload_codec=EncryptingCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
