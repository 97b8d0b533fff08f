"""Privacy at rest: values sealed under keys of the people they are about. Knows no service.

Each service's database has a table of subject keys, random, wrapped by a master key that never
stands in a database. A value is bound to its table, column, row and subject: moved, swapped or
altered it does not open. Destroying a subject's key erases what was sealed under it, wherever
copies of it lie.
"""

from services.common.sealing.faults import CannotOpen, Erased, KeyRetired, KeyUnknown
from services.common.sealing.master import KeySet, MasterKeys
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
