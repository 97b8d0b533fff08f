"""By what an order to erase is named; it is kept, and says nothing about the person."""

from __future__ import annotations

import re

ORDER_REFERENCE = re.compile(r"[A-Za-z0-9._/-]{1,64}", re.ASCII)
