"""What all tests may ask for: databases of both kinds, and no process left behind."""

from __future__ import annotations

import gc
import shutil
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from itertools import islice
from operator import itemgetter
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import pytest
import structlog
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from tests.compiled import compile_once
from tests.postgres import database_like, fresh_database, postgres_server
from tests.schemas import migrate_url, migrated_file
from tests.statements import share_compiled_statements

# Under nohup, or in a script's background, these are ignored, and by all that tests start as well.
for _number, _usual in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

_POSTGRES = pytest.StashKey[str]()
_DATA = Path(__file__).parent / "data"
# Fixtures that are the URL of a database, of each kind in turn.
_URLS = ("database_url", "shared_url", "stocked_url")
# Properties of `make test`: no deadlines, the same examples every time, and as many as suffice to
# find the mistakes that tests/fault/mutation.py makes on purpose. With Hypothesis' own "ci", which
# differs in nothing but its hundred examples, all properties are a part of `make fault`.
settings.register_profile("short", settings.get_profile("ci"), max_examples=25)
# Whole stacks of processes, which are waited for. Begun last, they would end last and alone; all at
# the same time, nobody would reckon meanwhile: so many other files come after each of them.
_WAITING = (
    "fault/test_kills_small.py",
    "bench",
    "canary",
    "demo",
    "e2e",
    "fault",
    "stack",
    "workflows",
)
_OTHERS_AFTER_EACH = 3
# Of the others, whole books of people take longest.
_FIRST_OF_OTHERS = "services/pricing/fitting"
# Tests keep much and leave few cycles: Python's own 700 has all of it searched every few seconds.
_OBJECTS_BEFORE_A_SEARCH = (5_000, 20, 20)


def pytest_sessionstart() -> None:
    """A run that is told to stop still ends its servers."""
    share_compiled_statements()

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def examples_hang_on_what_is_imported_now() -> None:
    """Hypothesis draws numbers and words of the code too: of all that is imported.

    What a test imports later would give the tests after it other examples, in whatever order the
    workers of this run come to them.
    """
    found = providers._get_local_constants()
    providers._get_local_constants = lambda: found


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Python's collector leaves tests and modules alone, which all stay: a fifth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        examples_hang_on_what_is_imported_now()
        gc.enable()
        gc.freeze()
        gc.set_threshold(*_OBJECTS_BEFORE_A_SEARCH)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of a database runs on each kind."""
    told = {
        name.strip()
        for mark in metafunc.definition.iter_markers("parametrize")
        for name in (mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0])
    }
    for url in _URLS:
        if url in metafunc.fixturenames and url not in told:
            metafunc.parametrize(url, ["sqlite", "postgresql"], indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """`make test` runs a test on SQLite, on PostgreSQL, or on both; `make fault` the rest of it.

    Marked `both_databases` is what each of them does in its own way: what is done at the same
    time, what it refuses, its types, and the schemas. Marked `on_postgresql` are of the rest enough
    that PostgreSQL is asked every statement that any of them asks. What is not marked runs on
    SQLite. One value of a parameter may be marked too.
    """
    given: dict[str, object] = item.callspec.params if hasattr(item, "callspec") else {}
    found = next((str(given[url]) for url in _URLS if url in given), None)
    if found is None or item.get_closest_marker("both_databases") is not None:
        return
    usual = "sqlite" if item.get_closest_marker("on_postgresql") is None else "postgresql"
    if found in ("sqlite", "postgresql") and found != usual:
        item.add_marker(pytest.mark.fault)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests of data that nobody asks for are not imported either, with statistics of their own."""
    return True if collection_path == _DATA and "not data" in config.option.markexpr else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, and not all those that wait at once; within one all stays."""
    place = {path: at for at, path in enumerate(_turns(dict.fromkeys(i.path for i in items)))}
    items.sort(key=lambda item: place[item.path])


def _turns(paths: Iterable[Path]) -> Iterator[Path]:
    here = Path(__file__).parent
    waiting: list[tuple[int, Path]] = []
    others: list[tuple[bool, Path]] = []
    for path in paths:
        within = path.relative_to(here) if path.is_relative_to(here) else path
        under = [within.is_relative_to(first) for first in _WAITING]
        if any(under):
            waiting.append((under.index(True), path))
        else:
            others.append((not within.is_relative_to(_FIRST_OF_OTHERS), path))
    # The sort is stable: otherwise they stay in the order in which they came.
    rest = (path for _, path in sorted(others, key=itemgetter(0)))
    for _, path in sorted(waiting, key=itemgetter(0)):
        yield path
        yield from islice(rest, _OTHERS_AFTER_EACH)
    yield from rest


@pytest.fixture(scope="session", autouse=True)
def grpc_keeps_running() -> grpc.Channel:
    """A channel that nobody uses, as long as the run.

    To close the last one of a process ends gRPC's threads while it holds Python's lock, for which
    one of them may be waiting: the run would hang (grpc/grpc#42247; seen once, on a busy machine).
    """
    return grpc.insecure_channel("127.0.0.1:1")


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """What a test configures ends with it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, in the process that runs no test
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """The workers of a run share one PostgreSQL server, which starts before them."""
    compile_once(config)
    running = ExitStack()
    config.add_cleanup(running.close)
    config.stash[_POSTGRES] = running.enter_context(postgres_server())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker is told where it is."""
    node.workerinput["postgres_url"] = node.config.stash[_POSTGRES]


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """A PostgreSQL server for this run; its tests use `postgres_database` or `database_url`."""
    told: dict[str, str] = getattr(pytestconfig, "workerinput", {})
    if "postgres_url" in told:
        yield told["postgres_url"]
    else:
        with postgres_server() as url:
            yield url


@pytest.fixture(scope="session")
def schema() -> str:
    """The service whose tables a fresh database has from the start; "" is none.

    The folders of the services' tests override it: migrating anew for each test would take longer
    than most tests do.
    """
    return ""


@pytest.fixture(scope="session")
def postgres_like(postgres_url: str) -> Callable[[str], str]:
    """What gives the name of a PostgreSQL database with a service's tables, to be copied."""

    @cache
    def like(schema: str) -> str:
        if not schema:
            return "template1"
        return database_like(postgres_url, schema, partial(migrate_url, package=schema))

    return like


@pytest.fixture
def postgres_database(
    postgres_url: str, postgres_like: Callable[[str], str], schema: str
) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database."""
    with fresh_database(postgres_url, postgres_like(schema)) as url:
        yield url


@pytest.fixture
def sqlite_database(tmp_path: Path, schema: str) -> str:
    """The URL of a fresh SQLite database."""
    path = tmp_path / "test.db"
    shutil.copyfile(migrated_file(schema), path)
    return f"sqlite:///{path}"


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database, of the kind whose turn it is."""
    kind = "sqlite_database" if request.param == "sqlite" else "postgres_database"
    return str(request.getfixturevalue(kind))


@pytest.fixture(scope="module")
def shared_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, schema: str
) -> Iterator[str]:
    """The URL of one database for a whole file of tests, of the kind whose turn it is."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("shared") / "test.db"
        shutil.copyfile(migrated_file(schema), path)
        yield f"sqlite:///{path}"
        return
    like: Callable[[str], str] = request.getfixturevalue("postgres_like")
    with fresh_database(request.getfixturevalue("postgres_url"), like(schema)) as url:
        yield url
