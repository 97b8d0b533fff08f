"""A book is renewed as its policies would be one by one; faults come all at once; it resumes."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.pricing.core.arithmetic import less_credit, to_multiple
from services.pricing.core.balance import OutOfReach
from services.pricing.core.features import outcome_features, read
from services.pricing.core.renewal import bounds_e4, renewed
from services.pricing.core.tariff import E4, MILLION, CreditCap
from services.pricing.core.waterfall import price
from services.pricing.fitting.renewal import dealing, pricing_shards, renew
from services.pricing.fitting.renewal.dealing import BookUnreadable
from services.pricing.fitting.renewal.renew import BookRefused, NothingToRenew
from services.pricing.fitting.renewal.terms import TermsRefused, terms_of
from services.pricing.fitting.renewal.tiers import NoTiers, tiers_of
from services.pricing.fitting.renewal.work import Work
from tests.services.pricing.fitting.renewal.books import (
    COLLAR,
    RATES,
    SETTINGS,
    people,
    renewed_book,
    work,
    write_book,
)
from tests.services.pricing.proposals import proposal


def test_every_policy_pays_what_it_would_pay_alone(tmp_path: Path) -> None:
    rows = people(3_000)
    made = work(write_book(tmp_path / "book.parquet", rows), tmp_path)
    manifest, found = renewed_book(made)
    assert len(found) == len(rows) == manifest.renewed
    outcome = outcome_features(RATES.tariff)
    names = [f.name for f in RATES.tariff.features if f.name not in outcome]
    steps: dict[int, int] = {}
    for line in pq.read_table(made.result / "waterfalls.parquet").to_pylist():
        steps[line["code"]] = steps.get(line["code"], 0) + line["difference_e4"]
    by_policy = {row["policy_id"]: row for row in found}
    for row in rows:
        values = read(
            RATES.tariff.features, {n: str(row[n]) for n in names if row.get(n) is not None}
        )
        assert not values.faults
        technical = price(RATES, values.values)
        bounds = bounds_e4(row["expiring_uncredited_minor"], COLLAR)
        alone = renewed(technical, manifest.off_balance_billionths, bounds, 1)
        batch = by_policy[row["policy_id"]]
        assert batch["uncredited_minor"] == alone.premium_minor
        credit = row["credit_millionths"] or 0
        charged = to_multiple(less_credit(alone.premium_minor * E4, credit), 1) // E4
        assert batch["charged_minor"] == charged
        assert steps[batch["code"]] == technical.steps[-2].premium_e4


def test_the_total_is_the_target_within_a_millionth_and_the_manifest_says_so(
    tmp_path: Path,
) -> None:
    rows = people(500)
    manifest, found = renewed_book(work(write_book(tmp_path / "b.parquet", rows), tmp_path))
    expiring = sum(row["expiring_charged_minor"] for row in rows)
    assert manifest.target_e4 == expiring * E4 * 1_020_000 // MILLION
    assert abs(manifest.total_e4 / manifest.target_e4 - 1) <= 1e-6
    assert manifest.charged_minor == sum(row["charged_minor"] for row in found)
    assert manifest.held_up == sum(r["uncredited_minor"] == r["least_minor"] for r in found)


def test_the_same_book_gives_the_same_bytes_in_whatever_order_it_stands_in_shards(
    tmp_path: Path,
) -> None:
    rows = people(400)
    first, _ = renewed_book(work(write_book(tmp_path / "b.parquet", rows), tmp_path / "1"))
    second, _ = renewed_book(work(tmp_path / "b.parquet", tmp_path / "2"))
    assert first == second
    one, _ = renewed_book(work(tmp_path / "b.parquet", tmp_path / "3", shards=1))
    assert one.off_balance_billionths == first.off_balance_billionths
    assert one.charged_minor == first.charged_minor


def test_a_policy_s_shard_is_sha256_of_its_name_whatever_the_libraries(tmp_path: Path) -> None:
    made = work(write_book(tmp_path / "b.parquet", people(100)), tmp_path)
    renewed_book(made)
    for number in range(SETTINGS.shards):
        path = made.result / f"renewals-{number:04d}.parquet"
        for name in pq.read_table(path)["policy_id"].to_pylist():
            digest = hashlib.sha256(name.encode()).digest()
            assert int.from_bytes(digest[:4], "big") % SETTINGS.shards == number


def test_the_files_are_the_same_in_whatever_pieces_the_book_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = write_book(tmp_path / "b.parquet", people(5_000))
    whole, _ = renewed_book(work(book, tmp_path / "whole"))
    pieces: list[int] = []

    def counted(batch: pa.RecordBatch, *rest: Any) -> None:
        pieces.append(batch.num_rows)
        dealt(batch, *rest)

    dealt = dealing._deal
    monkeypatch.setattr(dealing, "_deal", counted)
    monkeypatch.setattr(dealing, "_AT_ONCE", 1_000)
    found, _ = renewed_book(work(book, tmp_path / "pieces"))
    assert len(pieces) > 1, "the control: it was read in pieces"
    assert found.files == whole.files


def test_whole_numbers_are_grouped_by_as_texts_and_amounts_stay_plain_columns(
    tmp_path: Path,
) -> None:
    rows = people(100)
    made = work(write_book(tmp_path / "b.parquet", rows), tmp_path, groups=("age", "sex"), shards=1)
    _, found = renewed_book(made)
    assert [row["group_age"] for row in found] == [str(row["age"]) for row in rows]
    kinds = pq.read_schema(made.result / "renewals-0000.parquet")
    assert {str(kinds.field(name).type) for name in kinds.names} == {"string", "int64"}


@pytest.mark.parametrize(
    ("names", "again"),
    [
        (["a", "b", "c", "d"], [False] * 4),
        (["a", "b", "a", "a"], [False, False, True, True]),
    ],
)
def test_a_policy_stands_there_twice_by_its_name_and_not_by_its_digest(
    names: list[str], again: list[bool]
) -> None:
    same = pa.array([7 << 16, 9, 7 << 16, 7 << 16], pa.uint32())
    dealt = pa.table({"policy_id": names, "digest": same})
    assert pricing_shards._again(dealt).tolist() == again


def test_outcome_tiers_are_carried_to_the_result_and_price_nothing(tmp_path: Path) -> None:
    rows = people(60)
    without, _ = renewed_book(work(write_book(tmp_path / "b.parquet", rows), tmp_path / "without"))
    with pytest.raises(NoTiers):
        tiers_of(tmp_path / "without" / "renewals", ["p1"])
    tiers = [{**row, "outcome_tier": ["controlled", "", None][n % 3]} for n, row in enumerate(rows)]
    made = work(write_book(tmp_path / "t.parquet", tiers), tmp_path / "with")
    found, _ = renewed_book(made)
    assert found.charged_minor == without.charged_minor
    said = tiers_of(made.result, ["p0", "p1", "p2", "p61"])
    assert said == {"p0": "controlled", "p1": "", "p2": ""}
    tiers[5]["outcome_tier"] = "not a tier"
    with pytest.raises(BookRefused) as refused:
        renewed_book(work(write_book(tmp_path / "m.parquet", tiers), tmp_path / "malformed"))
    ((fault, lines),) = refused.value.tally.rows.items()
    assert (fault.column, fault.reason, lines) == ("outcome_tier", "MALFORMED", [6])


def test_csv_and_parquet_price_alike_and_a_company_may_name_its_columns(tmp_path: Path) -> None:
    rows = people(200)
    book = write_book(tmp_path / "b.parquet", rows)
    parquet, _ = renewed_book(work(book, tmp_path / "p"))
    table = pq.read_table(book).rename_columns(
        ["AGE" if name == "age" else name for name in pq.read_table(book).column_names]
    )
    csv = tmp_path / "b.csv"
    table.to_pandas().to_csv(csv, index=False, columns=table.column_names, float_format="%g")
    text = csv.read_text().replace(".0,", ",").replace(".0\n", "\n")
    csv.write_text(text)
    found, _ = renewed_book(work(csv, tmp_path / "c", columns={"age": "AGE"}))
    assert found.charged_minor == parquet.charged_minor
    assert found.off_balance_billionths == parquet.off_balance_billionths


def test_who_has_no_price_is_referred_and_the_others_are_renewed(tmp_path: Path) -> None:
    rows = people(100)
    rows[7]["age"] = 85
    rows[8]["condition"] = "type1_diabetes"
    rows[8]["age"] = 17
    made = work(write_book(tmp_path / "b.parquet", rows), tmp_path)
    manifest, found = renewed_book(made)
    assert (manifest.renewed, manifest.referred) == (98, 2)
    assert {"p7", "p8"}.isdisjoint(row["policy_id"] for row in found)
    said = {
        row["policy_id"]: row["reason"]
        for row in pq.read_table(made.result / "referred.parquet").to_pylist()
    }
    assert said["p7"].startswith("age: ")
    assert "condition" in said["p8"]
    assert "age" in said["p8"]


def _spoiled() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {name: None if value is None else str(value) for name, value in row.items()}
        for row in people(60)
    ]
    rows[3]["age"] = "52.5"
    rows[4]["sex"] = "female"
    rows[5]["age"] = "900"
    rows[6]["expiring_charged_minor"] = "12.5"
    rows[9]["expiring_charged_minor"] = None
    rows[7]["expiring_uncredited_minor"] = "-3"
    rows[8]["credit_millionths"] = "250000"
    rows[10]["policy_id"] = rows[11]["policy_id"]
    rows[12]["policy_id"] = None
    return rows


def test_every_fault_of_a_book_comes_at_once_by_kind_and_row_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    made = work(write_book(tmp_path / "b.parquet", _spoiled()), tmp_path)
    with pytest.raises(BookRefused) as refused:
        renewed_book(made)
    tally = refused.value.tally
    found = {(f.column, f.reason): tally.rows[f] for f in tally.counts}
    assert found == {
        ("age", "TOO_FINE"): [4],
        ("sex", "UNKNOWN_LEVEL"): [5],
        ("age", "OUT_OF_BOUNDS"): [6],
        ("expiring_charged_minor", "AMOUNT"): [7, 10],
        ("expiring_uncredited_minor", "AMOUNT"): [8],
        ("credit_millionths", "CREDIT"): [9],
        ("policy_id", "TWICE"): [12],
        ("policy_id", "MISSING"): [13],
    }
    assert not made.result.exists()


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_one_empty_cell_makes_no_fault_of_the_other_rows(tmp_path: Path, form: str) -> None:
    rows = people(60)
    rows[3]["expiring_charged_minor"] = rows[4]["age"] = None
    table = pa.Table.from_pylist(rows).to_pandas()  # in which a column with a gap is of floats
    table["expiring_uncredited_minor"] = table["expiring_uncredited_minor"].astype("float64")
    table.loc[5, "expiring_uncredited_minor"] = 2_640_00.5
    names = ["age", "expiring_charged_minor", "expiring_uncredited_minor"]
    assert {str(table[name].dtype) for name in names} == {"float64"}
    book = tmp_path / f"b.{form}"
    {"parquet": table.to_parquet, "csv": table.to_csv}[form](book, index=False)
    with pytest.raises(BookRefused) as refused:
        renewed_book(work(book, tmp_path))
    tally = refused.value.tally
    assert {(f.column, f.reason): tally.rows[f] for f in tally.counts} == {
        ("age", "MISSING_FEATURE"): [5],
        ("expiring_charged_minor", "AMOUNT"): [4],
        ("expiring_uncredited_minor", "AMOUNT"): [6],
    }


def test_credits_without_a_legal_cap_are_refused(tmp_path: Path) -> None:
    book = write_book(tmp_path / "b.parquet", people(60))
    with pytest.raises(BookRefused) as refused:
        renewed_book(work(book, tmp_path, cap=None))
    assert {f.reason for f in refused.value.tally.counts} == {"NO_LEGAL_CAP"}


def test_missing_columns_are_named_all_at_once(tmp_path: Path) -> None:
    rows = [{"policy_id": "p1", "sex": "F", "expiring_charged_minor": 1}]
    with pytest.raises(BookUnreadable) as refused:
        renewed_book(
            work(write_book(tmp_path / "b.parquet", rows), tmp_path, columns={"agee": "x"})
        )
    text = "\n".join(refused.value.faults)
    for name in ("expiring_uncredited_minor", "age", "condition", "region", "agee"):
        assert name in text
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"no table")
    with pytest.raises(BookUnreadable):
        renewed_book(work(broken, tmp_path))


@pytest.mark.parametrize("spoiled", [b"p9999,\xff\xfe", b"p9999,1,2"])
def test_a_row_that_cannot_be_read_far_behind_the_heading_is_refused(
    tmp_path: Path, spoiled: bytes
) -> None:
    names = ["policy_id", *(n for n in people(1)[0] if n not in ("policy_id", "hba1c_percent"))]
    lines = [",".join(str(row[n] or "") for n in names) for row in people(30_000)]
    text = "\n".join([",".join(names), *lines]).encode() + b"\n"
    whole = tmp_path / "whole.csv"
    whole.write_bytes(text)
    assert renewed_book(work(whole, tmp_path / "control"))[0].renewed == 30_000
    book = tmp_path / "b.csv"
    book.write_bytes(text + spoiled + b"\n")
    with pytest.raises(BookUnreadable) as refused:
        renewed_book(work(book, tmp_path))
    (fault,) = refused.value.faults
    assert "b.csv: line 30002 " in fault


def test_a_short_row_right_behind_the_heading_is_named_and_not_all_columns(tmp_path: Path) -> None:
    book = tmp_path / "b.csv"
    book.write_text("policy_id,age,sex\np1,52,F\np2,67\n", encoding="utf-8")
    with pytest.raises(BookUnreadable) as refused:
        renewed_book(work(book, tmp_path))
    assert refused.value.faults == ("b.csv: line 3 has 2 cells, the heading has 3",)


def test_a_target_out_of_reach_and_a_book_without_a_price_leave_the_older_result(
    tmp_path: Path,
) -> None:
    book = write_book(tmp_path / "b.parquet", people(60))
    first, rows = renewed_book(work(book, tmp_path))
    with pytest.raises(OutOfReach):
        renewed_book(work(book, tmp_path, change_millionths=900_000))
    old = [{**row, "age": 80} for row in people(20)]
    with pytest.raises(NothingToRenew):
        renewed_book(work(write_book(tmp_path / "old.parquet", old), tmp_path))
    kept = [pq.read_table(p).num_rows for p in (tmp_path / "renewals").glob("renewals-*")]
    assert sum(kept) == len(rows) == first.renewed


class Stopped(BaseException):
    """As Ctrl-C would."""


def test_a_renewal_that_was_stopped_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = write_book(tmp_path / "b.parquet", people(300))
    whole, _ = renewed_book(work(book, tmp_path / "whole"))
    priced: list[Path] = []

    def counted(path: Path, *rest: Any) -> pricing_shards.Priced:
        priced.append(path)
        return pricing_shards.price_shard(path, *rest)

    monkeypatch.setattr(renew, "price_shard", counted)

    def stop(step: str, done: int, of: int) -> None:
        if (step, done) == ("write", 2):
            raise Stopped

    made: Work = work(book, tmp_path / "stopped")
    with pytest.raises(Stopped):
        renewed_book(made, stop)
    assert len(priced) == SETTINGS.shards
    assert not made.result.exists()
    again, _ = renewed_book(made)
    assert len(priced) == SETTINGS.shards, "what was priced is not priced again"
    assert again == whole
    renewed_book(made)
    assert len(priced) == 2 * SETTINGS.shards, "the control: a finished renewal begins anew"


def test_the_tariffs_own_collar_and_cap_bind_and_settings_may_only_be_narrower() -> None:
    tariff, _ = proposal()
    unsaid = dataclasses.replace(SETTINGS, collar=None, cap=None)
    own = terms_of(unsaid, tariff)
    assert own.collar.least_millionths == 800_000
    assert own.cap is not None
    assert own.cap.share_millionths == 300_000
    assert terms_of(SETTINGS, tariff).collar == SETTINGS.collar
    wide = msgspec.structs.replace(COLLAR, least_millionths=790_000)
    high = CreditCap(share_millionths=300_001, source="a test")
    with pytest.raises(TermsRefused) as refused:
        terms_of(dataclasses.replace(SETTINGS, collar=wide, cap=high), tariff)
    assert [fault.partition(":")[0] for fault in refused.value.faults] == [
        "renewal.collar",
        "renewal.credit_cap",
    ]
    with pytest.raises(TermsRefused):
        terms_of(unsaid, RATES.tariff)
