"""The tutorial executed: `python -m tests.project.notebook` renews its outputs in docs/."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from nbclient import NotebookClient
from traitlets.config import Config

# Its functions have no types; whether mypy sees them depends on what else it looks at.
nbformat: Any = importlib.import_module("nbformat")
ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "from-book-to-quote.ipynb"
_PEOPLE = re.compile(r"^PEOPLE = [0-9_]+$", re.MULTILINE)
_TIMEOUT_S = 1_200


def executed(people: int = 0) -> Any:
    """The notebook with the outputs of now, of so many people; 0: of as many as it says.

    Raises: nbclient.exceptions.CellExecutionError with the cell that failed.
    """
    notebook = committed()
    if people:
        replaced = 0
        for cell in notebook.cells:
            cell.source, times = _PEOPLE.subn(f"PEOPLE = {people}", cell.source)
            replaced += times
        if replaced != 1:
            raise ValueError("one cell of the tutorial says PEOPLE")
    # Sockets are files, whose paths are short; nothing listens on a port or lies in a home.
    with tempfile.TemporaryDirectory(prefix="nb-") as folder:
        ours = dict.fromkeys(("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR"), folder)
        with mock.patch.dict(os.environ, ours):
            NotebookClient(
                notebook,
                config=Config({"AsyncKernelManager": {"transport": "ipc", "ip": f"{folder}/k"}}),
                timeout=_TIMEOUT_S,
                record_timing=False,
                resources={"metadata": {"path": str(ROOT)}},
            ).execute()
    notebook.metadata.pop("language_info", None)
    return notebook


def committed() -> Any:
    """The notebook as it lies in docs/."""
    return nbformat.read(TUTORIAL, as_version=4)


def texts(notebook: Any) -> list[str]:
    """What a notebook's cells print and tabulate, in order; pictures are left out."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                found.append(output.text)
            elif "image/svg+xml" not in output.data:
                found.append(output.data["text/plain"])
    return found


if __name__ == "__main__":
    nbformat.write(executed(), TUTORIAL)
