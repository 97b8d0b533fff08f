"""The guards between a caller and what is not theirs: how each is taken out, and who notices.

A change is a text that stands in its file exactly once, and what takes its place; when the source
moves on, the removal fails instead of removing nothing. `tests` are what must notice.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One replacement in one file, by its path in the project."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """A guard, what is removed of it in words, the removal, and the test files that hold it."""

    name: str
    removed: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]


TENANT_FILTER = Guard(
    name="tenant filter",
    removed="claims: every claim is everybody's in look-ups and lists",
    changes=(
        Change(
            path="services/claims/storage/tenancy.py",
            old='_OWNERS[kind] == bindparam("owner") if kind in _OWNERS else false()',
            new="true()",
        ),
    ),
    tests=("tests/services/claims/test_tenants.py",),
)

HOSPITAL_FILTER = Guard(
    name="tenant filter of the bridge",
    removed="his_bridge: every hospital exists for every caller",
    changes=(
        Change(
            path="services/his_bridge/servicer.py",
            old="if name == tenant.hospital}",
            new="}",
        ),
    ),
    tests=("tests/services/his_bridge/test_tenants.py",),
)

REQUEST_IDS = Guard(
    name="request ids of a tenant",
    removed="claims: one tenant's request_id answers for another's",
    changes=(
        Change(
            path="services/common/access/tenant.py",
            old='hashlib.sha256(f"{self.key}\\n{request_id}".encode())',
            new="hashlib.sha256(request_id.encode())",
        ),
    ),
    tests=("tests/services/claims/test_tenants.py",),
)

CODEC = Guard(
    name="codec",
    removed="Temporal payloads are stored as they are",
    changes=(
        Change(
            path="services/common/temporal/codec.py",
            old="nonce + cipher.encrypt(nonce, payload.SerializeToString(), key_id)",
            new="nonce + payload.SerializeToString()",
        ),
    ),
    tests=("tests/services/common/temporal/test_codec.py",),
)

SEALING = Guard(
    name="sealing",
    removed="sealed columns hold clear text",
    changes=(
        Change(
            path="services/common/sealing.py",
            old="sealed = self._ciphers[self._current].encrypt(nonce, plaintext, place)",
            new="sealed = plaintext",
        ),
    ),
    tests=("tests/services/common/test_sealing.py",),
)

ROW_BINDING = Guard(
    name="row binding",
    removed="a sealed value opens in any row",
    changes=(
        Change(
            path="services/common/sealing.py",
            old="encrypt(nonce, plaintext, place)",
            new="encrypt(nonce, plaintext, None)",
        ),
        Change(
            path="services/common/sealing.py",
            old="decrypt(nonce, body, _place(table, column, row, subject))",
            new="decrypt(nonce, body, None)",
        ),
    ),
    tests=("tests/services/common/test_sealing.py",),
)

GUARDS = (TENANT_FILTER, HOSPITAL_FILTER, REQUEST_IDS, CODEC, SEALING, ROW_BINDING)
