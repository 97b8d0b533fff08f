"""What can be wrong with a sealed value or its key, as refusals that may leave as they are.

None names a person or a value: a subject is an opaque id, and even that stays inside.
"""

from __future__ import annotations

import grpc

from services.common.refusals import Refused


class CannotOpen(Refused):
    """The value was not sealed for this place and subject, or was cut short or altered."""

    def __init__(self) -> None:
        super().__init__(
            grpc.StatusCode.DATA_LOSS,
            "SEALED_VALUE_ALTERED",
            "a stored value is not what was sealed there; stop and investigate",
        )


class KeyUnknown(Refused):
    """No key set at hand, or no row of the table, has the key that the value was sealed under."""

    def __init__(self, key_id: str, *, of_subject: bool = False) -> None:
        """`of_subject`: the keys are at hand, and the subject has never had this one."""
        self.of_subject = of_subject
        super().__init__(
            grpc.StatusCode.FAILED_PRECONDITION,
            "KEY_UNKNOWN",
            "a key that sealed values need is missing; give the master keys back, then repeat",
            metadata={"key_id": key_id},
        )


class KeyRetired(Refused):
    """The master key was retired while something was still wrapped under it."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            grpc.StatusCode.FAILED_PRECONDITION,
            "KEY_RETIRED",
            "a master key that sealed values need was retired; give its key back, then rotate",
            metadata={"key_id": key_id},
        )


class Erased(Refused):
    """The subject's key was destroyed: what was sealed under it is gone for good."""

    def __init__(self) -> None:
        super().__init__(
            grpc.StatusCode.FAILED_PRECONDITION,
            "ERASED",
            "the person's data was erased; names, states and amounts are all that is left",
        )
