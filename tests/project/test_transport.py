"""No program of ours opens a gRPC port or channel without TLS; the one exception has its reason."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLAIN = re.compile(
    r"insecure_channel|add_insecure_port|insecure_server_credentials|grpc\.experimental"
)
PROGRAMS = ("services", "workflows", "stack", "demo", "bench")
# The Temporal dev server has no TLS: it listens on loopback, and its payloads are encrypted.
EXCEPTIONS = {"stack/probes.py": 1}


def plain_places(text: str) -> int:
    return len(PLAIN.findall(text))


def test_nothing_speaks_without_tls() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): plain_places(path.read_text("utf-8"))
        for program in PROGRAMS
        for path in (ROOT / program).rglob("*.py")
    }
    assert {name: count for name, count in found.items() if count} == EXCEPTIONS


def test_the_search_finds_each_way() -> None:
    for line in ("grpc.aio.insecure_channel(t)", "server.add_insecure_port(a)"):
        assert plain_places(line) == 1
