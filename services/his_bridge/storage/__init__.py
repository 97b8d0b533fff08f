"""The bridge's own database: what came in, what went out, what waits. Times are microseconds since 1970 in UTC."""
