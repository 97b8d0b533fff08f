"""The control: the claims service with a payer that sends again what it does not know to be sent.

Everything else is ours: the database, its keys, the workflows, the bank's interface. What is
missing is the mark before the first byte and the question before the second try
(`payout_steps.send_file`).
"""

from __future__ import annotations

import functools

import grpc

from lipei.claims.v1 import settlement_pb2 as pb
from services.claims.main import ClaimsSettings, run
from services.claims.paying import Payments
from services.claims.payout_steps import UnknownPaymentFile
from services.claims.payouts.bank import SendOutcome
from services.claims.storage import payouts
from services.claims.storage.sealed import paying_subject
from services.common.grpc_edge import Refused
from services.common.process import start


class CarelessPayments(Payments):
    """Hands a file over until the bank has said that it has it. Asks nothing, marks nothing."""

    async def send(self, request: pb.SendPaymentFileRequest) -> pb.SendPaymentFileResponse:
        """The file to the bank, again and again."""
        message_id = request.payment_file.removeprefix("paymentFiles/")
        with self._database.reading() as connection:
            file = payouts.find_file(connection, message_id)
        if file is None:
            raise UnknownPaymentFile(message_id)
        place = {"table": "payment_file", "column": "sealed", "row": message_id}
        subject = paying_subject(file.paying_account)
        with self._database.reading() as connection:
            data = self._keys.sealer(connection).open(file.sealed, **place, subject=subject)
        if await self._bank.send(data, message_id) is not SendOutcome.ACCEPTED:
            raise Refused(grpc.StatusCode.ABORTED, "NO_RECEIPT", "send it again")
        with self._database.writing() as connection:
            payouts.note_sent(connection, message_id, self._now_us())
        return pb.SendPaymentFileResponse()

    async def read_answers(self, request: pb.ReadBankAnswersRequest) -> pb.ReadBankAnswersResponse:
        """What the bank says of files; of those without its receipt that is after they are sent."""
        with self._database.reading() as connection:
            files = payouts.unsent_files(connection, request.paying_account)
        for file in files:
            await self.send(pb.SendPaymentFileRequest(payment_file=f"paymentFiles/{file}"))
        return await super().read_answers(request)


if __name__ == "__main__":
    start("claims", ClaimsSettings, functools.partial(run, payments=CarelessPayments))
