"""How codes are compared: by what they mean, not by how somebody typed them.

Stored codes stay as they came. Knows no plan and no bill.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from services.claims.core.facts import Coding

CodeKey = tuple[str, str]

# Control and format characters (zero-width ones among them), line and paragraph separators.
_UNSEEN = frozenset(("Cc", "Cf", "Zl", "Zp", "Zs"))


@lru_cache(maxsize=65_536)
def comparable(code: str) -> str:
    """The form in which a code or a code's prefix is compared.

    Case, full-width forms, blanks and characters that nobody sees make no other code.

    >>> comparable(" e１１.4 ")
    'E11.4'
    """
    plain = unicodedata.normalize("NFKC", code)
    return "".join(one for one in plain if unicodedata.category(one) not in _UNSEEN).upper()


def code_key(code: Coding) -> CodeKey:
    """What two codings share when they mean the same: the system, and the code as compared."""
    return (code.system, comparable(code.code))
