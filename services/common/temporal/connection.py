"""The connection to Temporal: its standard TEMPORAL_* settings, our converter."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.converter import DataConverter, WorkflowSerializationContext
from temporalio.envconfig import ClientConfig
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from services.common.settings import temporal_codec_key_file
from services.common.state import read_addresses
from services.common.temporal.codec_keys import KeyFile, load_or_make
from services.common.temporal.converter import data_converter

_DEFAULT_TARGET = "127.0.0.1:7233"  # the Temporal server's own default port
_CONNECT_TRIES = 40
_CONNECT_PAUSE_S = 0.25


async def connect(state: Path, **more: Any) -> Client:
    """A client with encrypted payloads, for TEMPORAL_* or else the server in run.json.

    Waits up to ten seconds for a server that is starting.

    Raises: RuntimeError when the server does not answer until then; UnknownSetting when the codec's
    key file holds no keys.
    """
    settings: dict[str, Any] = {"target_host": _DEFAULT_TARGET}
    settings.update(ClientConfig.load_client_connect_config())
    key_file = temporal_codec_key_file(state)
    load_or_make(key_file, datetime.fromtimestamp(time.time(), UTC))
    settings["data_converter"] = data_converter(KeyFile(key_file))
    settings["runtime"] = _quiet_runtime()
    for _ in range(_CONNECT_TRIES):
        try:
            return await Client.connect(**{**settings, **_recorded_target(state), **more})
        except RuntimeError:
            await asyncio.sleep(_CONNECT_PAUSE_S)
    return await Client.connect(**{**settings, **_recorded_target(state), **more})


def converter_of(client: Client, workflow_id: str) -> DataConverter:
    """What reads the payloads of one workflow's history; elsewhere they do not open."""
    context = WorkflowSerializationContext(namespace=client.namespace, workflow_id=workflow_id)
    return client.data_converter.with_context(context)


def _recorded_target(state: Path) -> dict[str, str]:
    # Read at every try: a server that is starting may record itself late, or elsewhere than before.
    recorded = read_addresses(state).get("temporal")
    if "TEMPORAL_ADDRESS" in os.environ or not recorded:
        return {}
    return {"target_host": recorded}


@functools.cache  # a runtime is a pool of native threads
def _quiet_runtime() -> Runtime:
    """The SDK's native part, whose warnings go through our logging, which drops their texts."""
    told = LogForwardingConfig(
        logger=logging.getLogger("temporalio.core"), append_target_to_name=False
    )
    levels = TelemetryFilter(core_level="WARN", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(levels, forwarding=told)))
