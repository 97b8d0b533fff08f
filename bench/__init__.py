"""Benchmarks with floors: `make bench` runs them and fails when one is missed."""
