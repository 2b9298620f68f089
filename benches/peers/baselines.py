"""Cheap recommenders that a two-tower model has to beat, on a 90-day extract.

    python baselines.py --data EXTRACT.parquet [--split time] [--ranks FOLDER]

random split: file order, first 95 % known, last 5 % test.   time split: the last 7 days are test.
Recall@K = share of test rows whose product is among the K recommended to that customer; seen products are
NOT removed. Prints a JSON line per method and split; with --ranks also writes the rank of each test row's product
in its customer's list of 100: little-endian i32 in file order, 2^31 - 1 for a product that is not in it.
fit_s: training and making the lists of all customers of the test.
"""

import argparse
import json
import pathlib
import time

import ease
import implicit
import numpy as np
import pandas as pd
import scipy.sparse as sp
import threadpoolctl

CUTS = (5, 10, 50, 100)
LENGTH = 100
MISS = 2**31 - 1


class Purchases:
    """Known counts, and the test rows as pairs of customer and product."""

    def __init__(self, d, split):
        u = pd.Categorical(d.cust_person_id.astype(str))
        p = pd.Categorical(d.product_id.astype(str))
        if split == "random":
            test = np.arange(len(d)) >= int(len(d) * 0.95)
        else:
            test = (d.timestamp > d.timestamp.max() - 7 * 86400).to_numpy()
        known = (np.ones((~test).sum(), "f4"), (u.codes[~test], p.codes[~test]))
        self.counts = sp.csr_matrix(known, shape=(len(u.categories), len(p.categories)))
        self.counts.sum_duplicates()
        self.bought = np.asarray(self.counts.sum(0)).ravel()
        self.popular = np.argsort(-self.bought, kind="stable")[: 3 * LENGTH].tolist()
        self.customers, self.row_customer = np.unique(u.codes[test], return_inverse=True)
        self.row_product = p.codes[test]

    def ranks(self, lists):
        """Place of each test row's product in its customer's list."""
        hit = lists[self.row_customer] == self.row_product[:, None]
        return np.where(hit.any(1), hit.argmax(1), MISS).astype("<i4")


def popularity(rows):
    return np.tile(rows.popular[:LENGTH], (len(rows.customers), 1))


def own_purchases(rows):
    lists = []
    for customer in rows.customers:
        row = rows.counts[customer]
        own = row.indices[np.argsort(-row.data, kind="stable")][:LENGTH].tolist()
        known = set(own)
        lists.append((own + [product for product in rows.popular if product not in known])[:LENGTH])
    return np.array(lists)


def fit_als(rows, factors, alpha):
    model = implicit.als.AlternatingLeastSquares(
        factors=factors, alpha=alpha, regularization=0.05, iterations=15, random_state=1
    )
    # Its own threads and those of BLAS would fight for the cores.
    with threadpoolctl.threadpool_limits(1, "blas"):
        model.fit(rows.counts, show_progress=False)
    return model


def als(rows, factors, alpha):
    model = fit_als(rows, factors, alpha)
    known = rows.counts[rows.customers]
    return model.recommend(rows.customers, known, N=LENGTH, filter_already_liked_items=False)[0]


def blend(rows):
    model = fit_als(rows, 128, 20)
    scores = (
        model.user_factors[rows.customers] @ model.item_factors.T
        + np.log1p(rows.counts[rows.customers].toarray())
        + 0.1 * np.log1p(rows.bought)
    )
    return np.argsort(-scores, axis=1, kind="stable")[:, :LENGTH]


METHODS = {
    "popularity": popularity,
    "own purchases by frequency, then popularity": own_purchases,
    "implicit ALS 64 factors": lambda rows: als(rows, 64, 10),
    "implicit ALS 128 factors": lambda rows: als(rows, 128, 20),
    "blend: ALS 128 + log1p(own count) + 0.1 log1p(popularity)": blend,
    "EASE with own counts": lambda rows: ease.recommend(rows.counts, rows.customers, LENGTH),
}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True, help="Parquet table of the 90-day extract")
    ap.add_argument("--split", choices=("random", "time"), help="both unless given")
    ap.add_argument("--ranks", type=pathlib.Path, help="folder for SPLIT-NUMBER.ranks, by number of the method")
    a = ap.parse_args()
    d = pd.read_parquet(a.data)
    for split in [a.split] if a.split else ["random", "time"]:
        rows = Purchases(d, split)
        for number, (name, method) in enumerate(METHODS.items()):
            begin = time.time()
            ranks = rows.ranks(method(rows))
            line = {"split": split, "method": name, "fit_s": round(time.time() - begin, 2)}
            line |= {"test_rows": len(ranks)}
            line |= {f"recall@{k}": round(float((ranks < k).mean()), 5) for k in CUTS}
            if a.ranks:
                line["ranks"] = str(a.ranks / f"{split}-{number}.ranks")
                ranks.tofile(line["ranks"])
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
