"""How soon Temporal gives the work of a killed worker to another: the server hears of no kill.

Measured with `make fault` (docs/operating.md has the table): with the SDK's 10 s for both, claims
that were in a killed worker's hands were decided 10.0 s after the kill, though its successor polled
after 1.2 to 1.9 s; with the values below after about 4 s.
"""

from __future__ import annotations

from datetime import timedelta

# A workflow task that the killed worker had begun is given away after this. Ours take milliseconds;
# one that lasts longer, because a step in it waits for the bank, is renewed by the SDK at 80 %.
# It must outlast a stall of the worker's event loop, else work is begun twice for nothing.
TASK_TIMEOUT = timedelta(seconds=4)
# A task that waits in the killed worker's own queue is moved to the common one after this. The
# price is one replay of a short history.
STICKY_TIMEOUT = timedelta(seconds=3)
# An activity that has not been heard of for so long is given away. The SDK may hold a sign of life
# back for a while, by default for 80 % of this; we let it hold one back for a second only.
HEARTBEAT_TIMEOUT = timedelta(seconds=4)
HEARTBEAT_EVERY = timedelta(seconds=1)
