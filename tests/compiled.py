"""What a fresh clone has to compile is compiled once, on all cores, before a run's workers start.

Each worker would do it for itself, all of them at the same time: a fifth of a minute on two cores.
It is a cache and nothing else: what is not in it, a worker makes.
"""

from __future__ import annotations

import compileall
import multiprocessing
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from _pytest.assertion.rewrite import (  # there is no public way to it
    PYC_TAIL,
    _rewrite_test,
    _write_pyc,
    assertstate_key,
    get_cache_dir,
)
from hypothesis import strategies as st

_ROOT = Path(__file__).parents[1]
_CODE = ("bench", "demo", "protos", "services", "stack", "tests", "workflows")
_REWRITTEN = re.compile(r"/tests/(.*/)?(test_\w+|conftest)\.py$")


def compile_once(config: pytest.Config) -> None:
    """Fill the caches of Python, of pytest's assertions and of Hypothesis' characters."""
    if sys.dont_write_bytecode:
        return
    tests = [path for path in (_ROOT / "tests").rglob("*.py") if _REWRITTEN.search(str(path))]
    anew = [path for path in tests if not _rewritten(path).exists()]
    if not anew:  # what has changed since is for the workers
        return
    context = multiprocessing.get_context("fork")
    shares = max(1, os.cpu_count() or 1)
    works: list[Callable[[], None]] = [
        *(partial(_rewrite, config, anew[share::shares]) for share in range(shares)),
        _compile,
        st.text().validate,
    ]
    processes = [context.Process(target=work) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _rewritten(path: Path) -> Path:
    return get_cache_dir(path) / (path.name.removesuffix(".py") + PYC_TAIL)


def _rewrite(config: pytest.Config, paths: list[Path]) -> None:
    for path in paths:
        pyc = _rewritten(path)
        pyc.parent.mkdir(exist_ok=True)
        source_hash, code = _rewrite_test(path, config)
        _write_pyc(config.stash[assertstate_key], code, source_hash, pyc)


def _compile() -> None:
    for folder in _CODE:
        compileall.compile_dir(_ROOT / folder, quiet=2, rx=_REWRITTEN)
