"""Fit, evaluate, recommend, save and load."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import recs
from conftest import SETTINGS
from logs import FIRST, ROLES, groups

TINY: dict[str, Any] = {"epochs": 1, "batch": 64, "seed": 1, "threads": 1}
COLUMNS = ["customer", "product", "rank", "score", "reason"]


def test_the_model_learns_what_popularity_cannot(model: recs.TwoTower, dataset: recs.Dataset) -> None:
    result = model.evaluate(dataset)
    assert result.split == "time"
    assert result.rows == 7 * 60
    assert result.popularity is not None
    assert result.recall_at_50 is not None
    assert result.popularity.recall_at_50 is not None
    assert result.recall_at_50 > 2 * result.popularity.recall_at_50
    assert result.personalisation is not None
    assert result.personalisation > 0.3
    assert model.metrics is not None
    assert model.metrics.to_dict() == result.to_dict()
    assert "popularity_recall_at_100" in result.to_dict()
    assert repr(result).startswith("EvaluationResult(split='time', rows=420, recall_at_100=1.0000, popularity")
    assert str(result).splitlines()[1].startswith("recall_at_5")


def test_recommendations_are_tidy_and_from_the_own_group(model: recs.TwoTower) -> None:
    answer = model.recommend(["c0", "c5"], k=40)
    assert list(answer) == COLUMNS
    assert answer["customer"] == ["c0"] * 40 + ["c5"] * 40
    assert answer["rank"] == list(range(1, 41)) * 2
    assert answer["score"][:40] == sorted(answer["score"][:40], reverse=True)
    own = [product % 4 == 0 for product in answer["product"][:40]]
    assert sum(own) > 30
    assert set(answer["reason"]) <= {"model", "repeat"}


def test_purchases_can_be_left_out(model: recs.TwoTower, log: dict[str, list[Any]]) -> None:
    before_test = max(log["when"]) - 7 * 86_400
    rows = zip(log["who"], log["what"], log["when"], strict=True)
    bought = {what for who, what, when in rows if who == "c0" and when <= before_test}
    answer = model.recommend("c0", k=200, exclude_purchased=True)
    assert not bought & set(answer["product"])
    assert len(answer["product"]) == 200 - len(bought)
    assert "repeat" in model.recommend("c0", k=200)["reason"]


def test_unknown_customers_are_answered_and_say_so(model: recs.TwoTower) -> None:
    answer = model.recommend(["nobody", "nobody"], k=3, city=["city1", "nowhere"])
    assert answer["reason"] == ["segment"] * 3 + ["popularity"] * 3
    assert model.recommend([], k=3) == {name: [] for name in COLUMNS}


def test_city_revenue_and_time_for_all_or_each(model: recs.TwoTower) -> None:
    each = model.recommend(["c1", "c2"], k=5, city=["city1", "city1"], revenue=[11, 11.5], timestamp=[FIRST, FIRST])
    when = dt.datetime.fromtimestamp(FIRST, dt.timezone.utc)
    for_all = model.recommend(np.array(["c1", "c2"]), k=5, city="city1", revenue=np.array([11, 11.5]), timestamp=when)
    assert each == for_all
    # Their own city is what they get anyway.
    home = model.recommend(["c1"], k=5, revenue=11.0)
    assert home == model.recommend(["c1"], k=5, revenue=11.0, city="city1")
    with pytest.raises(recs.SchemaError, match="has 1 values, there are 2 customers"):
        model.recommend(["c1", "c2"], city=["city1"])
    with pytest.raises(recs.DataError, match="column `timestamp`, row 1"):
        model.recommend(["c1", "c2"], timestamp=[FIRST, "noon"])
    with pytest.raises(recs.DataError, match="revenue"):
        model.recommend(["c1"], revenue=-1.0)
    with pytest.raises(recs.DataError, match="must be at least 1"):
        model.recommend(["c1"], k=0)
    with pytest.raises(recs.DataError, match="column `customers`, row 1 .*is null"):
        model.recommend(["c1", None])


def many() -> dict[str, list[Any]]:
    log = groups(customers=12, products=20, days=25)
    return {**log, "who": [int(w[1:]) for w in log["who"]]}


@pytest.mark.parametrize(
    ("customer", "product"),
    [("int32", "uint16"), ("str", "str"), ("string", "Int64"), ("object", "category"), ("int64", "object")],
)
def test_pandas_ids_come_back_in_their_own_type(customer: str, product: str) -> None:
    frame = pd.DataFrame(many()).astype({"who": customer, "what": product})
    ds = recs.Dataset.from_events(frame, **ROLES)
    answer = recs.TwoTower(**TINY).fit(ds, show_progress=False).recommend(frame["who"].head(3), k=4)
    assert isinstance(answer, pd.DataFrame)
    assert list(answer.columns) == COLUMNS
    assert answer["customer"].dtype == frame["who"].dtype
    assert answer["product"].dtype == frame["what"].dtype
    assert answer["customer"].tolist() == [w for w in frame["who"].head(3) for _ in range(4)]
    assert set(answer["product"]) <= set(frame["what"])
    assert (answer["rank"].dtype, answer["score"].dtype) == ("int64", "float32")


@pytest.mark.parametrize(
    ("customer", "product"),
    [(pl.Int32, pl.UInt64), (pl.String, pl.Int64), (pl.Categorical, pl.String), (pl.UInt8, pl.Categorical)],
)
def test_polars_ids_come_back_in_their_own_type(customer: Any, product: Any) -> None:
    frame = pl.DataFrame(many())
    for column, dtype in [("who", customer), ("what", product)]:
        through = pl.col(column).cast(pl.String) if dtype == pl.Categorical else pl.col(column)
        frame = frame.with_columns(through.cast(dtype))
    ds = recs.Dataset.from_events(frame, **ROLES)
    answer = recs.TwoTower(**TINY).fit(ds, show_progress=False).recommend(frame["who"][:3], k=4)
    assert isinstance(answer, pl.DataFrame)
    assert answer.columns == COLUMNS
    assert answer["customer"].dtype == customer
    assert answer["product"].dtype == product
    assert answer["product"].is_in(frame["what"].to_list()).all()


@pytest.mark.parametrize("dtype", [pa.int16(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_pyarrow_ids_come_back_in_their_own_type(dtype: pa.DataType) -> None:
    log = many()
    text = pa.array([str(w) for w in log["who"]])
    who = text.dictionary_encode() if pa.types.is_dictionary(dtype) else text.cast(dtype)
    table = pa.table({**log, "who": who})
    answer = recs.TwoTower(**TINY).fit(recs.Dataset.from_events(table, **ROLES), show_progress=False).recommend(who[:3], k=4)
    assert isinstance(answer, pa.Table)
    assert answer.schema.field("customer").type == dtype
    assert answer.schema.field("product").type == pa.int64()
    assert answer["customer"].to_pylist() == [w for w in who[:3].to_pylist() for _ in range(4)]


def test_a_loaded_model_answers_in_the_type_of_the_question(model: recs.TwoTower, tmp_path: Path) -> None:
    version = model.save(tmp_path, version="first")
    assert (version, model.version) == ("first", "first")
    loaded = recs.TwoTower.load(tmp_path)
    assert loaded.version == "first"
    assert loaded.metrics is not None
    assert model.metrics is not None
    assert loaded.metrics.to_dict() == model.metrics.to_dict()
    assert loaded.get_params() == model.get_params()
    who = ["c3", "c1", "stranger"]
    expected = model.recommend(who, k=200, timestamp=FIRST)
    assert loaded.recommend(who, k=200, timestamp=FIRST) == expected
    for make, back in [
        (pd.Series, lambda f: f.to_dict("list")),
        (pl.Series, lambda f: f.to_dict(as_series=False)),
        (pa.array, lambda f: f.to_pydict()),
    ]:
        answer = back(loaded.recommend(make(who), k=200, timestamp=FIRST))
        assert {**answer, "score": None} == {**expected, "score": None}
        assert answer["score"] == pytest.approx(expected["score"])


def test_versions_and_tenants(model: recs.TwoTower, tmp_path: Path) -> None:
    model.save(tmp_path, version="a")
    model.save(tmp_path, version="b")
    model.save(tmp_path, version="c", tenant="other")
    assert recs.TwoTower.load(tmp_path).version == "b"
    assert recs.TwoTower.load(tmp_path, version="a").version == "a"
    assert recs.TwoTower.load(str(tmp_path), tenant="other").version == "c"
    with pytest.raises(recs.StoreError, match="exists already"):
        model.save(tmp_path, version="a")
    with pytest.raises(recs.NotFoundError, match="models/z"):
        recs.TwoTower.load(tmp_path, version="z")
    with pytest.raises(recs.ConfigError, match="no tenant id"):
        model.save(tmp_path, tenant="../x")


def test_a_damaged_model_is_refused(model: recs.TwoTower, tmp_path: Path) -> None:
    model.save(tmp_path, version="v")
    weights = next(tmp_path.rglob("weights.safetensors"))
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(recs.CorruptFileError, match=r"weights\.safetensors: sha256"):
        recs.TwoTower.load(tmp_path)


def test_the_same_seed_gives_the_same_model(dataset: recs.Dataset, model: recs.TwoTower) -> None:
    again = recs.TwoTower(**SETTINGS).fit(dataset, show_progress=False)
    assert again.recommend(["c0"], timestamp=FIRST) == model.recommend(["c0"], timestamp=FIRST)


def test_checkpoints_change_nothing_and_go_when_the_run_is_finished(dataset: recs.Dataset, tmp_path: Path) -> None:
    def scores(**fit: Any) -> list[float]:
        model = recs.TwoTower(**TINY).fit(dataset, show_progress=False, **fit)
        return list(model.recommend("c1", k=20)["score"])

    folder = tmp_path / "checkpoints"
    assert scores(checkpoints=folder, checkpoint_minutes=1e-9) == scores()
    assert folder.is_dir()
    assert not list(folder.glob("*.safetensors"))
    with pytest.raises(recs.ConfigError, match="every_minutes"):
        scores(checkpoints=folder, checkpoint_minutes=0.0)


def test_a_warm_start_says_what_it_has_seen_and_wants_the_same_model(dataset: recs.Dataset) -> None:
    first = recs.TwoTower(**TINY).fit(dataset, show_progress=False)
    with pytest.warns(recs.RecsWarning, match="validation rows are not newer"):
        second = recs.TwoTower(**TINY).fit(dataset, show_progress=False, warm_start=first)
    assert second.recommend("c1", k=20)["score"] != first.recommend("c1", k=20)["score"]
    with pytest.raises(recs.TrainError, match="query.city is there only"):
        other = recs.TwoTower("reference", epochs=1, batch=128, threads=1).fit(dataset, show_progress=False)
        recs.TwoTower(**TINY).fit(dataset, show_progress=False, warm_start=other)


def test_the_reference_preset_and_the_random_split(dataset: recs.Dataset) -> None:
    model = recs.TwoTower("reference", epochs=2, batch=128, threads=1).fit(dataset, show_progress=False)
    assert model.metrics is not None
    assert (model.metrics.split, model.metrics.rows) == ("random", 180)
    with pytest.warns(recs.RecsWarning, match='trained with split "random"'):
        model.evaluate(dataset, "time")


def test_a_model_fitted_on_published_shards(dataset: recs.Dataset, model: recs.TwoTower, tmp_path: Path) -> None:
    dataset.to_tfrecords(tmp_path)
    published = recs.Dataset.from_tfrecords(tmp_path)
    assert model.evaluate(published).recall_at_100 == model.evaluate(dataset).recall_at_100
    answer = recs.TwoTower(**TINY).fit(published, show_progress=False).recommend(["c0"], k=2)
    assert isinstance(answer["product"][0], int)


def test_eight_threads_recommend_while_another_fits(dataset: recs.Dataset, model: recs.TwoTower) -> None:
    expected = model.recommend([f"c{i}" for i in range(60)], k=20, timestamp=FIRST)
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(20):
            if model.recommend([f"c{i}" for i in range(60)], k=20, timestamp=FIRST) != expected:
                wrong.append("another answer")

    def fit() -> None:
        recs.TwoTower(**TINY).fit(dataset, show_progress=False)

    threads = [threading.Thread(target=ask) for _ in range(8)] + [threading.Thread(target=fit)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_settings_are_checked_and_shown(model: recs.TwoTower, dataset: recs.Dataset) -> None:
    with pytest.raises(recs.ConfigError, match='allowed are "time" and "random"'):
        model.evaluate(dataset, "day")  # type: ignore[arg-type]
    model = recs.TwoTower(epochs=3, loss={"temperature": 0.05}, seed=np.int64(5))
    assert model.get_params()["loss"] == {"temperature": 0.05}
    assert model.get_params()["batch"] == 256
    assert model.set_params(epochs=4) is model
    assert model.get_params()["epochs"] == 4
    given = model.get_params()
    copy = recs.TwoTower(**given)
    assert all(copy.get_params()[name] is value for name, value in given.items())
    with pytest.raises(recs.ConfigError, match="epochs.*is 0") as caught:
        model.set_params(epochs=0)
    assert caught.value.field == "train.epochs"
    assert model.get_params()["epochs"] == 4
    with pytest.raises(recs.ConfigError, match="unknown field `epoch`"):
        recs.TwoTower(epoch=3)
    with pytest.raises(ValueError, match="preset|variant"):
        recs.TwoTower("best")  # type: ignore[arg-type]
    with pytest.raises(recs.ConfigError, match="no plain type"):
        recs.TwoTower(epochs=object())


def test_errors_before_and_during_fit(dataset: recs.Dataset) -> None:
    model = recs.TwoTower(**TINY)
    assert (model.version, model.metrics) == (None, None)
    for ask in [lambda: model.recommend(["c0"]), lambda: model.evaluate(dataset), lambda: model.save("unused")]:
        with pytest.raises(recs.NotFittedError, match=r"call fit\(dataset\)"):
            ask()
    short = recs.Dataset.from_events(groups(customers=5, products=8, days=3), **ROLES)
    with pytest.raises(recs.DataError, match="needs more than 14 days"):
        model.fit(short, show_progress=False)
    with pytest.raises(recs.TrainError, match="diverged"):
        recs.TwoTower("reference", epochs=3, learning_rate=1e30, clip={"kind": "none"}).fit(dataset, show_progress=False)


def test_ids_that_the_type_of_the_dataset_has_no_place_for() -> None:
    frame = pd.DataFrame(groups(customers=8, products=12, days=20))
    numbers = frame.assign(who=frame["who"].str.removeprefix("c").astype("int64"))
    model = recs.TwoTower(epochs=1).fit(recs.Dataset.from_events(numbers, **ROLES), show_progress=False)
    assert model.recommend([1], k=1)["customer"].dtype == "int64"
    assert list(model.recommend(["nobody"], k=1)["customer"]) == ["nobody"]
    categories = frame.assign(who=frame["who"].astype("category"))
    model = recs.TwoTower(epochs=1).fit(recs.Dataset.from_events(categories, **ROLES), show_progress=False)
    assert model.recommend(["c1"], k=1)["customer"].dtype == categories["who"].dtype
    assert list(model.recommend(["c1", "nobody"], k=1)["customer"]) == ["c1", "nobody"]


def test_times_of_every_library_are_the_same_seconds(model: recs.TwoTower) -> None:
    expected = model.recommend(["c1"], k=5, timestamp=[FIRST])
    when = pd.Series(pd.to_datetime([FIRST], unit="s"))
    for timestamp in (when, when.to_numpy(), when.to_list(), pl.Series(when.to_list()), pa.array(when)):
        assert model.recommend(["c1"], k=5, timestamp=timestamp) == expected
    for missing in ([None], [pd.NaT], pd.Series([pd.NaT])):
        with pytest.raises(recs.DataError, match="column `timestamp`, row 0 .*is null"):
            model.recommend(["c1"], timestamp=missing)
    with pytest.raises(recs.DataError, match="milliseconds"):
        model.recommend(["c1"], timestamp=[FIRST * 1000])
