"""Check digits of numbers that name a person, an account or a thing. Pure."""

from __future__ import annotations

from datetime import date

_IDENTITY_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_VIN_VALUES = dict(
    zip("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", "012345678912345678123457923456789", strict=True)
)
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def has_identity_check(number: str) -> bool:
    """Whether 18 characters are a Chinese identity number (GB 11643): its day and check digit fit.

    >>> has_identity_check("11010519491231002X")
    True
    """
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(c) * weight for c, weight in zip(number, _IDENTITY_WEIGHTS, strict=False))
    return number[17].upper() == "10X98765432"[total % 11]


def has_luhn_check(digits: str) -> bool:
    """Whether the digits end in their Luhn check digit (ISO/IEC 7812), as those of bank cards do.

    >>> has_luhn_check("4539578763621486")
    True
    """
    total = 0
    for place, c in enumerate(reversed(digits)):
        doubled = int(c) * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def has_credit_code_check(code: str) -> bool:
    """Whether 18 characters are a unified social credit code (GB 32100).

    >>> has_credit_code_check("91350100M000100Y43")
    True
    """
    values = [_CREDIT_ALPHABET.find(c) for c in code.upper()]
    if min(values) < 0:
        return False
    total = sum(value * pow(3, place, 31) for place, value in enumerate(values[:17]))
    return values[17] == (31 - total % 31) % 31


def has_vin_check(number: str) -> bool:
    """Whether 17 characters are a vehicle identification number (ISO 3779, with its check digit).

    >>> has_vin_check("1M8GDM9AXKP042788")
    True
    """
    text = number.upper()
    total = sum(int(_VIN_VALUES[c]) * w for c, w in zip(text, _VIN_WEIGHTS, strict=True))
    return text[8] == "0123456789X"[total % 11]
