"""`python -m services.pricing.programmes check FILE...`: what is wrong, or the programmes' names.

Changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from services.common.strict_yaml import StrictYamlError
from services.pricing.core.programme import programme_version
from services.pricing.programmes.loader import parse_programme

_USAGE = "usage: python -m services.pricing.programmes check FILE...\n"


def main(arguments: list[str]) -> int:
    """Check every file; 0 when all stand, 1 when one has faults, 2 for a wrong call."""
    if len(arguments) < 2 or arguments[0] != "check":
        sys.stderr.write(_USAGE)
        return 2
    worst = 0
    for path in map(Path, arguments[1:]):
        try:
            programme = parse_programme(path.read_bytes(), path.name)
        except StrictYamlError as refused:
            sys.stderr.write(f"{refused}\n")
            worst = max(worst, 1)
        except OSError as error:
            sys.stderr.write(f"{path.name}: cannot be read: {error.strerror}\n")
            worst = 2
        else:
            sys.stdout.write(f"{programme_version(programme)}\n")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
