"""Opaque page tokens: where a list goes on, good for that list alone. Knows no list."""

from __future__ import annotations

import base64
import binascii
import re

from services.common.refusals import Refused, Violation, invalid

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


def page_token(kind: str, position: str) -> str:
    """An opaque page token for one kind of list."""
    return base64.urlsafe_b64encode(f"{kind}\x00{position}".encode()).decode()


def parse_page_token(token: str, kind: str) -> str | None:
    """The position in a token of this kind; None for the empty token.

    Raises: Refused (INVALID_ARGUMENT) for any other text.
    """
    if not token:
        return None
    try:
        found, _, position = base64.urlsafe_b64decode(token.encode()).decode().partition("\x00")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        found, position = "", ""
    if found != kind or not position:
        raise foreign_token()
    return position


def number_in(token: str, kind: str, *, first: int = 0) -> int:
    """The row's number in a token of this kind; `first` for the empty token.

    Raises: Refused (INVALID_ARGUMENT) for any other text.
    """
    position = parse_page_token(token, kind)
    if position is None:
        return first
    if not _NUMBER.fullmatch(position):
        raise foreign_token()
    return int(position)


def foreign_token() -> Refused:
    """The refusal of a token that this list did not give."""
    text = "not a page token of this list; start again without one"
    return invalid([Violation("page_token", "FOREIGN_PAGE_TOKEN", text)])
