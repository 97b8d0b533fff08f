"""The payout steps as SettlementService offers them: whose account, which claims, which answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import msgspec
from sqlalchemy import Connection

from lipei.claims.v1 import settlement_pb2 as pb
from services.claims import bank_answers, payout_steps
from services.claims.core.decision import Payee
from services.claims.core.life_cycle import Event
from services.claims.owing import dues
from services.claims.payout_steps import Payable, PayingAccount, Sending
from services.claims.payouts.bank import Bank, BankUnreachable
from services.claims.payouts.iso20022 import Party
from services.claims.policy_import import open_payee
from services.claims.storage import claims as store
from services.claims.storage import payouts, policies, providers, sweeping
from services.claims.storage.payout_tables import PayoutState
from services.claims.storage.payouts import Payout
from services.claims.storage.rows import ClaimRow
from services.claims.storage.tables import claim
from services.common.database import Database
from services.common.grpc_edge import Refused, Violation, invalid, not_found
from services.common.log import logger
from services.common.sealing import Sealer, SubjectKeys

BANK = "bank"
MOST_PAYOUTS = 500
# A claim without a payable account waits for its policy's next revision, or this long.
BLOCKED_FOR_US = 3_600_000_000
BANK_RETRY_S = 2.0
_FILES = "paymentFiles/"
_FILE_NAME = re.compile(r"paymentFiles/[A-Za-z0-9]{1,35}", re.ASCII)


class Payments:
    """Payouts of this installation's paying account. Holds no transaction while the bank works."""

    def __init__(
        self,
        database: Database,
        bank: Bank,
        keys: SubjectKeys,
        paying: PayingAccount,
        *,
        now_us: Callable[[], int],
    ) -> None:
        self._database = database
        self._bank = bank
        self._keys = keys
        self._paying = paying
        self._now_us = now_us

    async def work_left(self) -> bool:
        """Whether anything is payable, unsent or unanswered."""
        return await self._database.run(self._work_left)

    def _work_left(self) -> bool:
        with self._database.reading() as connection:
            return (
                sweeping.anything_payable(connection, self._now_us())
                or bool(payouts.unsent_files(connection, self._paying.name))
                or payouts.open_payouts(connection, self._paying.name) > 0
            )

    async def gather(self, request: pb.GatherPayoutsRequest) -> pb.GatherPayoutsResponse:
        """Payable claims into one prepared file."""
        self._check_account(request.paying_account)
        if not 0 <= request.max_payouts <= MOST_PAYOUTS:
            text = f"must be 0 to {MOST_PAYOUTS}"
            raise invalid([Violation("max_payouts", "OUT_OF_RANGE", text)])
        return await self._database.run(self._gather, request.max_payouts or MOST_PAYOUTS)

    def _gather(self, most: int) -> pb.GatherPayoutsResponse:
        with self._database.writing() as connection:
            return self.gathers(connection, most)

    def gathers(self, connection: Connection, most: int) -> pb.GatherPayoutsResponse:
        """The same in the caller's transaction."""
        now_us = self._now_us()
        before = payouts.open_payouts(connection, self._paying.name)
        gathered = payout_steps.gather(
            connection,
            self._paying,
            self._keys.sealer(connection),
            payables=self._payables,
            move_claim=_move,
            at_us=now_us,
            limit=most,
        )
        unpayable = [entry.claim_id for entry in gathered.unpayable]
        if unpayable:
            sweeping.block_payouts(connection, unpayable, now_us + BLOCKED_FOR_US)
            logger().warning("unpayable_claims", claims=unpayable, count=len(unpayable))
        unsent = payouts.unsent_files(connection, self._paying.name)
        return pb.GatherPayoutsResponse(
            payment_file=_FILES + gathered.message_id if gathered.message_id else "",
            payouts=gathered.payouts,
            unsent_files=[_FILES + message_id for message_id in unsent],
            open_payouts=before,
        )

    def _payables(self, connection: Connection, most: int) -> Sequence[Payable]:
        now_us = self._now_us()
        found: list[Payable] = []
        without: list[str] = []
        sealer, today = self._keys.sealer(connection), self._today(now_us)
        for row in sweeping.payable_claims(connection, now_us, most):
            owed = {recipient: due for recipient, due in dues(row).items() if due > 0}
            parties = {one: _party(connection, sealer, row, one, today) for one in owed}
            if None in parties.values():
                without.append(row.id)
                continue
            found += [
                Payable(
                    claim_id=row.id,
                    amount=owed[recipient],
                    currency=row.currency,
                    payee=party,
                    recipient=recipient,
                )
                for recipient, party in parties.items()
                if party is not None
            ]
        if without:
            sweeping.block_payouts(connection, without, now_us + BLOCKED_FOR_US)
            logger().warning("claims_without_payee_account", claims=without, count=len(without))
        return found[: _whole(found, most)]

    def _today(self, now_us: int) -> date:
        now = datetime.fromtimestamp(now_us / 1e6, UTC)
        return now.astimezone(ZoneInfo(self._paying.zone)).date()

    async def send(self, request: pb.SendPaymentFileRequest) -> pb.SendPaymentFileResponse:
        """The file to the bank; an unknown outcome is asked about, not sent again."""
        if not _FILE_NAME.fullmatch(request.payment_file):
            raise not_found("payment file", request.payment_file)
        message_id = request.payment_file.removeprefix(_FILES)
        try:
            outcome = await payout_steps.send_file(
                self._database, self._bank, self._keys, message_id, self._now_us()
            )
        except payout_steps.UnknownPaymentFile:
            raise not_found("payment file", request.payment_file) from None
        if outcome is Sending.WITH_BANK:
            return pb.SendPaymentFileResponse()
        raise Refused(
            grpc.StatusCode.ABORTED,
            outcome.value.upper(),
            "the bank is not known to have the file; wait and repeat, it is asked first",
            retry_after_s=BANK_RETRY_S,
        )

    async def read_answers(self, request: pb.ReadBankAnswersRequest) -> pb.ReadBankAnswersResponse:
        """What the bank has confirmed or refused since last time."""
        self._check_account(request.paying_account)
        try:
            done = await bank_answers.read_answers(
                self._database,
                self._bank,
                self._keys,
                self._paying.name,
                move_claim=_move,
                at_us=self._now_us(),
            )
        except BankUnreachable:
            raise Refused(
                grpc.StatusCode.UNAVAILABLE,
                "BANK_UNREACHABLE",
                "the bank does not answer; repeat",
                retry_after_s=BANK_RETRY_S,
            ) from None
        for fault in done.faults:
            reason, *about = fault.split()
            logger().warning("bank_answer_fault", reason=reason, about=about)
        return pb.ReadBankAnswersResponse(paid=done.paid, failed=done.failed, open=done.open)

    def _check_account(self, name: str) -> None:
        if name != self._paying.name:
            text = f'this installation pays from "{self._paying.name}"'
            raise invalid([Violation("paying_account", "UNKNOWN_ACCOUNT", text)])


def _whole(found: Sequence[Payable], most: int) -> int:
    """How many fit on a file without parting a claim's payees."""
    fits = min(most, len(found))
    while 0 < fits < len(found) and found[fits - 1].claim_id == found[fits].claim_id:
        fits -= 1
    return fits


def _party(
    connection: Connection, sealer: Sealer, row: ClaimRow, recipient: Payee, day: date
) -> Party | None:
    if recipient is Payee.PROVIDER:
        plain = providers.account_on(connection, sealer, row.insurer, row.provider_id, day)
        return None if plain is None else msgspec.json.decode(plain, type=Party)
    stored = policies.payee_on(connection, row.policy_id, day)
    if stored is None:
        return None
    account_id, sealed = stored
    return open_payee(sealer, account_id, row.policy_id, sealed)


def _move(connection: Connection, payout: Payout, event: Event, at_us: int) -> None:
    """Move a payout's claim; while the bank has still to answer for another payee, only count.

    A claim is paid when all its payees are, and refused when one of them was.
    """
    columns: dict[str, Any] = {}
    if event is Event.SEND_PAYMENT:
        columns["end_to_end_id"] = payout.end_to_end_id
        store.move_claim(connection, payout.claim_id, event, BANK, at_us, **columns)
        return
    if event is Event.CONFIRM_PAYMENT:
        columns.update(paid=claim.c.paid + payout.amount, paid_us=at_us)
        if payout.payee is Payee.PROVIDER:
            columns["paid_provider"] = claim.c.paid_provider + payout.amount
    beside = [
        one.state
        for one in payouts.payouts_of_claim(connection, payout.claim_id)
        if one.message_id == payout.message_id and one.id != payout.id
    ]
    if PayoutState.OPEN in beside:
        store.stay(connection, payout.claim_id, **columns)
        return
    if PayoutState.FAILED in beside:
        event = Event.REFUSE_PAYMENT
    store.move_claim(connection, payout.claim_id, event, BANK, at_us, **columns)
