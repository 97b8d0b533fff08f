"""The bank's language, ISO 20022: bytes in, bytes out. Knows no socket, database or clock.

pain.001.001.09 orders payments, pain.002.001.10 tells what became of them. camt.054, which tells
what was booked on the account, has its place beside them.
"""

from services.claims.payouts.iso20022.documents import MAX_BYTES, Fault, InvalidDocument
from services.claims.payouts.iso20022.pain_001 import (
    MAX_TRANSFERS,
    CreditTransfer,
    Party,
    PaymentOrder,
    batch_id,
    party_faults,
    read_order,
    transfer_faults,
    write_order,
)
from services.claims.payouts.iso20022.pain_002 import (
    DUPLICATE_REASONS,
    REJECTED,
    SETTLED,
    BatchStatus,
    PaymentStatus,
    StatusReport,
    read_report,
    write_report,
)

__all__ = [
    "DUPLICATE_REASONS",
    "MAX_BYTES",
    "MAX_TRANSFERS",
    "REJECTED",
    "SETTLED",
    "BatchStatus",
    "CreditTransfer",
    "Fault",
    "InvalidDocument",
    "Party",
    "PaymentOrder",
    "PaymentStatus",
    "StatusReport",
    "batch_id",
    "party_faults",
    "read_order",
    "read_report",
    "transfer_faults",
    "write_order",
    "write_report",
]
