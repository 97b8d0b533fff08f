"""Tests mirror the source; tests/data needs a folder of data, tests/fault kills and partitions."""
