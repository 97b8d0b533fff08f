"""What of the claims database counts as a sensitive record, for LIPEI_COUNT_READS."""

from __future__ import annotations

from services.common.access.read_tally import sealed_in

SEALED = {
    "claim": sealed_in("bill bill_number", "claim", "id"),
    # A decision is its claim's.
    "decision": sealed_in("salt inputs output services", "claim", "claim_id"),
    # So is a corrected bill.
    "bill_correction": sealed_in("bill", "claim", "claim_id"),
    # What a person wrote about a claim, too.
    "claim_act": sealed_in("sealed", "claim", "claim_id"),
    "person": sealed_in("token", "person", "id"),
    "insured_terms": sealed_in("sealed", "insured_terms", "person_id"),
    "payee_account": sealed_in("sealed", "payee_account", "id"),
    "provider_account": sealed_in("sealed", "provider_account", "id"),
    "payment_file": sealed_in("sealed", "payment_file", "message_id"),
    "bank_answer": sealed_in("sealed", "bank_answer", "seq"),
}
# What else is bytes: terms of plans and policies that name nobody, counts, names, reasons.
CLEAR = frozenset(
    {
        "request_log.response",
        "plan_version.yaml",
        "plan_version.canonical",
        "policy_revision.terms",
        "price_list.content",
        "bank_answer_outcome.faults",
    }
)
