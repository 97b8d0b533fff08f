"""The program `lipei`: a Ctrl-C ends it with 130 also while it imports its commands.

Knows no command, and imports nothing before it can be interrupted.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command of the command line, as `stack.cli.main` says."""
    try:
        from stack import cli  # noqa: PLC0415 - half a second, in which somebody may think again

        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
