"""Logging of codes and ids as JSON lines to standard error; never a value of a person.

What may stand in a line is listed in log_words; the rest is dropped and counted (`dropped`).
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType

import structlog

from services.common.log_words import NAME, allowed

_FRAMES = 12


def only_allowed(
    _logger: structlog.typing.WrappedLogger, _level: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """The processor that lets listed events, keys and shapes through, and nothing else."""
    return {**allowed(line.pop("event", None), line)}


def _pipe(service: str, number: int) -> None:
    def named(
        _logger: structlog.typing.WrappedLogger, _level: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {**line, "service": service} if service else line

    structlog.configure(
        processors=[
            only_allowed,
            named,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # Asked for at each line, so that it follows a redirection.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


# A program that logs before `configure`, or without it, tells no more than one that did.
_pipe("", logging.INFO)


def configure(service: str, level: str = "info") -> None:
    """Set logging up for a process.

    Of third parties' loggers and of a crash, one learns where and of what type, never the message:
    it may hold what a request or a database row held.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    _pipe(str(NAME(service) or ""), number)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithoutMessages())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # The SDK writes failing activities with their arguments and traceback.
    for name in ("temporalio.activity", "temporalio.workflow", "temporalio.worker"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)
    sys.excepthook = _crashed
    sys.unraisablehook = _not_raised
    threading.excepthook = _thread_crashed


def logger() -> structlog.typing.FilteringBoundLogger:
    """The process's logger. Say an event's name and codes: `logger().info("pulled", count=3)`."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log


def places_of(fault: BaseException) -> list[str]:
    """The last frames of a fault as "file:line", innermost last; without its text."""
    frames = traceback.extract_tb(fault.__traceback__)[-_FRAMES:]
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]


class _WithoutMessages(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "event": "third_party",
            "logger": record.name,
            "level": record.levelname.lower(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["fault"] = type(record.exc_info[1]).__name__
            line["at"] = places_of(record.exc_info[1])
        return json.dumps(line)


def _crashed(
    kind: type[BaseException], fault: BaseException, _traceback: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        logger().critical("crashed", fault=kind.__name__, at=places_of(fault))


def _thread_crashed(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _crashed(args.exc_type, args.exc_value, args.exc_traceback)


def _not_raised(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        _crashed(args.exc_type, args.exc_value, args.exc_traceback)
