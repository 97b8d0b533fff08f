"""Privacy at rest: values sealed under keys of the people they are about. Knows no service.

Each service's database has a table of subject keys, random, wrapped by a master key that never
stands in a database. A value is bound to its table, column, row and subject: moved, swapped or
altered it does not open. Destroying a subject's key erases what was sealed under it, wherever
copies of it lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.common.sealing.faults import CannotOpen, Erased, KeyRetired, KeyUnknown
from services.common.sealing.master import KeySet, MasterKeys

if TYPE_CHECKING:
    from services.common.sealing.subject_keys import Sealer, SubjectKeys

__all__ = [
    "CannotOpen",
    "Erased",
    "KeyRetired",
    "KeySet",
    "KeyUnknown",
    "MasterKeys",
    "Sealer",
    "SubjectKeys",
]


def __getattr__(name: str) -> Any:
    """What needs a database's libraries, once it is asked for: commands have no database."""
    if name in ("Sealer", "SubjectKeys"):
        from services.common.sealing import subject_keys  # noqa: PLC0415 - half of a command's start

        return getattr(subject_keys, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
