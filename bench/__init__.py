"""Benchmarks with their floors. `make bench` writes build/bench/summary.json."""
