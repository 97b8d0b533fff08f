"""Tests mirror the source; tests/data needs a folder of data, tests/fault kills and partitions."""

import os

# As demo/__init__.py says, and why. Not by importing it: tests of the walls import another demo.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
