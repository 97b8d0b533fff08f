"""Payment orders: pain.001.001.09, out and in. Says where money goes, and nothing of why.

The order names no claim, member, diagnosis or hospital: the bank learns a payee, an account, an
amount and the purpose INSC (payment of an insurance claim).
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from pyiso20022.pain import pain_001_001_09 as xml  # type: ignore[import-untyped] # ships no types
from xsdata.models.datatype import XmlDate, XmlDateTime

from services.claims.payouts.iso20022.documents import Fault, InvalidDocument, parse, render
from services.common.money import MAX_MINOR_UNITS, format_minor, minor_units

MAX_TRANSFERS = 500
_PURPOSE = "INSC"
# Four characters less than ISO allows: a batch is named "{message id}-{currency}".
_MESSAGE_ID = re.compile(r"[A-Za-z0-9-]{1,31}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9-]{1,35}", re.ASCII)
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9/-]{0,33}", re.ASCII)
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", re.ASCII)
_BIC = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?", re.ASCII)
# Clearing codes by length; the names are ISO's external clearing system codes.
_CLEARING = {12: "CNAPS", 9: "USABA"}
# Letters, marks, numbers and the space of any script, and these: names of companies and of
# Uyghur, Kazakh and Tibetan people (·) carry them.
_NAME_SIGNS = frozenset(".,'()&/+:-·•・（）《》、，．－’")
_NAME_CATEGORIES = ("L", "M", "N")


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds an account, and where. Personal: never in a log or an error text.

    `bank_code` is a CNAPS code (12 digits), an ABA number (9 digits) or a BIC.
    """

    holder_name: str
    account_number: str
    bank_code: str

    def __repr__(self) -> str:
        """Nothing of the person."""
        return "Party(...)"


class CreditTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """One payment: amount in minor units, and the id that follows it to the payee.

    `batch_id` is what the file calls its batch; writing makes it, reading tells it.
    """

    end_to_end_id: str
    amount: int
    currency: str
    creditor: Party
    batch_id: str = ""


class PaymentOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What one file asks of the bank."""

    message_id: str
    created: datetime
    execution_date: date
    debtor: Party
    transfers: tuple[CreditTransfer, ...]


def batch_id(message_id: str, currency: str) -> str:
    """The PmtInfId of one currency's payments.

    >>> batch_id("M1", "CNY")
    'M1-CNY'
    """
    return f"{message_id}-{currency}"


def party_faults(party: Party, path: str) -> list[Fault]:
    """Why a bank could not pay this party; empty when nothing speaks against it.

    Says nothing about whether the account exists: only the bank knows.
    """
    faults = []
    name = party.holder_name
    if not 1 <= len(name) <= 140 or name != name.strip():
        text = "the name is not 1 to 140 characters without space around it"
        faults.append(Fault(f"{path}.holder_name", "NAME_LENGTH", text))
    if any(not _may_stand_in_name(character) for character in name):
        text = "the name has a character that is no letter, digit, space or mark of a name"
        faults.append(Fault(f"{path}.holder_name", "NAME_CHARACTER", text))
    if not _ACCOUNT.fullmatch(party.account_number):
        text = "the account number is not 1 to 34 of A-Z a-z 0-9 / -"
        faults.append(Fault(f"{path}.account_number", "ACCOUNT_NUMBER", text))
    if _agent(party.bank_code) is None:
        text = "the bank code is no CNAPS code (12 digits), ABA number (9 digits) or BIC"
        faults.append(Fault(f"{path}.bank_code", "BANK_CODE", text))
    return faults


def transfer_faults(transfer: CreditTransfer, path: str) -> list[Fault]:
    """Why a payment cannot stand on an order; empty when it can."""
    faults = party_faults(transfer.creditor, f"{path}.creditor")
    if not _ID.fullmatch(transfer.end_to_end_id):
        text = "the end-to-end id is not 1 to 35 of A-Z a-z 0-9 -"
        faults.append(Fault(f"{path}.end_to_end_id", "END_TO_END_ID", text))
    if not 0 < transfer.amount <= MAX_MINOR_UNITS:
        text = f"{transfer.amount} is not 1 to {MAX_MINOR_UNITS} minor units"
        faults.append(Fault(f"{path}.amount", "AMOUNT", text))
    try:
        format_minor(0, transfer.currency)
    except KeyError:
        faults.append(Fault(f"{path}.currency", "CURRENCY", "the currency is unknown"))
    return faults


def write_order(order: PaymentOrder) -> bytes:
    """The order as a pain.001.001.09 file; the same order gives the same bytes.

    Payments of one currency stand in one batch, in the order given.

    Raises: InvalidDocument, naming every fault; nothing of the order may be sent then.
    """
    faults = _order_faults(order)
    if faults:
        raise InvalidDocument(faults)
    by_currency: dict[str, list[CreditTransfer]] = {}
    for transfer in order.transfers:
        by_currency.setdefault(transfer.currency, []).append(transfer)
    header = xml.GroupHeader85(
        msg_id=order.message_id,
        cre_dt_tm=XmlDateTime.from_datetime(order.created.astimezone(UTC).replace(microsecond=0)),
        nb_of_txs=str(len(order.transfers)),
        ctrl_sum=_control_sum(order.transfers),
        initg_pty=xml.PartyIdentification135(nm=order.debtor.holder_name),
    )
    batches = [_batch(order, currency, part) for currency, part in by_currency.items()]
    initiation = xml.CustomerCreditTransferInitiationV09(grp_hdr=header, pmt_inf=batches)
    return render(xml.Document(cstmr_cdt_trf_initn=initiation))


def read_order(data: bytes) -> PaymentOrder:
    """The order in a pain.001.001.09 file: what a bank understands of it.

    Counts and control sums must agree with the payments; every batch must have the same debtor and
    date; other ways of naming amounts (equivalent amounts, cheques) are refused.

    Raises: InvalidDocument, naming every fault.
    """
    initiation = parse(data, xml.Document).cstmr_cdt_trf_initn
    header = initiation.grp_hdr
    faults: list[Fault] = []
    transfers: list[CreditTransfer] = []
    debtors: list[Party] = []
    dates: list[date] = []
    for number, batch in enumerate(initiation.pmt_inf, 1):
        path = f"/Document/CstmrCdtTrfInitn/PmtInf[{number}]"
        part = [
            _transfer(element, batch.pmt_inf_id, f"{path}/CdtTrfTxInf[{place}]", faults)
            for place, element in enumerate(batch.cdt_trf_tx_inf, 1)
        ]
        read = [transfer for transfer in part if transfer is not None]
        _check_sums(batch, read, path, faults)
        transfers += read
        if batch.pmt_mtd is not xml.PaymentMethod3Code.TRF:
            faults.append(Fault(f"{path}/PmtMtd", "METHOD", "only transfers (TRF) are paid"))
        debtors.append(_party(batch.dbtr, batch.dbtr_acct, batch.dbtr_agt, path, faults))
        dates.append(_execution_date(batch, path, faults))
    _check_sums(header, transfers, "/Document/CstmrCdtTrfInitn/GrpHdr", faults)
    if len(set(debtors)) > 1 or len(set(dates)) > 1:
        path = "/Document/CstmrCdtTrfInitn/PmtInf"
        faults.append(Fault(path, "BATCHES_DIFFER", "all batches need one debtor and one date"))
    if faults:
        raise InvalidDocument(faults)
    return PaymentOrder(
        message_id=header.msg_id,
        created=header.cre_dt_tm.to_datetime(),
        execution_date=dates[0],
        debtor=debtors[0],
        transfers=tuple(transfers),
    )


def _order_faults(order: PaymentOrder) -> list[Fault]:
    faults = party_faults(order.debtor, "debtor")
    if not _MESSAGE_ID.fullmatch(order.message_id):
        text = "the message id is not 1 to 31 of A-Z a-z 0-9 -"
        faults.append(Fault("message_id", "MESSAGE_ID", text))
    if order.created.tzinfo is None:
        faults.append(Fault("created", "TIME_ZONE", "the time has no zone"))
    if not 1 <= len(order.transfers) <= MAX_TRANSFERS:
        text = f"{len(order.transfers)} payments are not 1 to {MAX_TRANSFERS}"
        faults.append(Fault("transfers", "COUNT", text))
    if len({transfer.end_to_end_id for transfer in order.transfers}) < len(order.transfers):
        faults.append(Fault("transfers", "END_TO_END_ID", "an end-to-end id stands twice"))
    for index, transfer in enumerate(order.transfers):
        faults += transfer_faults(transfer, f"transfers[{index}]")
    return faults


def _batch(order: PaymentOrder, currency: str, transfers: list[CreditTransfer]) -> Any:
    debtor = order.debtor
    account = _account(debtor.account_number)
    account.ccy = currency
    return xml.PaymentInstruction30(
        pmt_inf_id=batch_id(order.message_id, currency),
        pmt_mtd=xml.PaymentMethod3Code.TRF,
        nb_of_txs=str(len(transfers)),
        ctrl_sum=_control_sum(transfers),
        reqd_exctn_dt=xml.DateAndDateTime2Choice(dt=XmlDate.from_date(order.execution_date)),
        dbtr=xml.PartyIdentification135(nm=debtor.holder_name),
        dbtr_acct=account,
        dbtr_agt=_agent(debtor.bank_code),
        cdt_trf_tx_inf=[_transaction(transfer) for transfer in transfers],
    )


def _transaction(transfer: CreditTransfer) -> Any:
    amount = xml.ActiveOrHistoricCurrencyAndAmount(
        value=Decimal(format_minor(transfer.amount, transfer.currency)), ccy=transfer.currency
    )
    return xml.CreditTransferTransaction34(
        pmt_id=xml.PaymentIdentification6(end_to_end_id=transfer.end_to_end_id),
        amt=xml.AmountType4Choice(instd_amt=amount),
        cdtr_agt=_agent(transfer.creditor.bank_code),
        cdtr=xml.PartyIdentification135(nm=transfer.creditor.holder_name),
        cdtr_acct=_account(transfer.creditor.account_number),
        purp=xml.Purpose2Choice(cd=_PURPOSE),
    )


def _control_sum(transfers: list[CreditTransfer] | tuple[CreditTransfer, ...]) -> Decimal:
    # ISO: "irrespective of currencies".
    amounts = (Decimal(format_minor(each.amount, each.currency)) for each in transfers)
    return sum(amounts, Decimal(0))


def _account(number: str) -> Any:
    if _IBAN.fullmatch(number) and _is_iban(number):
        identification = xml.AccountIdentification4Choice(iban=number)
    else:
        other = xml.GenericAccountIdentification1(id=number)
        identification = xml.AccountIdentification4Choice(othr=other)
    return xml.CashAccount38(id=identification)


def _is_iban(number: str) -> bool:
    """ISO 13616: the number, its first four characters moved to the end, is 1 modulo 97."""
    return int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4])) % 97 == 1


def _agent(bank_code: str) -> Any | None:
    if bank_code.isascii() and bank_code.isdecimal() and len(bank_code) in _CLEARING:
        system = xml.ClearingSystemIdentification2Choice(cd=_CLEARING[len(bank_code)])
        member = xml.ClearingSystemMemberIdentification2(clr_sys_id=system, mmb_id=bank_code)
        institution = xml.FinancialInstitutionIdentification18(clr_sys_mmb_id=member)
    elif _BIC.fullmatch(bank_code):
        institution = xml.FinancialInstitutionIdentification18(bicfi=bank_code)
    else:
        return None
    return xml.BranchAndFinancialInstitutionIdentification6(fin_instn_id=institution)


def _may_stand_in_name(character: str) -> bool:
    if character == " " or character in _NAME_SIGNS:
        return True
    return unicodedata.category(character)[0] in _NAME_CATEGORIES


def _transfer(element: Any, batch_id: str, path: str, faults: list[Fault]) -> CreditTransfer | None:
    instructed = element.amt.instd_amt
    creditor = _party(element.cdtr, element.cdtr_acct, element.cdtr_agt, path, faults)
    if instructed is None:
        faults.append(Fault(f"{path}/Amt", "AMOUNT", "only instructed amounts are paid"))
        return None
    try:
        amount = minor_units(instructed.value, instructed.ccy)
    except (KeyError, ValueError):
        text = "the amount is not a whole number of minor units of a known currency"
        faults.append(Fault(f"{path}/Amt/InstdAmt", "AMOUNT", text))
        return None
    if amount == 0:
        faults.append(Fault(f"{path}/Amt/InstdAmt", "AMOUNT", "nothing is to be paid"))
    return CreditTransfer(
        end_to_end_id=element.pmt_id.end_to_end_id,
        amount=amount,
        currency=instructed.ccy,
        creditor=creditor,
        batch_id=batch_id,
    )


def _party(name: Any, account: Any, agent: Any, path: str, faults: list[Fault]) -> Party:
    """A party as the bank reads it; what is missing is a fault and reads as empty."""
    number = code = None
    if account is not None:
        choice = account.id
        number = choice.iban or choice.othr.id
    if agent is not None:
        institution = agent.fin_instn_id
        member = institution.clr_sys_mmb_id
        code = institution.bicfi or (member.mmb_id if member is not None else None)
    parts = {"Nm": name.nm if name is not None else None, "Acct": number, "Agt": code}
    for what, value in parts.items():
        if not value:
            faults.append(Fault(path, "PARTY", f"a party has no {what}"))
    return Party(holder_name=parts["Nm"] or "", account_number=number or "", bank_code=code or "")


def _execution_date(batch: Any, path: str, faults: list[Fault]) -> date:
    day = batch.reqd_exctn_dt.dt
    if day is None:
        faults.append(Fault(f"{path}/ReqdExctnDt", "DATE", "a day is asked for, not a time"))
        return date.min
    found: date = day.to_date()
    return found


def _check_sums(
    element: Any, transfers: list[CreditTransfer], path: str, faults: list[Fault]
) -> None:
    if element.nb_of_txs is not None and int(element.nb_of_txs) != len(transfers):
        faults.append(Fault(f"{path}/NbOfTxs", "COUNT", "it is not the number of payments"))
    if element.ctrl_sum is not None and element.ctrl_sum != _control_sum(transfers):
        faults.append(Fault(f"{path}/CtrlSum", "SUM", "it is not the sum of the payments"))
