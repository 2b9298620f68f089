"""Inner-product search peers on the same vectors, one command a line.

    python ann_peers.py data --out DIR [--n 200000] [--dim 64] [--queries 2000] [--k 100] [--lengths 0.3]
    python ann_peers.py serve --data DIR --dim 64 [--k 100]

`data` writes items.f32, queries.f32 (little-endian, end to end) and truth.u32, the k best by exact search. Vectors stand
around 2,000 centres and have length 1; with --lengths those of the items are lognormal.

`serve` answers each line of standard input by a JSON object: `names`; `build NAME` with 2 threads; `search NAME SETTING` on one
thread, all queries in one call; `exact`, one query a call.
"""

import argparse
import json
import pathlib
import sys
import time

import faiss
import hnswlib
import numpy as np
from usearch.index import Index

M, EF_CONSTRUCTION = 16, 200
EFS = (100, 150, 200, 400)


class Hnswlib:
    settings = EFS

    def __init__(self, items):
        self.index = hnswlib.Index("ip", items.shape[1])
        self.index.init_index(len(items), M=M, ef_construction=EF_CONSTRUCTION)
        self.index.set_num_threads(2)
        self.index.add_items(items)
        self.index.set_num_threads(1)

    def search(self, queries, k, ef):
        self.index.set_ef(ef)
        return self.index.knn_query(queries, k)[0]


class FaissHnsw:
    settings = EFS

    def __init__(self, items):
        self.index = faiss.IndexHNSWFlat(items.shape[1], M, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = EF_CONSTRUCTION
        faiss.omp_set_num_threads(2)
        self.index.add(items)
        faiss.omp_set_num_threads(1)

    def search(self, queries, k, ef):
        self.index.hnsw.efSearch = ef
        return self.index.search(queries, k)[1]


class Usearch:
    settings = EFS

    def __init__(self, items, dtype):
        settings = {"connectivity": M, "expansion_add": EF_CONSTRUCTION}
        self.index = Index(ndim=items.shape[1], metric="ip", dtype=dtype, **settings)
        self.index.add(np.arange(len(items)), items, threads=2)

    def search(self, queries, k, ef):
        self.index.expansion_search = ef
        return self.index.search(queries, k, threads=1).keys


class FaissIvfPq:
    settings = (8, 16, 32, 64)

    def __init__(self, items):
        faiss.omp_set_num_threads(2)
        lists, dim = max(64, len(items) // 200), items.shape[1]
        kind = f"IVF{lists},PQ{dim // 2}x4fs,RFlat"
        self.index = faiss.index_factory(dim, kind, faiss.METRIC_INNER_PRODUCT)
        self.index.train(items[:100_000])
        self.index.add(items)
        self.index.k_factor = 4
        faiss.omp_set_num_threads(1)

    def search(self, queries, k, probes):
        faiss.extract_index_ivf(self.index.base_index).nprobe = probes
        return self.index.search(queries, k)[1]


ENGINES = {
    "hnswlib": Hnswlib,
    "faiss-hnsw": FaissHnsw,
    "usearch-f32": lambda items: Usearch(items, "f32"),
    "usearch-f16": lambda items: Usearch(items, "f16"),
    "usearch-i8": lambda items: Usearch(items, "i8"),
    "faiss-ivf-pq-fastscan": FaissIvfPq,
}
SETTINGS = {name: FaissIvfPq.settings if "ivf" in name else EFS for name in ENGINES}


def data(options):
    random = np.random.default_rng(0)
    centres = random.standard_normal((2000, options.dim), dtype="f4")

    def around(n):
        vectors = centres[random.integers(0, 2000, n)] + 0.6 * random.standard_normal((n, options.dim), dtype="f4")
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    items, queries = around(options.n), around(options.queries)
    if options.lengths:
        items *= np.exp(options.lengths * random.standard_normal((options.n, 1), dtype="f4"))
    exact = faiss.IndexFlatIP(options.dim)
    exact.add(items)
    options.out.mkdir(parents=True, exist_ok=True)
    items.astype("<f4").tofile(options.out / "items.f32")
    queries.astype("<f4").tofile(options.out / "queries.f32")
    exact.search(queries, options.k)[1].astype("<u4").tofile(options.out / "truth.u32")


class Served:
    def __init__(self, options):
        read = lambda name, kind: np.fromfile(options.data / name, dtype=kind)
        self.items = read("items.f32", "<f4").reshape(-1, options.dim)
        self.queries = read("queries.f32", "<f4").reshape(-1, options.dim)
        self.truth = read("truth.u32", "<u4").reshape(-1, options.k)
        self.k, self.built = options.k, {}
        self.exact_index = faiss.IndexFlatIP(options.dim)
        self.exact_index.add(self.items)

    def names(self):
        return {"settings": SETTINGS}

    def build(self, name):
        self.built.pop(name, None)
        begin = time.perf_counter()
        self.built[name] = ENGINES[name](self.items)
        return {"build_s": time.perf_counter() - begin}

    def search(self, name, setting):
        begin = time.perf_counter()
        found = self.built[name].search(self.queries, self.k, int(setting))
        return self.judged(found, time.perf_counter() - begin)

    def exact(self):
        faiss.omp_set_num_threads(1)
        begin = time.perf_counter()
        found = [self.exact_index.search(query[None], self.k)[1][0] for query in self.queries]
        return self.judged(found, time.perf_counter() - begin)

    def judged(self, found, seconds):
        right = sum(len(set(map(int, got)) & set(map(int, best))) for got, best in zip(found, self.truth))
        return {"qps": len(self.queries) / seconds, "recall": right / self.truth.size}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = parser.add_subparsers(dest="job", required=True)
    make = jobs.add_parser("data")
    make.add_argument("--out", type=pathlib.Path, required=True)
    make.add_argument("--n", type=int, default=200_000)
    make.add_argument("--queries", type=int, default=2000)
    make.add_argument("--lengths", type=float, default=0.0)
    serve = jobs.add_parser("serve")
    serve.add_argument("--data", type=pathlib.Path, required=True)
    for job in (make, serve):
        job.add_argument("--dim", type=int, default=64)
        job.add_argument("--k", type=int, default=100)
    options = parser.parse_args()
    if options.job == "data":
        return data(options)
    served = Served(options)
    for line in sys.stdin:
        command, *words = line.split()
        print(json.dumps(getattr(served, command)(*words)), flush=True)


if __name__ == "__main__":
    main()
