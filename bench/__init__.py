"""Benchmarks, each beside its floor in one run: docs/bench.md."""

import demo  # noqa: F401 - it tells gRPC about forks, before anything imports that
