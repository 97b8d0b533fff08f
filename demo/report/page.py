"""The run as one self-contained HTML page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATE = "page.html.j2"


def write_page(path: Path, views: Sequence[Mapping[str, Any]]) -> None:
    """Write the page made of these views; a number that the page needs and no view has fails."""
    found: dict[str, Any] = {}
    for view in views:
        found.update(view)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    path.write_text(environment.get_template(_TEMPLATE).render(view=found), encoding="utf-8")
