"""Text as a terminal may be given it. Knows no command."""

from __future__ import annotations

import re

# What steers a terminal or turns the direction of writing; line ends and tabs stay.
_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def shown(text: str) -> str:
    r"""The text with a mark for each character that would steer the terminal.

    Names come from files and messages of others: one could clear the screen, or write over what
    stands there.

    >>> shown("\x1b[2Jred"), shown("甲\n[b]")
    ('�[2Jred', '甲\n[b]')
    """
    return _STEERS.sub("\ufffd", text)
