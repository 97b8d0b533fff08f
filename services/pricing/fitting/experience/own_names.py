"""A book's files and columns as its owner calls them, with our names in brackets.

Who keeps a column called 出生日期 looks for that, and for our birth_date only in this book's
settings and documentation. Knows no rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.pricing.fitting.book_settings import BookSettings, TableSource
from services.pricing.fitting.dictionary import Table

# A name of ours, not one behind a dot, which is another table's.
_NAME = re.compile(r"(?<![\w.])[a-z][a-z0-9_]*(?![\w.])")


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnNames:
    """What the owner of a book calls one table of it."""

    table: Table
    settings: BookSettings

    @property
    def where(self) -> str:
        """The table: its file where one was named."""
        file = self.settings.tables.get(self.table.name, TableSource()).file
        return f"{file} [{self.table.name}]" if file else self.table.name

    @property
    def mapped(self) -> dict[str, str]:
        """The owner's name by ours of the columns that are called otherwise.

        Other tables' come after this table's own: a policy's fault may speak of a birth_date.
        """
        own = {column.name for column in self.table.columns}
        found: dict[str, str] = {}
        for name, source in self.settings.tables.items():
            mine = name == self.table.name
            for ours, theirs in source.columns.items():
                if theirs != ours and (mine or ours not in own | found.keys()):
                    found[ours] = theirs
        return found

    def column(self, name: str) -> str:
        """A column of ours by the owner's name."""
        theirs = self.mapped.get(name)
        return name if theirs is None else f"{theirs} [{name}]"

    def worded(self, text: str) -> str:
        """A sentence with the owner's names for ours; plain words such as value stay words."""
        if not self.mapped:
            return text
        return _NAME.sub(lambda hit: self.column(hit[0]) if "_" in hit[0] else hit[0], text)

    def concerning(self, what: str, says: str) -> str:
        """What a fault is, with the columns that its test `says` reads where they are mapped."""
        name, colon, rest = what.partition(": ")
        if colon and name in self.mapped:
            return f"{self.column(name)}: {self.worded(rest)}"
        mapped = self.mapped
        own = {column.name for column in self.table.columns}
        read = dict.fromkeys(hit for hit in _NAME.findall(says) if hit in own and hit in mapped)
        told = self.worded(what)
        return f"{', '.join(map(self.column, read))}: {told}" if read else told
