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
_DEFAULT_TARGET = "127.0.0.1:7233"  # the Temporal server's own default port
_CONNECT_TRIES = 40
_CONNECT_PAUSE_S = 0.25


async def connect(state: Path, **more: Any) -> Client:
    """A client with encrypted payloads, for TEMPORAL_* or else the server in run.json.

    Waits up to ten seconds for a server that is starting.

    Raises: RuntimeError when the server does not answer until then.
    """
    settings: dict[str, Any] = {"target_host": _DEFAULT_TARGET}
    settings.update(ClientConfig.load_client_connect_config())
    key = load_or_make_key(temporal_codec_key_file(state))
    settings["data_converter"] = data_converter({CODEC_KEY_ID: key}, CODEC_KEY_ID)
    for _ in range(_CONNECT_TRIES):
        try:
            return await Client.connect(**{**settings, **_recorded_target(state), **more})
        except RuntimeError:
            await asyncio.sleep(_CONNECT_PAUSE_S)
    return await Client.connect(**{**settings, **_recorded_target(state), **more})


def _recorded_target(state: Path) -> dict[str, str]:
    # Read at every try: a server that is starting may record itself late, or elsewhere than before.
    recorded = read_addresses(state).get("temporal")
    if "TEMPORAL_ADDRESS" in os.environ or not recorded:
        return {}
    return {"target_host": recorded}
