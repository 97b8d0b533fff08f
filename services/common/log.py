"""Logging of codes and ids as JSON lines to standard error; never a value of a person."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(service: str, level: str = "info") -> None:
    """Set structlog up for a process; third parties' loggers stay at warnings, no tracebacks."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s")
    # The SDK writes failing activities with their arguments and traceback.
    for name in ("temporalio.activity", "temporalio.workflow", "temporalio.worker"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def logger() -> structlog.typing.FilteringBoundLogger:
    """The process's logger. Say an event's name and codes: `logger().info("pulled", count=3)`."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log
