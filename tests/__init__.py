"""Tests mirror the source; tests/data needs a folder of data, tests/fault kills and partitions."""

import demo  # noqa: F401 - it tells gRPC about forks, before anything imports that
