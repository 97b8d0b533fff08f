"""What of the bridge's database counts as a sensitive record, for LIPEI_COUNT_READS."""

from __future__ import annotations

from services.common.access.read_tally import sealed_in

SEALED = {
    # Beside a quarantined record's name it is that one's, else it stands for itself.
    "inbox": sealed_in("external_id raw", "inbox", "name", "external_index"),
    "bill_event": sealed_in("body", "bill_event", "bill_id"),
    "released_bill": sealed_in("body external_id other_numbers", "bill", "name"),
    "reading": sealed_in("body", "reading", "name"),
    "consent_event": sealed_in("body", "consent", "consent_id"),
    "consent": sealed_in("terms", "consent", "consent_id"),
    "merge_event": sealed_in("into_id", "merge_event", "inbox_id"),
    "held_record": sealed_in("need", "held_record", "inbox_id"),
}
# What else is bytes: places in lists, names of claims, reasons, counts, a hospital's catalogue.
CLEAR = frozenset(
    {
        # Sealed, for a source's ids stand there; it is shown to nobody.
        "read_cursor.position",
        "released_bill.claims",
        "released_bill.refusal_reasons",
        "quarantine.faults",
        "waiting_event.faults",
        "consent_request.response",
        "code_map.codes",
        "code_map.answer",
        "reconciliation.days",
        "bill_offer.refusal_reasons",
        "offer_request.answer",
        # Sealed, for it comes out of records; shown, it is a code of the hospital's catalogue.
        "unmapped_code.body",
    }
)
