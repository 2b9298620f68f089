"""Frames in: every library, every type of id and time, every fault by name."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import recs
from logs import ROLES, groups

SMALL = {"who": [1, 2, 2], "what": ["tea", "jam", "tea"], "when": [1_500_000_000, 1_500_000_060, 1_500_086_400]}
KEYS = {"customer": "who", "product": "what", "timestamp": "when"}


def shape(ds: recs.Dataset) -> tuple[int, int, int]:
    return len(ds), ds.n_customers, ds.n_products


def shard_bytes(ds: recs.Dataset, folder: Path) -> list[bytes]:
    ds.to_tfrecords(folder)
    return [path.read_bytes() for path in sorted((folder / "raw_data").iterdir())]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(lambda log: log, id="dict of lists"),
        pytest.param(lambda log: {k: np.asarray(v) for k, v in log.items()}, id="dict of arrays"),
        pytest.param(lambda log: {k: pl.Series(v) for k, v in log.items()}, id="dict of polars series"),
        pytest.param(lambda log: {k: pd.Series(v) for k, v in log.items()}, id="dict of pandas series"),
        pytest.param(pd.DataFrame, id="pandas"),
        pytest.param(lambda log: pd.DataFrame(log).astype({"where": "category"}), id="pandas categories"),
        pytest.param(lambda log: pd.DataFrame(log).sample(frac=1, random_state=1).sort_index(), id="pandas index"),
        pytest.param(pl.DataFrame, id="polars"),
        pytest.param(lambda log: pl.DataFrame(log).with_columns(pl.col("where").cast(pl.Categorical)), id="polars categories"),
        pytest.param(lambda log: pl.concat([pl.DataFrame(log)[:100], pl.DataFrame(log)[100:]]), id="polars chunks"),
        pytest.param(pa.table, id="pyarrow"),
        pytest.param(lambda log: pa.table(log).to_batches()[0], id="pyarrow batch"),
        pytest.param(lambda log: pa.table(log).to_reader(max_chunksize=7), id="pyarrow reader"),
    ],
)
def test_every_kind_of_frame_gives_the_same_shards(frame: Any, tmp_path: Path) -> None:
    log = groups(customers=10, products=20, days=5)
    expected = shard_bytes(recs.Dataset.from_events(log, **ROLES), tmp_path / "expected")
    assert shard_bytes(recs.Dataset.from_events(frame(log), **ROLES), tmp_path / "found") == expected


def test_duckdb() -> None:
    relation = duckdb.connect().sql('select i % 3 as who, i as what, 1500000000 + i as "when" from range(10) t(i)')
    assert shape(recs.Dataset.from_events(relation, **KEYS)) == (10, 3, 10)


@pytest.mark.parametrize(
    "when",
    [
        pytest.param(np.array(SMALL["when"], dtype="datetime64[s]"), id="numpy seconds"),
        pytest.param(np.array(SMALL["when"], dtype="datetime64[s]").astype("datetime64[ns]"), id="numpy nanoseconds"),
        pytest.param([dt.datetime.fromtimestamp(s, dt.timezone.utc) for s in SMALL["when"]], id="datetimes in UTC"),
        pytest.param([dt.datetime.fromtimestamp(s, dt.timezone.utc).replace(tzinfo=None) for s in SMALL["when"]], id="naive"),
        pytest.param([pd.Timestamp(s, unit="s") for s in SMALL["when"]], id="pandas timestamps"),
        pytest.param(pd.Series(pd.to_datetime(SMALL["when"], unit="s", utc=True)), id="pandas series with zone"),
        pytest.param(pl.Series([s * 1_000_000 for s in SMALL["when"]]).cast(pl.Datetime("us")), id="polars"),
        pytest.param(pa.array(SMALL["when"], pa.timestamp("s")), id="pyarrow"),
        pytest.param(pa.chunked_array([SMALL["when"][:1], SMALL["when"][1:]], pa.timestamp("s", "Asia/Tokyo")), id="chunks"),
    ],
)
def test_times_of_every_kind_are_the_same_seconds(when: Any, tmp_path: Path) -> None:
    expected = shard_bytes(recs.Dataset.from_events(SMALL, **KEYS), tmp_path / "expected")
    found = shard_bytes(recs.Dataset.from_events({**SMALL, "when": when}, **KEYS), tmp_path / "found")
    assert found == expected


def test_days_are_midnight_in_utc(tmp_path: Path) -> None:
    days = [dt.date(2017, 7, 14), dt.date(1969, 12, 31), dt.date(2017, 7, 15)]
    seconds = [1_499_990_400, -86_400, 1_500_076_800]
    expected = shard_bytes(recs.Dataset.from_events({**SMALL, "when": seconds}, **KEYS), tmp_path / "expected")
    for i, when in enumerate([days, pl.Series(days), pa.array(days)]):
        found = shard_bytes(recs.Dataset.from_events({**SMALL, "when": when}, **KEYS), tmp_path / str(i))
        assert found == expected


def test_tfrecords_there_and_back(dataset: recs.Dataset, tmp_path: Path) -> None:
    dataset.to_tfrecords(tmp_path)
    again = recs.Dataset.from_tfrecords(tmp_path)
    assert shape(again) == shape(dataset) == (3600, 60, 200)
    assert repr(again) == repr(dataset) == "Dataset(rows=3600, customers=60, products=200)"
    with pytest.raises(recs.StoreError, match="exists already"):
        dataset.to_tfrecords(tmp_path)


def test_a_damaged_shard_is_an_error_that_names_it(dataset: recs.Dataset, tmp_path: Path) -> None:
    dataset.to_tfrecords(tmp_path)
    (tmp_path / "vocabularies" / "vocabularies.json").unlink()
    shard = next((tmp_path / "raw_data").iterdir())
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(recs.CorruptFileError, match=shard.name):
        recs.Dataset.from_tfrecords(tmp_path)


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(recs.NotFoundError, match="typo"):
        recs.Dataset.from_tfrecords(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()
    with pytest.raises(FileNotFoundError, match=r"metadata\.json"):
        recs.Dataset.from_tfrecords(tmp_path)


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize("column", ["who", "what", "when", "spent"])
def test_nulls_are_named(make: Any, column: str) -> None:
    log: dict[str, list[Any]] = {**SMALL, "spent": [1.5, 2.5, 3.5]}
    log[column] = [log[column][0], None, log[column][2]]
    with pytest.raises(recs.DataError, match=f"column `{column}`, row 1 .counted from 0.: is null") as caught:
        recs.Dataset.from_events(make(log), revenue="spent", **KEYS)
    assert (caught.value.column, caught.value.row) == (column, 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"spent": [1.0, -1.0, 1.0]}, recs.DataError, "column `spent`, row 1 .*: is -1; revenue is a finite number"),
        ({"spent": [1.0, 1.0, float("inf")]}, recs.DataError, "column `spent`, row 2 .*: is inf"),
        ({"spent": ["a", "b", "c"]}, recs.SchemaError, "column `spent`: holds Utf8, expected numbers"),
        ({"when": [1, 2, 1_500_000_000_000]}, recs.DataError, "column `when`, row 2 .*convert milliseconds"),
        ({"when": ["2017-01-01"] * 3}, recs.SchemaError, "column `when`: .*parse it first"),
        ({"who": [1.0, 2.0, 3.0]}, recs.SchemaError, "column `who`: holds Float64, .*convert the column to int64"),
        ({"what": [1, 2, "jam"]}, recs.DataError, "column `what`, row 2 .*: holds text after an integer"),
        ({"what": [True, False, True]}, recs.DataError, "column `what`, row 0 .*: holds a bool"),
        ({"what": np.array([1, 2, 2**63], dtype="u8")}, recs.DataError, "column `what`, row 2 .*: is beyond 64 signed"),
        ({"what": [1, 2]}, recs.SchemaError, "column `what`: has 2 rows, `spent` has 3"),
        ({"what": np.zeros((3, 2))}, recs.SchemaError, "column `what`: has 2 dimensions"),
        ({"what": "tea"}, recs.SchemaError, "column `what`: is a str, expected a list"),
        ({"who": [], "what": [], "when": [], "spent": []}, recs.DataError, "the frame has no rows"),
    ],
)
def test_bad_values_are_refused_by_name(change: dict[str, Any], error: type[Exception], message: str) -> None:
    log = {**SMALL, "spent": [1.0, 2.0, 3.0], **change}
    with pytest.raises(error, match=message):
        recs.Dataset.from_events(log, revenue="spent", **KEYS)


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame, pa.table])
def test_a_missing_column_lists_those_there_are(make: Any) -> None:
    with pytest.raises(recs.SchemaError, match="column `shop`: is missing; the frame has: .*who") as caught:
        recs.Dataset.from_events(make(SMALL), city="shop", **KEYS)
    assert caught.value.column == "shop"


def test_something_that_is_no_frame() -> None:
    with pytest.raises(recs.DataError, match="__arrow_c_stream__, or a dict of columns; this is a list"):
        recs.Dataset.from_events([1, 2], **KEYS)  # type: ignore[arg-type]


def test_other_columns_do_not_matter() -> None:
    frame = pd.DataFrame({**SMALL, "mixed": [1, "a", None], "objects": [{}, [], object()]})
    assert shape(recs.Dataset.from_events(frame, **KEYS)) == (3, 2, 2)
