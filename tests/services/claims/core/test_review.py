"""A review: units and price before limits, denials with their reason, and what it cannot do."""

from __future__ import annotations
