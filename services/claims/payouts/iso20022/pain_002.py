"""Status reports: pain.002.001.10, in and out. Says what the bank said, and decides nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from pyiso20022.pain import pain_002_001_10 as xml  # type: ignore[import-untyped] # ships no types
from xsdata.models.datatype import XmlDateTime

from services.claims.payouts.iso20022.documents import parse, render

# The debtor's account has been charged for good. ACCP, ACSP, ACTC and the like are on the way.
SETTLED = "ACSC"
REJECTED = "RJCT"
# The bank knows the payment already; it says nothing about the first one's outcome. AM05 is any
# duplication, DU01 to DU05 name what is duplicated (message, batch, transaction, end-to-end id,
# instruction).
DUPLICATE_REASONS = frozenset({"AM05", "DU01", "DU02", "DU03", "DU04", "DU05"})
_ORDER = "pain.001.001.09"


class BatchStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a whole batch; `status` is empty when only its payments have one."""

    batch_id: str
    status: str = ""
    reasons: tuple[str, ...] = ()


class PaymentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one payment.

    Amount and currency are what the bank says it was told to pay, if it says so.
    """

    end_to_end_id: str
    status: str
    reasons: tuple[str, ...] = ()
    batch_id: str = ""
    amount: Decimal | None = None
    currency: str | None = None


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    """One pain.002 file: about one order, as a whole, by batch or by payment.

    `order_status` is empty when the bank says nothing about the order as a whole.
    """

    message_id: str
    created: datetime
    order_id: str
    order_status: str = ""
    order_reasons: tuple[str, ...] = ()
    batches: tuple[BatchStatus, ...] = ()
    payments: tuple[PaymentStatus, ...] = ()


def read_report(data: bytes) -> StatusReport:
    """The report in a pain.002.001.10 file. A payment without a status of its own has its batch's.

    Raises: InvalidDocument, naming every fault.
    """
    report = parse(data, xml.Document).cstmr_pmt_sts_rpt
    order = report.orgnl_grp_inf_and_sts
    batches = []
    payments: list[PaymentStatus] = []
    for batch in report.orgnl_pmt_inf_and_sts:
        reasons = _reasons(batch.sts_rsn_inf)
        name, status = batch.orgnl_pmt_inf_id, batch.pmt_inf_sts or ""
        batches.append(BatchStatus(batch_id=name, status=status, reasons=reasons))
        payments += [_payment(element, batches[-1]) for element in batch.tx_inf_and_sts]
    return StatusReport(
        message_id=report.grp_hdr.msg_id,
        created=report.grp_hdr.cre_dt_tm.to_datetime(),
        order_id=order.orgnl_msg_id,
        order_status=order.grp_sts or "",
        order_reasons=_reasons(order.sts_rsn_inf),
        batches=tuple(batches),
        payments=tuple(payments),
    )


def write_report(report: StatusReport) -> bytes:
    """The report as a pain.002.001.10 file.

    Raises: InvalidDocument, naming every fault.
    """
    batches: dict[str, BatchStatus] = {each.batch_id: each for each in report.batches}
    for payment in report.payments:
        batches.setdefault(payment.batch_id, BatchStatus(batch_id=payment.batch_id))
    document = xml.CustomerPaymentStatusReportV10(
        grp_hdr=xml.GroupHeader86(
            msg_id=report.message_id,
            cre_dt_tm=XmlDateTime.from_datetime(
                report.created.astimezone(UTC).replace(microsecond=0)
            ),
        ),
        orgnl_grp_inf_and_sts=xml.OriginalGroupHeader17(
            orgnl_msg_id=report.order_id,
            orgnl_msg_nm_id=_ORDER,
            grp_sts=report.order_status or None,
            sts_rsn_inf=_reason_elements(report.order_reasons),
        ),
        orgnl_pmt_inf_and_sts=[
            xml.OriginalPaymentInstruction32(
                orgnl_pmt_inf_id=batch.batch_id,
                pmt_inf_sts=batch.status or None,
                sts_rsn_inf=_reason_elements(batch.reasons),
                tx_inf_and_sts=[
                    _payment_element(payment)
                    for payment in report.payments
                    if payment.batch_id == batch.batch_id
                ],
            )
            for batch in batches.values()
        ],
    )
    return render(xml.Document(cstmr_pmt_sts_rpt=document))


def _payment(element: Any, batch: BatchStatus) -> PaymentStatus:
    amount = currency = None
    reference = element.orgnl_tx_ref
    if reference is not None and reference.amt is not None and reference.amt.instd_amt is not None:
        amount, currency = reference.amt.instd_amt.value, reference.amt.instd_amt.ccy
    return PaymentStatus(
        end_to_end_id=element.orgnl_end_to_end_id or "",
        status=element.tx_sts or batch.status,
        reasons=_reasons(element.sts_rsn_inf) if element.tx_sts else batch.reasons,
        batch_id=batch.batch_id,
        amount=amount,
        currency=currency,
    )


def _payment_element(payment: PaymentStatus) -> Any:
    reference = None
    if payment.amount is not None:
        amount = xml.ActiveOrHistoricCurrencyAndAmount(value=payment.amount, ccy=payment.currency)
        reference = xml.OriginalTransactionReference28(amt=xml.AmountType4Choice(instd_amt=amount))
    return xml.PaymentTransaction105(
        orgnl_end_to_end_id=payment.end_to_end_id,
        tx_sts=payment.status,
        sts_rsn_inf=_reason_elements(payment.reasons),
        orgnl_tx_ref=reference,
    )


def _reasons(elements: list[Any]) -> tuple[str, ...]:
    found = [element.rsn for element in elements if element.rsn is not None]
    return tuple(reason.cd or reason.prtry for reason in found)


def _reason_elements(reasons: tuple[str, ...]) -> list[Any]:
    return [
        xml.StatusReasonInformation12(rsn=xml.StatusReason6Choice(cd=reason)) for reason in reasons
    ]
