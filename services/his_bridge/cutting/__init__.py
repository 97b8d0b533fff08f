"""Dropped files cut into records, and why one is not: no socket, no database, no dialect."""
