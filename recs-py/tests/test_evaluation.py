"""What an evaluation says, beside scikit-learn, SciPy and the definitions written out in NumPy.

The lists are asked for as a user would, the split and the counts are made here from the log: nothing of ours is in the numbers
that ours are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, top_k_accuracy_score
from sklearn.metrics.pairwise import cosine_similarity

import recs
from logs import DAY, ROLES, groups

NEAR = 1e-9
N = 300


@dataclass
class Judged:
    """Our results, and everything that they are made of."""

    result: recs.EvaluationResult
    #: Scores of the rows' customers, products that may not be recommended at the bottom. `[rows, products]`
    scores: Any
    #: Place of each row's product. `[rows]`
    target: Any
    #: Customer of each row. `[rows]`
    customer: Any
    city: Any
    #: Training rows of each customer and product. `[customers, products]`
    bought: Any
    #: True where the customer may get the product. `[customers, products]`
    allowed: Any


def judge(log: dict[str, list[Any]], model: recs.TwoTower, ds: recs.Dataset, seen: str) -> Judged:
    when, who = np.array(log["when"]), np.array([int(c[1:]) for c in log["who"]])
    # As text: products that are bought equally often come in the order of the catalogue.
    names = {name: at for at, name in enumerate(sorted(set(log["what"]), key=str))}
    place = np.array([names[name] for name in log["what"]])
    test = when > when.max() - 7 * DAY
    bought = np.zeros((who.max() + 1, len(names)), dtype=int)
    np.add.at(bought, (who[~test], place[~test]), 1)
    assert (bought.sum(axis=1) > 0).all(), "new customers are served otherwise than they are ranked"
    customers = [f"c{c}" for c in range(len(bought))]
    answer = model.recommend(customers, k=len(names), exclude_purchased=seen == "remove")
    matrix = np.full(bought.shape, np.nan)
    at = [int(c[1:]) for c in answer["customer"]]
    matrix[at, [names[name] for name in answer["product"]]] = answer["score"]
    allowed = ~np.isnan(matrix)
    assert (allowed == ((bought == 0) | (seen == "keep"))).all()
    matrix[~allowed] = np.nanmin(matrix) - 1
    scored = test.copy()
    scored[test] = allowed[who[test], place[test]]
    evaluation = {"seen": seen, "bootstrap": {"samples": 4000}}
    result = model.evaluate(ds, evaluation=evaluation)
    assert (result.rows, result.rows_left_out) == (scored.sum(), (test & ~scored).sum())
    rows = who[scored]
    return Judged(result, matrix[rows], place[scored], rows, np.array(log["where"])[scored], bought, allowed)


@pytest.fixture(scope="module", params=["keep", "remove", "towers"])
def judged(request: pytest.FixtureRequest) -> Judged:
    # Half of the log from few products, so that some are bought often and some never; a model that is far from perfect.
    log, long_tail = groups(60, 40, 30, seed=1), groups(60, N, 30, seed=2)
    log = {name: column + long_tail[name] for name, column in log.items()}
    ds = recs.Dataset.from_events(log, **ROLES)
    alone: dict[str, Any] = {"repeat": None} if request.param == "towers" else {}
    model = recs.TwoTower(epochs=2, batch=64, seed=3, threads=2, **alone).fit(ds, show_progress=False)
    return judge(log, model, ds, "remove" if request.param == "remove" else "keep")


def reference(judged: Judged, rows: Any) -> dict[str, float]:
    """scikit-learn's numbers for some of the rows."""
    scores, target = judged.scores[rows], judged.target[rows]
    products = scores.shape[1]
    relevant = np.eye(products)[target]
    numbers = {
        f"recall_at_{k}": top_k_accuracy_score(target, scores, k=k, labels=np.arange(products)) for k in (5, 10, 50, 100)
    }
    numbers |= {f"ndcg_at_{k}": ndcg_score(relevant, scores, k=k) for k in (10, 100)}
    # Of one relevant product the average precision is 1 / rank.
    return numbers | {"mrr": label_ranking_average_precision_score(relevant, scores)}


def test_the_metrics_are_scikit_learns(judged: Judged) -> None:
    expected = reference(judged, slice(None))
    assert 0.02 < expected["recall_at_5"] < expected["recall_at_100"] < 1
    for name, value in expected.items():
        assert getattr(judged.result, name) == pytest.approx(value, abs=NEAR), name


def test_lists_are_as_varied_as_the_definitions_say(judged: Judged) -> None:
    customers = np.unique(judged.customer) if judged.result.rows_left_out == 0 else np.arange(len(judged.bought))
    scores = np.full(judged.allowed.shape, -np.inf)
    scores[judged.customer] = judged.scores
    lists = np.argsort(-scores, axis=1)[:, :100]
    shown = np.zeros(scores.shape)
    np.put_along_axis(shown, lists, 1, axis=1)
    assert len(customers) == len(scores) == len(np.unique(judged.customer))
    assert judged.result.coverage == pytest.approx((shown.sum(axis=0) > 0).mean(), abs=NEAR)
    similar = cosine_similarity(shown)
    others = similar[~np.eye(len(similar), dtype=bool)]
    assert judged.result.personalisation == pytest.approx(1 - others.mean(), abs=NEAR)
    share = np.maximum(judged.bought.sum(axis=0), 1) / judged.bought.sum()
    assert judged.result.novelty == pytest.approx(-np.log2(share[lists]).mean(axis=1).mean(), abs=NEAR)


def test_slices_are_scikit_learns_numbers_of_their_rows(judged: Judged) -> None:
    known = judged.bought[judged.customer].sum(axis=1)
    count = judged.bought.sum(axis=0)
    order = np.argsort(-count, kind="stable")
    before = np.cumsum(count[order]) - count[order]
    head = np.zeros(len(count), dtype=bool)
    head[order[before < 0.8 * count.sum()]] = True
    again = judged.bought[judged.customer, judged.target] > 0
    expected = {
        "known_purchases": {
            "new": known == 0,
            "1-9": (known > 0) & (known < 10),
            "10-99": (known >= 10) & (known < 100),
            "100+": known >= 100,
        },
        "product": {"head": head[judged.target], "long_tail": ~head[judged.target]},
        "purchase": {"repurchase": again, "first_purchase": ~again},
        "city": {city: judged.city == city for city in np.unique(judged.city)},
    }
    slices = judged.result.slices
    assert set(slices) == set(expected)
    for by, named in expected.items():
        assert set(slices[by]) == set(named)
        assert sum(values["rows"] for values in slices[by].values()) == judged.result.rows
        for name, rows in named.items():
            values = slices[by][name]
            assert values["rows"] == rows.sum(), (by, name)
            if rows.sum() == 0:
                assert values["recall_at_100"] is None
                continue
            for metric, value in reference(judged, rows).items():
                assert values[metric] == pytest.approx(value, abs=NEAR), (by, name, metric)


def test_intervals_are_about_scipys(judged: Judged) -> None:
    products = judged.scores.shape[1]
    own = judged.scores[np.arange(len(judged.target)), judged.target]
    hit = (judged.scores >= own[:, None]).sum(axis=1) <= 50
    assert products > 100
    customers = np.unique(judged.customer)
    hits = np.array([hit[judged.customer == c].sum() for c in customers])
    rows = np.array([(judged.customer == c).sum() for c in customers])
    draws = bootstrap(
        (hits, rows),
        lambda h, n, axis: h.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=9_999,
        rng=np.random.default_rng(1),
    )
    assert judged.result.standard_errors is not None
    assert judged.result.intervals is not None
    error = judged.result.standard_errors["recall_at_50"]
    assert error == pytest.approx(draws.standard_error, rel=0.08)
    low, high = judged.result.intervals["recall_at_50"]
    assert abs(low - draws.confidence_interval.low) < 0.25 * error
    assert abs(high - draws.confidence_interval.high) < 0.25 * error


def test_what_is_asked_for_is_reported(dataset: recs.Dataset, model: recs.TwoTower) -> None:
    assert model.metrics is not None
    assert set(model.metrics.slices) == {"known_purchases", "product", "purchase", "city"}
    assert set(model.metrics.slices["city"]) == {f"city{i}" for i in range(5)}
    assert model.metrics.towers is not None
    assert model.metrics.popularity is not None
    assert set(model.metrics.popularity.slices) == set(model.metrics.towers.slices) == set(model.metrics.slices)
    numbers = model.metrics.to_dict()
    assert numbers["ndcg_at_10_low"] < numbers["ndcg_at_10"] < numbers["ndcg_at_10_high"]
    assert {"novelty", "rows_left_out", "mrr_standard_error", "popularity_novelty"} <= set(numbers)
    text = str(model.metrics)
    assert "95 % confidence" in text
    assert "repurchase" in text
    slices = {"customers": False, "products": False, "repurchases": False, "fields": []}
    bare = model.evaluate(dataset, evaluation={"bootstrap": {"samples": 0}, "slices": slices})
    assert (bare.slices, bare.intervals, bare.standard_errors) == ({}, None, None)
    assert bare.recall_at_100 == model.metrics.recall_at_100
    for wrong, named in [
        ({"seen": "forget"}, "forget"),
        ({"bootstrap": {"samples": 3}}, "bootstrap.samples"),
        ({"slices": {"fields": ["shop"]}}, "no field `shop`"),
        ({"sliced": {}}, "sliced"),
    ]:
        with pytest.raises(recs.ConfigError, match=named):
            model.evaluate(dataset, evaluation=wrong)
    chosen = recs.TwoTower(epochs=1, evaluation={"seen": "remove"}).fit(dataset, show_progress=False)
    assert chosen.metrics is not None
    assert chosen.metrics.rows_left_out > 0
    assert chosen.evaluate(dataset).to_dict() == chosen.metrics.to_dict()
