"""`lint-imports` as a module, to be forked: importing it takes longer than most contracts do."""

from __future__ import annotations

from importlinter.cli import lint_imports_command

if __name__ == "__main__":
    lint_imports_command()
