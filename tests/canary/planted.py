"""What is planted: one person's data, nobody's in truth, each value told from all others."""

from __future__ import annotations

from services.his_bridge.core.check_digits import has_identity_check


def _identity_number() -> str:
    # 990001 is no existing area.
    return next(
        number for last in "0123456789X" if has_identity_check(number := f"99000119680229774{last}")
    )


# Kind → value. Each is long enough that no file holds it by chance.
PERSON: dict[str, str] = {
    "name": "欧阳鹂鸢",
    "western name": "Zephyrina Quillhart",
    "identity number": _identity_number(),
    "phone": "13900135791",
    "address": "桂宫镇鹭屿路七七四号",
    "e-mail": "zephyrina.quillhart@canary.example",
    "account number": "6222999900001357924",
    "medical record number": "MRN-CANARY-88120471",
    "note": "自述夜间盗汗且惧高",
}
# A person's health and bills: told to whoever may read them, and to no log, error or Temporal.
HEALTH: dict[str, str] = {
    "bill number": "CANARY-77410-93358",
    "hospital's bill number": "CANARY-55120-60417",
    "diagnosis display": "鹂鸣综合征伴鸢状斑",
    "line display": "鸢尾花样扫描术",
    "reading": "123.45678",
}
# Not personal, but Temporal's payloads carry it: it shows whether they can be read.
BUSINESS: dict[str, str] = {"policy": "p-canary-31874465"}
EVERYTHING = {**PERSON, **HEALTH, **BUSINESS}
