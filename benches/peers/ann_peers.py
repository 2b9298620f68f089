"""Inner-product search peers on the same vectors.

    python ann_peers.py --n 200000 --dim 64
    python ann_peers.py --items items.npy --queries q.npy

Writes nothing. One JSON line per engine and setting: build seconds (2 threads), recall@100, queries/s on
ONE thread.
"""

import argparse
import json
import time

import faiss
import hnswlib
import numpy as np
from usearch.index import Index

ap = argparse.ArgumentParser()
ap.add_argument("--n", type=int, default=200000)
ap.add_argument("--dim", type=int, default=64)
ap.add_argument("--items")
ap.add_argument("--queries")
ap.add_argument("--k", type=int, default=100)
a = ap.parse_args()
if a.items:
    X, q = (np.load(a.items).astype("f4"), np.load(a.queries).astype("f4"))
else:
    g = np.random.default_rng(0)
    c = g.standard_normal((2000, a.dim), dtype="f4")
    mk = lambda m: (lambda v: v / np.linalg.norm(v, axis=1, keepdims=True))(
        c[g.integers(0, 2000, m)] + 0.6 * g.standard_normal((m, a.dim), dtype="f4")
    )
    X, q = (mk(a.n), mk(2000))
N, D = X.shape
K = a.k
Q = len(q)
flat = faiss.IndexFlatIP(D)
flat.add(X)
faiss.omp_set_num_threads(2)
t = time.time()
_, gt = flat.search(q, K)
bt = time.time() - t
gt = [set(r) for r in gt]
rec = lambda I: round(float(np.mean([len(gt[i] & set(map(int, I[i]))) / K for i in range(Q)])), 4)
out = lambda **k: print(json.dumps(k), flush=True)
faiss.omp_set_num_threads(1)
t = time.time()
[flat.search(q[i : i + 1], K) for i in range(min(Q, 200))]
out(
    engine="faiss exact",
    batch_qps_2_threads=round(Q / bt, 1),
    qps=round(min(Q, 200) / (time.time() - t), 1),
    recall=1.0,
)
h = hnswlib.Index("ip", D)
h.init_index(N, M=16, ef_construction=200)
h.set_num_threads(2)
t = time.time()
h.add_items(X)
b = time.time() - t
h.set_num_threads(1)
for ef in (100, 150, 200, 400):
    h.set_ef(ef)
    t = time.time()
    I, _ = h.knn_query(q, K)
    out(engine="hnswlib", ef=ef, build_s=round(b, 1), recall=rec(I), qps=round(Q / (time.time() - t), 1))
for dt in ("f32", "f16", "i8"):
    x = Index(ndim=D, metric="ip", dtype=dt, connectivity=16, expansion_add=200, expansion_search=100)
    t = time.time()
    x.add(np.arange(N), X, threads=2)
    b = time.time() - t
    for ef in (100, 200, 400):
        x.expansion_search = ef
        t = time.time()
        r = x.search(q, K, threads=1)
        out(
            engine=f"usearch {dt}",
            ef=ef,
            build_s=round(b, 1),
            recall=rec(r.keys),
            qps=round(Q / (time.time() - t), 1),
        )
faiss.omp_set_num_threads(2)
f = faiss.index_factory(D, f"IVF{max(64, N // 200)},PQ{D // 2}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
t = time.time()
f.train(X[:100000])
f.add(X)
b = time.time() - t
faiss.omp_set_num_threads(1)
f.k_factor = 4
for npb in (8, 16, 32, 64):
    faiss.extract_index_ivf(f.base_index).nprobe = npb
    t = time.time()
    _, I = f.search(q, K)
    out(
        engine="faiss ivf-pq fastscan",
        nprobe=npb,
        build_s=round(b, 1),
        recall=rec(I),
        qps=round(Q / (time.time() - t), 1),
    )
