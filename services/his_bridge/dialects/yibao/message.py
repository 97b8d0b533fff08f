"""One interface message with its answer: bytes to fields. Knows no bill.

Either one object with `infno`, `input` and, of the answer, `infcode` and `output`; or `request` and
`response`, each the text of one of them as it went over the wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from services.his_bridge.core.faults import Fault
from services.his_bridge.dialects.cells import Cells, Findings, moment_of
from services.his_bridge.dialects.strict_json import StrictDecoder, names_of

Fields = dict[str, msgspec.Raw]

FEES = ("2204", "2301")
SETTLEMENTS = ("2207", "2304")
CANCELLATIONS = ("2208", "2305")
FEE_CANCELLATION = "2302"
SETTLEMENT_LIST = "4101"
# Change a bill and do not say enough for us to follow; 2205 takes back outpatient fees.
UNSUPPORTED = ("2205",)
_READ = (*FEES, *SETTLEMENTS, *CANCELLATIONS, FEE_CANCELLATION, SETTLEMENT_LIST, *UNSUPPORTED)
# Keys that a fault's path may show, besides those of the structs below.
_FIELDS = (
    "feedetl_sn init_feedetl_sn mdtrt_id psn_no chrg_bchno fee_ocur_time med_list_codg "
    "medins_list_codg det_item_fee_sumamt cnt pric med_type setl_id medfee_sumamt mid_setl_flag "
    "invono dscgTime setl_time fund_pay_sumamt acct_pay psn_cash_pay hosp_part_amt psn_name "
    "psn_cert_type certno mdtrt_cert_type mdtrt_cert_no patn_cert_type adm_time dscg_time "
    "opsp_mdtrt_date setl_begn_date setl_end_date diag_code diag_type maindiag_flag dcla_time"
)


class Input(msgspec.Struct, frozen=True):
    """The nodes of a request's `input` that we read."""

    data: Fields = {}
    feedetail: list[Fields] = []
    setlinfo: Fields = {}
    diseinfo: list[Fields] = []
    opspdiseinfo: list[Fields] = []


class Output(msgspec.Struct, frozen=True):
    """The nodes of an answer's `output` that we read."""

    setlinfo: Fields = {}


class _Message(msgspec.Struct):
    infno: str | None = None
    msgid: str | None = None
    inf_time: str | None = None
    fixmedins_code: str | None = None
    input: Input | None = None
    infcode: msgspec.Raw = msgspec.Raw(b"null")
    output: Output | None = None
    baseinfo: Fields = {}
    request: str | None = None
    response: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message; `path_in` and `path_out` stand before the paths of faults."""

    infno: str = ""
    msgid: str = ""
    inf_time: str = ""
    fixmedins_code: str = ""
    input: Input = Input()
    output: Output = Output()
    baseinfo: Fields = {}
    succeeded: bool | None = None  # None: the answer is not there
    faults: tuple[Fault, ...] = ()
    readable: bool = True
    path_in: str = "input"
    path_out: str = "output"

    @property
    def is_read(self) -> bool:
        """Whether a bill may be changed by it."""
        return self.infno in _READ and self.succeeded is not False

    def main(self) -> Fields:
        """The node that says whom and which visit a message is about."""
        if self.infno in FEES:
            return self.input.feedetail[0] if self.input.feedetail else {}
        return self.input.setlinfo if self.infno == SETTLEMENT_LIST else self.input.data


class Identified(msgspec.Struct, frozen=True, kw_only=True):
    """What a message is to the inbox. `updated` is when the hospital sent it."""

    record_id: str
    version: str
    updated: datetime | None


_DECODER = StrictDecoder(_Message, {*names_of(_Message, Input, Output), *_FIELDS.split()})


def decoded(raw: bytes) -> Message:
    """A message. Never raises: what is wrong stands in the faults."""
    found, faults = _DECODER.decode(raw)
    if found is None:
        return Message(faults=faults, readable=False)
    if found.request is None:
        return _message(found, found, faults)
    request, wrong = _DECODER.decode(found.request.encode("utf-8", "surrogatepass"))
    answer = _Message()
    broken: tuple[Fault, ...] = ()
    if found.response is not None:
        read, broken = _DECODER.decode(found.response.encode("utf-8", "surrogatepass"))
        answer = read or answer
    faults = (*faults, *_within("request", wrong), *_within("response", broken))
    if request is None:
        return Message(faults=faults, readable=False)
    whole = _message(request, answer, faults, found.baseinfo)
    return msgspec.structs.replace(whole, path_in="request.input", path_out="response.output")


def identified(raw: bytes, zone: ZoneInfo) -> Identified:
    """Id, version and time of a message, by what it says itself.

    A settlement is known by its number, so that its cancellation finds it; what was sent again
    under another message number is the same record in another version.
    """
    message = decoded(raw)
    digest = hashlib.sha256(raw).hexdigest()
    own = message.msgid or digest[:32]
    quiet = Findings(())
    node = Cells(message.main(), "", quiet, zone, "utf-8")
    answer = Cells(message.output.setlinfo, "", quiet, zone, "utf-8")
    setl_id = answer.short("setl_id") or node.short("setl_id")
    record_id = f"msg-{own}"
    if message.infno in FEES:
        record_id = f"fee-{own}"
    elif setl_id and message.infno in SETTLEMENTS:
        record_id = settlement_id(setl_id)
    elif setl_id and message.infno in CANCELLATIONS:
        record_id = f"cancel-{setl_id}"
    elif setl_id and message.infno == SETTLEMENT_LIST:
        record_id = f"list-{setl_id}"
    sent = moment_of(message.inf_time, zone)
    return Identified(
        record_id=record_id,
        version=digest[:32],
        updated=sent or answer.moment("setl_time") or node.moment("dcla_time"),
    )


def settlement_id(setl_id: str) -> str:
    """The record of a settlement."""
    return f"setl-{setl_id}"


def _message(
    said: _Message, answer: _Message, faults: Iterable[Fault], baseinfo: Fields | None = None
) -> Message:
    return Message(
        infno=said.infno or "",
        msgid=said.msgid or "",
        inf_time=said.inf_time or "",
        fixmedins_code=said.fixmedins_code or "",
        input=said.input or Input(),
        output=answer.output or Output(),
        baseinfo=baseinfo or said.baseinfo,
        succeeded=_succeeded(answer),
        faults=tuple(faults),
    )


def _succeeded(answer: _Message) -> bool | None:
    """0 is success; the platform writes it as a number, and hospitals also as a text."""
    code = bytes(answer.infcode).strip(b'"')
    if code in (b"null", b""):
        return None
    return code == b"0"


def _within(path: str, faults: Iterable[Fault]) -> tuple[Fault, ...]:
    return tuple(
        Fault(reason=fault.reason, path=f"{path}.{fault.path}" if fault.path else path)
        for fault in faults
    )
