"""A stay and a visit as a hospital's messages to the 医保 platform, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from zoneinfo import ZoneInfo

from services.his_bridge.core.events import BillEvent, EventKind
from services.his_bridge.core.outcomes import BillHappened, KeptOut, Outcome
from services.his_bridge.core.yibao_terms import YibaoTerms
from services.his_bridge.dialects.yibao import MessageReader, identified
from services.his_bridge.profiles.loader import SourceProfile, parse_profile
from tests.services.his_bridge.records import NAME, NUMBER, tokens

Message = dict[str, Any]

PROFILE = """
hospital: yibao-hospital
dialect: yibao
zone: Asia/Shanghai
currency: CNY
source:
  kind: sql
  messages: {table: message, key: id, updated: updated, request: req, response: res}
  persons: {table: person, key: psn_no}
yibao:
  systems: {lines: "urn:yb", local_lines: "urn:local", diagnoses: "urn:icd"}
  med_types: {"9904": chronic}
identities: [{system: "01", kind: CN-ID}]
provider: {identifier_system: fixmedins_code, tier: secondary}
codes:
  lines: {accepted: [{system: "urn:yb"}]}
  diagnoses: {accepted: [{system: "urn:icd"}]}
social_insurance: from_record
"""


def profile(change: Callable[[str], str] = lambda text: text) -> SourceProfile:
    return parse_profile(change(PROFILE), "yibao-hospital.yaml")


FOUND = profile()
ZONE = ZoneInfo("Asia/Shanghai")
PERSON = {"psn_cert_type": "01", "certno": NUMBER, "psn_name": NAME}
ROW = json.dumps({"head": PERSON}, ensure_ascii=False).encode()


def message(infno: str, at: str, **nodes: Any) -> Message:
    return {
        "infno": infno,
        "msgid": f"H11010800001{at.translate(str.maketrans('', '', '- :'))}{infno}",
        "inf_time": at,
        "fixmedins_code": "H11010800001",
        "infcode": 0,
        **nodes,
    }


def fee(sn: str, amount: str, **changes: Any) -> Message:
    """A charge of one piece."""
    return {
        "feedetl_sn": sn,
        "mdtrt_id": "v1",
        "psn_no": "p1",
        "med_type": "21",
        "fee_ocur_time": "2026-03-01 09:00:00",
        "med_list_codg": "250101001",
        "medins_list_codg": "XJ",
        "det_item_fee_sumamt": amount,
        "cnt": 1,
        "pric": amount,
        **changes,
    }


def fees(at: str, *details: Message, infno: str = "2301", **more: Any) -> Message:
    return message(infno, at, input={"feedetail": list(details)}, **more)


def settled(at: str, total: str, setl_id: str = "s1", infno: str = "2304", **data: Any) -> Message:
    return message(
        infno,
        at,
        input={"data": {"mdtrt_id": "v1", "psn_no": "p1", "medfee_sumamt": total, **data}},
        output={
            "setlinfo": {
                "mdtrt_id": "v1",
                "setl_id": setl_id,
                "psn_no": "p1",
                **PERSON,
                "med_type": "21",
                "setl_time": at,
                "medfee_sumamt": total,
                "fund_pay_sumamt": "60.00",
                "acct_pay": "10.00",
                "psn_cash_pay": "0",
            }
        },
    )


def cancelled(at: str, setl_id: str = "s1", infno: str = "2305") -> Message:
    data = {"mdtrt_id": "v1", "setl_id": setl_id, "psn_no": "p1"}
    return message(infno, at, input={"data": data})


def listed(at: str) -> Message:
    return message(
        "4101",
        at,
        input={
            "setlinfo": {
                "mdtrt_id": "v1",
                "setl_id": "s1",
                "psn_name": NAME,
                "patn_cert_type": "01",
                "certno": NUMBER,
                "coner_tel": "13912345678",
                "adm_time": "2026-03-01 08:00:00",
                "dscg_time": "2026-03-05 10:00:00",
            },
            "diseinfo": [
                {"diag_type": "1", "diag_code": "E11.900", "maindiag_flag": "1"},
                {"diag_type": "2", "diag_code": "A07.06.01", "maindiag_flag": "0"},
                {"diag_type": "1", "diag_code": "I10.x00", "maindiag_flag": "0"},
            ],
        },
    )


def raw(said: Message) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode()


def reader(found: SourceProfile = FOUND) -> MessageReader:
    assert isinstance(found.dialect_terms, YibaoTerms)
    return MessageReader(found.dialect_terms, found.terms, tokens)


def judged(said: Message | bytes, found: SourceProfile = FOUND, *, known: bool = True) -> Outcome:
    """What a message comes to; `known`: the hospital's table of persons has everybody."""
    content = said if isinstance(said, bytes) else raw(said)
    reads = reader(found)
    glance = reads.glance(content)
    if glance.keep_out:
        return KeptOut()
    support = {key: reads.read_supporting(key[0], ROW) for key in glance.needs if known}
    return reads.judge("r", glance, support)


def events(said: Iterable[Message], found: SourceProfile = FOUND) -> list[BillEvent]:
    """The events that the bridge makes of messages, as its storage does."""
    made = []
    for one in said:
        outcome = judged(one, found)
        assert isinstance(outcome, BillHappened), outcome
        own = identified(raw(one), ZONE)
        assert own.updated is not None
        made.append(
            BillEvent(
                record=own.record_id,
                account=outcome.bill_id,
                kind=EventKind(outcome.kind),
                order=(round(own.updated.timestamp() * 1_000_000), own.version),
                bill=outcome.bill,
                reverses=outcome.reverses,
                stated_total=outcome.stated_total,
            )
        )
    return made
