"""The shape that all parts of a plan share, and the smallest of them. Knows no term."""

from __future__ import annotations

import msgspec


class Part(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    cache_hash=True,
):
    """Common shape of a plan's parts: frozen, defaults left out of the canonical bytes."""


class Text(Part, frozen=True):
    """The same words in Chinese and English."""

    zh: str
    en: str


class Ages(Part, frozen=True):
    """A band of completed years on the service date, both ends included; None is open."""

    first: int | None = None
    last: int | None = None
