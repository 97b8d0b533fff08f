"""Logs tell codes, ids and places; what a person said or owes never gets there."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from services.common import log
from services.common.log_words import EVENTS, KEYS, UNREGISTERED, allowed
from services.his_bridge.core.faults import Reason
from tests.services.common.programs import ROOT, run

SECRET = "张三 4401 0119"
PROGRAM = f"""
import asyncio, logging, sys, threading, warnings
from services.common import log
if sys.argv[1] == "configured":
    log.configure("claims", "info")
log.logger().info("pulled", received=3)
log.logger().debug("too_fine")
try:
    raise ValueError({SECRET!r})
except ValueError:
    logging.getLogger("grpc").exception("failed on {SECRET}")
logging.getLogger("grpc").warning("what about %s", {SECRET!r})
warnings.warn({SECRET!r})

class Dying:
    def __del__(self):
        raise ArithmeticError({SECRET!r})

dying = Dying()
del dying

def in_a_thread():
    raise LookupError({SECRET!r})

thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()

async def main():
    async def forgotten():
        raise OSError({SECRET!r})
    task = asyncio.create_task(forgotten())
    await asyncio.sleep(0)
    del task
    try:
        raise KeyError({SECRET!r})
    except KeyError as fault:
        raise RuntimeError({SECRET!r}) from fault

asyncio.run(main())
"""


def test_a_crashing_process_tells_where_and_not_what() -> None:
    done = run(PROGRAM, "configured")
    assert done.returncode == 1
    assert SECRET not in done.stderr + done.stdout
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == [
        "pulled",
        "third_party",
        "third_party",
        "third_party",
        "crashed",
        "crashed",
        "third_party",
        "crashed",
    ]
    assert lines[0] == {
        "event": "pulled",
        "received": 3,
        "level": "info",
        "service": "claims",
        "timestamp": lines[0]["timestamp"],
    }
    assert [line.get("fault") for line in lines[1:]] == [
        "ValueError",
        None,
        None,
        "ArithmeticError",
        "LookupError",
        "OSError",
        "RuntimeError",
    ]
    loggers = ["grpc", "grpc", "py.warnings", None, None, "asyncio", None]
    assert [line.get("logger") for line in lines[1:]] == loggers
    assert lines[-1]["at"][-1].startswith("<string>:")


def test_without_our_configuration_the_same_process_tells_all() -> None:
    # The control: it shows that the program really tries.
    assert run(PROGRAM, "default").stderr.count(SECRET) >= 8


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("received", 3, 3),
        ("more", False, False),
        ("received", 13812345678, None),  # a telephone number is no count
        ("received", 1e300, None),
        ("received", "3", None),
        ("hospital", "general", "general"),
        ("hospital", "h110101199003070020", None),
        ("hospital", "张三", None),
        ("channel", "bills", "bills"),
    ],
)
def test_values_are_told_when_they_have_the_shape_of_their_key(
    key: str, value: object, told: object
) -> None:
    line = allowed("pulled", {key: value})
    assert line.get(key) == told
    assert line.get("dropped", 0) == (told is None)


def test_codes_ids_types_and_places_are_told() -> None:
    assert allowed("pull_failed", {"reason": Reason.BRIDGE_FAILED}) == {
        "event": "pull_failed",
        "reason": "BRIDGE_FAILED",
    }
    assert allowed("undecidable", {"claim": "a1" * 16, "fault": KeyError(SECRET)}) == {
        "event": "undecidable",
        "claim": "a1" * 16,
        "fault": "KeyError",
    }
    at = [f"story.py:{number}" for number in range(3)]
    found = allowed("unexpected_fault", {"method": "/lipei.claims.v1.ClaimsService/Get", "at": at})
    assert found == {
        "event": "unexpected_fault",
        "method": "/lipei.claims.v1.ClaimsService/Get",
        "at": at,
    }


def test_of_a_long_list_twenty_are_told_and_the_rest_is_counted() -> None:
    line = allowed("unpayable_claims", {"claims": [f"{n:032x}" for n in range(33)], "count": 33})
    assert len(line["claims"]) == 20  # type: ignore[arg-type] # a list, as the claims are
    assert line["count"] == 33
    assert line["dropped"] == 13


def test_a_member_token_and_an_unknown_event_are_dropped_and_counted() -> None:
    token = f"k1.{'0a' * 32}"
    assert allowed("undecidable", {"claim": token, "member": token}) == {
        "event": "undecidable",
        "dropped": 2,
    }
    assert allowed(f"paid {SECRET}", {"claim": "a1" * 16}) == {
        "event": UNREGISTERED,
        "dropped": 2,
    }


def test_a_peer_is_an_address_and_nothing_else() -> None:
    for address in ("10.20.0.11", "2001:db8::1"):
        assert allowed("not_taken", {"peer": address})["peer"] == address
    for other in ("10.20.0.11:2575", "lis.hospital.example", "001.2.3.4", "44010119900307002X", 7):
        assert allowed("not_taken", {"peer": other}) == {"event": "not_taken", "dropped": 1}


def test_a_place_in_a_message_is_a_segment_and_a_field() -> None:
    for place in ("MSH-10", "PV1-19", "FT1"):
        assert allowed("not_taken", {"place": place})["place"] == place
    for other in ("欧阳建国", "PID-18-1234", "PID|18", "pid-3", "110101199003070021"):
        assert allowed("not_taken", {"place": other}) == {"event": "not_taken", "dropped": 1}


# What a person may have said: no value of it has the shape of a code, an id or a count.
PERSONAL = st.one_of(
    st.sampled_from(
        (
            "张三",
            "Zhang San",
            "+86 138-1234-5678",
            "13812345678",
            "110101199003070020",
            "6222020200112233445",
            "a@b.cn",
            f"k1.{'0a' * 32}",
            "北京市朝阳区建国路88号",
            "5.4 mmol/L",
        )
    ),
    st.text(min_size=1).map(lambda text: f"{text}·{text}"),
)


def nested(text: str) -> list[object]:
    class Telling(str):
        __slots__ = ()

        def __str__(self) -> str:
            return text

    class Odd:
        def __repr__(self) -> str:
            return text

    fault = ValueError(text)
    fault.__cause__ = KeyError(text)
    return [text, [text], (text, [text]), {text: text}, fault, Telling("bills"), Odd(), b"%s"]


def emitted(said: Callable[[Any], object], processors: list[Any] | None = None) -> str:
    """What a logger with the processors in force, or others, writes."""
    out = io.StringIO()
    bound = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=processors or structlog.get_config()["processors"],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    said(bound)
    return out.getvalue()


def say_everywhere(text: str) -> Callable[[Any], object]:
    """Log the text in every position that a call has."""

    def said(logger: Any) -> None:
        logger.info(text)
        logger.info("pulled %s", text)
        logger.info("pulled", **{text: 1})
        for event, keys in EVENTS.items():
            for value in nested(text):
                logger.warning(event, **dict.fromkeys(keys, value))
                logger.warning(event, level=value, timestamp=value, service=value, extra=value)
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("crashed", stack_info=True)

    return said


def tells(text: str, written: str) -> bool:
    forms = {text, json.dumps(text)[1:-1], repr(text)[1:-1]}
    return any(form in written for form in forms)


@given(PERSONAL)
def test_a_text_in_any_position_of_a_call_never_comes_out(text: str) -> None:
    written = emitted(say_everywhere(text))
    assert not tells(text, written)
    for line in map(json.loads, written.splitlines()):
        told = line.keys() - {"event", "level", "timestamp", "service", "dropped"}
        assert told <= EVENTS.get(line["event"], frozenset())


@given(st.text() | st.integers() | st.floats(allow_nan=True) | st.binary())
def test_whatever_comes_out_has_the_shape_of_its_key(value: object) -> None:
    for event, keys in EVENTS.items():
        for key, told in allowed(event, dict.fromkeys(keys, value)).items():
            if key not in ("event", "dropped"):
                assert KEYS[key](told) == told == value


def test_without_the_processor_the_text_comes_out() -> None:
    # The control: the same calls, the same processors but one.
    others = [each for each in structlog.get_config()["processors"] if each is not log.only_allowed]
    assert tells(SECRET, emitted(say_everywhere(SECRET), others))


# Every call in the tree, read from its source.

LEVELS = {"debug", "info", "warning", "error", "critical"}
CODE = [
    path
    for root in ("services", "workflows", "stack", "demo", "bench")
    for path in sorted((ROOT / root).rglob("*.py"))
]


def is_logger(node: ast.expr) -> bool:
    """Whether it reads `logger()` or `log.logger()`."""
    if not isinstance(node, ast.Call):
        return False
    made = node.func
    name = made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")
    return name == "logger"


def log_calls(tree: ast.AST) -> Iterator[tuple[ast.Call | None, int]]:
    """Each use of a logger: the call, or None for one that is not `logger().level(...)`."""
    good: set[ast.expr] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and is_logger(node.func.value)
        ):
            good.add(node.func.value)
            yield node, node.lineno
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and is_logger(node) and node not in good:
            yield None, node.lineno


def breaches(source: str) -> list[str]:
    """What of a module's logging is not registered, in words."""
    if "logger" not in source:
        return []  # most modules; to parse them all takes long
    found = []
    for call, line in log_calls(ast.parse(source)):
        if call is None:
            found.append(f"{line}: a logger that is kept, bound or handed on")
            continue
        event = call.args[0] if len(call.args) == 1 else None
        name = str(event.value) if isinstance(event, ast.Constant) else ""
        if name not in EVENTS:
            found.append(f"{line}: no registered event")
            continue
        found += [
            f"{line}: {keyword.arg} is no key of {name}"
            for keyword in call.keywords
            if keyword.arg not in EVENTS[name]
        ]
    return found


def test_every_call_uses_registered_events_and_keys() -> None:
    assert len(CODE) > 500
    found = {path.relative_to(ROOT).as_posix(): breaches(path.read_text()) for path in CODE}
    assert {path: faults for path, faults in found.items() if faults} == {}


@pytest.mark.parametrize(
    "call",
    [
        'logger().info("paid_to")',
        'logger().info(f"pulled {name}")',
        'logger().info("pulled", member=token)',
        'logger().info("pulled", **facts)',
        'logger().info("pulled", name)',
        'logger().exception("crashed")',
        'logger().bind(name=1).info("pulled")',
        'log.logger().msg("pulled")',
        "held = log.logger()",
    ],
)
def test_a_call_that_is_not_registered_is_a_breach(call: str) -> None:
    assert len(breaches(call)) == 1
    assert breaches('logger().info("pulled", received=3)') == []


def test_nobody_logs_past_the_list() -> None:
    door = re.compile(
        r"^\s*(import|from) structlog|logging\.(getLogger|info|warning|error|debug)\b"
    )
    past = {
        path.relative_to(ROOT).as_posix()
        for path in CODE
        if path.parts[-2:] != ("common", "log.py")
        and any(door.search(line) for line in path.read_text().splitlines())
    }
    # The SDK's native part speaks through Python's logging there, whose texts are dropped.
    assert past == {"services/common/temporal/connection.py"}


def test_every_registered_event_and_key_is_used() -> None:
    said: dict[str, set[str]] = {}
    for source in (path.read_text() for path in CODE):
        for call, _ in log_calls(ast.parse(source)) if "logger" in source else ():
            if call is not None and isinstance(call.args[0], ast.Constant):
                keys = {keyword.arg or "" for keyword in call.keywords}
                said.setdefault(str(call.args[0].value), set()).update(keys)
    unused: Mapping[str, object] = {
        event: keys - said.get(event, set())
        for event, keys in EVENTS.items()
        if event not in said or keys - said[event]
    }
    assert unused == {}
    assert set().union(*EVENTS.values()) <= KEYS.keys()
