"""Profiles of hospitals that show tables: read strictly, every fault at once, no secret in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.strict_yaml import StrictYamlError
from services.his_bridge.core.bill import CareType
from services.his_bridge.core.row_terms import RowStatus, RowTerms
from services.his_bridge.core.yibao_terms import YibaoTerms
from services.his_bridge.profiles import loader
from services.his_bridge.profiles.loader import parse_profile
from services.his_bridge.profiles.source_kinds.sql import SqlSettings
from tests.services.his_bridge.dialects.yibao.messages import profile as of_messages
from tests.services.his_bridge.sources.sql.hospital import profile

EXAMPLES = Path(loader.__file__).parent / "examples"
URL = "postgresql://lipei:geheim@his:5432/his"


def test_the_examples_are_read() -> None:
    variable = "LIPEI_HIS_BRIDGE_SQL_URL_GENERAL_HOSPITAL"
    rows, messages = (
        parse_profile((EXAMPLES / f"{name}.yaml").read_bytes(), name, {variable: URL})
        for name in ("general-hospital", "yibao-hospital")
    )
    assert isinstance(rows.source, SqlSettings)
    assert (rows.source.url, rows.source.variable) == (URL, variable)
    assert "geheim" not in rows.scope
    assert isinstance(rows.dialect_terms, RowTerms)
    assert rows.dialect_terms.statuses["2"] is RowStatus.REVERSED
    assert isinstance(messages.dialect_terms, YibaoTerms)
    assert messages.dialect_terms.med_types["9904"] is CareType.CHRONIC
    assert messages.dialect_terms.med_types["21"] is CareType.INPATIENT


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (", updated: updated}", "}", "give updated, horizon or both"),
        ("table: v_bill", 'table: "v_bill; drop table x"', "must be text of the form"),
        ("  bills: {table: v_bill, key: bill_no, updated: updated}\n", "", "either bills or mess"),
        ("  lines: {table", "  messages: {table: m, key: k}\n  lines: {table", "either message"),
        ("key: bill_no", "key: bill_no, password: x", "not a key of a source profile"),
        ("identity: id_no, ", "", "sql_rows.bill.identity"),
        ("code: yb_code, local_code: item_code, ", "", "give code, local_code or both"),
        ("price: price, amount: amt, ", "", "give price, amount or both"),
        ('local_lines: "urn:local", ', "", "must name the code system"),
        ('"2": reversed', '"2": gone', "interim, final, late, reversed, draft"),
        ('  statuses: {"0": interim, "1": final, "2": reversed, "9": draft}\n', "", "each status"),
        ('"1": outpatient', '"1": at home', "outpatient"),
        ("total: total,", "total: total, admission: adm_way,", "sql_rows.emergency_admissions"),
        ("  statuses:", "  emergency_admissions: [E]\n  statuses:", "both or neither"),
    ],
)
def test_a_fault_of_a_profile_is_named(old: str, new: str, said: str) -> None:
    with pytest.raises(StrictYamlError) as caught:
        profile("", lambda text: text.replace(old, new))
    assert said in str(caught.value)


def test_all_faults_of_a_profile_are_named_at_once() -> None:
    def spoil(text: str) -> str:
        return text.replace(", updated: updated}", "}").replace("qty", '"q t y"')

    with pytest.raises(StrictYamlError) as caught:
        profile("", spoil)
    assert "give updated" in str(caught.value)
    assert "sql_rows.line.quantity" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("request: req, response: res", "version: v", "either message"),
        ('lines: "urn:yb", ', "", "yibao.systems.lines"),
        ('"9904": chronic', '"9904": sick', "outpatient"),
        ("key: psn_no", "key: psn_no, updated: u", "not a key"),
    ],
)
def test_a_fault_of_a_profile_of_messages_is_named(old: str, new: str, said: str) -> None:
    with pytest.raises(StrictYamlError) as caught:
        of_messages(lambda text: text.replace(old, new))
    assert said in str(caught.value)
