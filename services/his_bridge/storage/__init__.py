"""The bridge's own database: what came in, what went out, what waits."""
