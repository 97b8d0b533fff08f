"""The demo, a hospital and an insurer on this machine: docs/demo.md."""

import os

# A forked child of a process in which gRPC has threads is held up by gRPC's handlers, for up to a
# minute, or dies of them before it becomes another program (seen: PostgreSQL servers that did not
# start). Python forks for a child of another user; else it does without. Ours all become other
# programs at once, which gRPC must be told before it is imported: so the first package says it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
