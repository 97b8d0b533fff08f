"""A provider's prices as a spreadsheet exports them, made the file that claims take in.

Knows neither columns nor prices: the loader of price lists refuses what is wrong in them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.common.strict_yaml import Fault
from stack.commands.spreadsheet import decoded

# The rows' indent is told, so that a row that begins with a blank is still a row.
_TABLE = "  csv: |2"


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The price list in YAML, and how many of its lines stand before the table's first."""

    yaml: bytes
    lines_before: int

    def in_table(self, fault: Fault) -> Fault:
        """The same fault with the line of the table; what options said stands on line 0."""
        return replace(fault, line=max(0, fault.line - self.lines_before))


def price_table(
    content: bytes, source: str, head: Sequence[tuple[str, str]], system: str, encoding: str
) -> PriceTable:
    """The file that the table is with the head that options tell.

    `system` empty leaves the code system to a column; `encoding` empty is UTF-8, or else GB18030.

    Raises: StrictYamlError when the table is text of neither encoding.
    """
    lines = ["format: 1", *(f"{key}: {json.dumps(told)}" for key, told in head), "prices:"]
    if system:
        lines.append(f"  system: {json.dumps(system)}")
    lines.append(_TABLE)
    rows = decoded(content, source, encoding).splitlines()
    yaml = "\n".join([*lines, *(f"    {row}" for row in rows), ""])
    return PriceTable(yaml=yaml.encode(), lines_before=len(lines))
