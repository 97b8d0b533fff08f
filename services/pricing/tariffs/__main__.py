"""`python -m services.pricing.tariffs check|seal FILE`: what is wrong with a tariff, or its name.

`check` changes nothing. `seal` writes the tariff's hash into its file, which publishes it; it
refuses a tariff with any other fault, and never touches a golden quote.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from services.pricing.tariffs.loader import TariffRefused, load_tariff, published_hash

_HASH = re.compile(r'("sha256"\s*:\s*")[^"]*(")')
_USAGE = "usage: python -m services.pricing.tariffs check|seal FILE\n"


def main(arguments: list[str]) -> int:
    """Run one command; 0 when the tariff stands, 1 when it has faults, 2 for a wrong call."""
    if len(arguments) != 2 or arguments[0] not in ("check", "seal"):
        sys.stderr.write(_USAGE)
        return 2
    path = Path(arguments[1])
    try:
        if arguments[0] == "seal":
            _seal(path)
        rates = load_tariff(path.read_bytes(), path.name)
    except TariffRefused as refused:
        for _, fault in refused.faults:
            sys.stderr.write(f"{path.name}: {fault.path or 'file'}: {fault.text}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{path.name}: cannot be read or written: {error.strerror}\n")
        return 2
    golden = len(rates.tariff.golden_quotes)
    sys.stdout.write(f"{rates.version}\n{golden} golden quotes reproduced\n")
    return 0


def _seal(path: Path) -> None:
    # Whatever stood there, also nothing yet, is no fault of a tariff about to be published.
    text = _HASH.sub(rf"\g<1>{'0' * 64}\g<2>", path.read_text("utf-8"), count=1)
    found = published_hash(text.encode())
    path.write_text(_HASH.sub(rf"\g<1>{found}\g<2>", text, count=1), "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
