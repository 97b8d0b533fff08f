"""The settings of a process that runs, read at once; commands do without, and without pydantic."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.settings import PREFIX


class LipeiSettings(BaseSettings):
    """What every process of an installation reads; a service adds its own fields."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    state: Path = Path(".lipei")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    count_reads: bool = False


def faults_of(error: ValidationError) -> Iterable[str]:
    """One sentence per fault of a settings object, without the values."""
    for fault in error.errors(include_input=False, include_url=False):
        where = "_".join(str(part) for part in fault["loc"]).upper()
        yield f"{PREFIX}{where}: {fault['msg']}"
