"""Cheap recommenders that a two-tower model has to beat, on a 90-day extract.

    python baselines.py --data EXTRACT.parquet

random split: file order, first 95 % known, last 5 % test.   time split: the last 7 days are test.
Recall@K = share of test rows whose product is among the K recommended to that customer; seen products are
NOT removed. Prints a JSON line per method and split.
"""

import argparse
import json
import time

import implicit
import numpy as np
import pandas as pd
import scipy.sparse as sp

ap = argparse.ArgumentParser()
ap.add_argument("--data", required=True, help="Parquet table of the 90-day extract")
d = pd.read_parquet(ap.parse_args().data)
n = len(d)
KS = (5, 10, 50, 100)
u = pd.Categorical(d.cust_person_id.astype(str))
p = pd.Categorical(d.product_id.astype(str))
last = d.timestamp.max() - 7 * 86400
for split, test in (("random", np.arange(n) >= int(n * 0.95)), ("time", (d.timestamp > last).to_numpy())):
    U, I = (u.codes[~test], p.codes[~test])
    tu, ti = (u.codes[test], p.codes[test])
    M = sp.csr_matrix((np.ones(len(U), "f4"), (U, I)), shape=(len(u.categories), len(p.categories)))
    M.sum_duplicates()
    pop = np.argsort(-np.asarray(M.sum(0)).ravel(), kind="stable")[:300].tolist()

    def report(name, recs, t):
        hit = [(lambda l: l.index(i) if i in l else 10**9)(recs[x]) for x, i in zip(tu, ti)]
        print(
            json.dumps(
                {
                    "split": split,
                    "method": name,
                    "fit_s": round(t, 2),
                    **{f"recall@{k}": round(float(np.mean([h < k for h in hit])), 4) for k in KS},
                }
            ),
            flush=True,
        )

    us = np.unique(tu)
    report("popularity", {x: pop[:100] for x in us}, 0)
    own = {}
    for x in us:
        r = M[x]
        o = r.indices[np.argsort(-r.data, kind="stable")][:100].tolist()
        s = set(o)
        own[x] = (o + [q for q in pop if q not in s])[:100]
    report("own purchases by frequency, then popularity", own, 0)
    for f, al in ((64, 10), (128, 20)):
        t = time.time()
        m = implicit.als.AlternatingLeastSquares(
            factors=f, alpha=al, regularization=0.05, iterations=15, random_state=1
        )
        m.fit(M, show_progress=False)
        t = time.time() - t
        ids, _ = m.recommend(us, M[us], N=100, filter_already_liked_items=False)
        report(f"implicit ALS {f} factors", {x: l.tolist() for x, l in zip(us, ids)}, t)
    S = (
        m.user_factors[us] @ m.item_factors.T
        + np.log1p(M[us].toarray())
        + 0.1 * np.log1p(np.asarray(M.sum(0)).ravel())
    )
    top = np.argsort(-S, axis=1, kind="stable")[:, :100]
    report(
        "blend: ALS 128 + log1p(own count) + 0.1 log1p(popularity)",
        {x: l.tolist() for x, l in zip(us, top)},
        t,
    )
