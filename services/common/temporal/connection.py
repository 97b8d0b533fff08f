"""The connection to Temporal: its standard TEMPORAL_* settings, our converter."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from services.common.settings import temporal_codec_key_file
from services.common.state import load_or_make_key, read_addresses
from services.common.temporal.converter import data_converter

CODEC_KEY_ID = "k1"
_CONNECT_TRIES = 40
_CONNECT_PAUSE_S = 0.25


async def connect(state: Path, **more: Any) -> Client:
    """A client with encrypted payloads, for TEMPORAL_* or else the server in run.json.

    Waits up to ten seconds for a server that is starting.

    Raises: RuntimeError when the server does not answer until then.
    """
    settings: dict[str, Any] = dict(ClientConfig.load_client_connect_config())
    if "TEMPORAL_ADDRESS" not in os.environ:
        recorded = read_addresses(state).get("temporal")
        if recorded:
            settings["target_host"] = recorded
    key = load_or_make_key(temporal_codec_key_file(state))
    settings["data_converter"] = data_converter({CODEC_KEY_ID: key}, CODEC_KEY_ID)
    settings.update(more)
    for _ in range(_CONNECT_TRIES):
        try:
            return await Client.connect(**settings)
        except RuntimeError:
            await asyncio.sleep(_CONNECT_PAUSE_S)
    return await Client.connect(**settings)
