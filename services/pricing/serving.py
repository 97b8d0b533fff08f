"""What the servicers do alike: run work on the database, and tell times from its microseconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import ParamSpec, TypeVar

import grpc

from services.common.database import Database
from services.common.refusals import Refused, request_id_reused
from services.pricing.storage.tables import OtherContent, StorageUnavailable

P = ParamSpec("P")
R = TypeVar("R")

_RETRY_S = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def run(database: Database, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What blocking work on the database answers.

    Raises: Refused when the database does not answer, or for a request_id of another request.
    """
    try:
        return await database.run(work, *args, **kwargs)
    except StorageUnavailable:
        raise Refused(
            grpc.StatusCode.UNAVAILABLE,
            "DATABASE_UNAVAILABLE",
            "the database does not answer; repeat with the same request_id",
            retry_after_s=_RETRY_S,
        ) from None
    except OtherContent:
        raise request_id_reused() from None


def edited() -> Refused:
    """What a quote or an approval is answered with whose tariff is not what it was."""
    return Refused(
        grpc.StatusCode.FAILED_PRECONDITION,
        "TARIFF_EDITED",
        "a stored tariff is not what its name says, or no longer prices as it did; stop, and have "
        "the database restored",
    )


def microseconds(moment: datetime) -> int:
    """A time as the database keeps it."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def time_of(micros: int) -> datetime:
    """The same again, in UTC."""
    return _EPOCH + timedelta(microseconds=micros)
