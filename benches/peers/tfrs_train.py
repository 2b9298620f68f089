"""TensorFlow Recommenders baseline on a 90-day extract: training speed and Recall@K.

    python tfrs_train.py --data EXTRACT.parquet --epochs 5 --batch 2048
                         [--seed 1] [--split time] [--activation relu] [--threads 2] [--save DIR]

Architecture (the one our `reference` preset reproduces):
  query tower    customer embedding 64, city 16, revenue bucket 32, normalised revenue 1, customer x city
                 hashed to 5000 bins -> 16, timestamp bucket 32, cyclical time 8, revenue bucket x hour
                 hashed to 3000 bins -> 12
  candidate      product 32, category 16, subcategory 24
  both           Dense 128 -> 64 -> 32, linear, no normalisation; L1 0.02 on the first kernel
  loss           in-batch softmax, summed; Adam 1e-3, clipnorm 1.0
Trained on everything before the test: the last 5 % of the rows (split random: file order) or the last 7
days (split time). Ties rank the target last; a non-finite score is an error. Prints one JSON line.
"""

import argparse
import json
import math
import os
import time

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras

L = keras.layers
ap = argparse.ArgumentParser()
ap.add_argument("--data", required=True, help="Parquet table of the 90-day extract")
ap.add_argument("--epochs", type=int, default=5)
ap.add_argument("--batch", type=int, default=2048)
ap.add_argument("--threads", type=int, default=0)
ap.add_argument("--seed", type=int, default=7)
ap.add_argument("--split", choices=("random", "time"), default="random")
ap.add_argument("--activation", default=None)
ap.add_argument("--save", help="write saved_model, query_model and candidate_model below this folder")
a = ap.parse_args()
if a.threads:
    tf.config.threading.set_intra_op_parallelism_threads(a.threads)
tf.random.set_seed(a.seed)
df = pd.read_parquet(a.data)
cols = dict(
    customer_id=df.cust_person_id.astype(str),
    city=df.city.astype(str),
    revenue=df.revenue.astype("float32"),
    timestamp=df.timestamp.astype("int64"),
    product_id=df.product_id.astype(str),
    category=df.stratbuy_domain_desc.astype(str),
    subcategory=df.mge_main_cat_desc.astype(str),
)
n = len(df)
test = (
    np.arange(n) >= int(n * 0.95)
    if a.split == "random"
    else (df.timestamp > df.timestamp.max() - 7 * 86400).to_numpy()
)
TR, TE = (np.where(~test)[0], np.where(test)[0])
vocab = {c: sorted(set(cols[c])) for c in ("customer_id", "city", "product_id", "category", "subcategory")}
rb = np.linspace(float(cols["revenue"].min()), float(cols["revenue"].max()), 1000).tolist()
tb = np.linspace(float(cols["timestamp"].min()), float(cols["timestamp"].max()), 90).tolist()


def emb(c, d):
    return keras.Sequential(
        [L.StringLookup(vocabulary=vocab[c], mask_token=None), L.Embedding(len(vocab[c]) + 1, d)]
    )


class Query(keras.Model):

    def __init__(self):
        super().__init__()
        self.cust, self.city = (emb("customer_id", 64), emb("city", 16))
        self.rdisc, self.remb = (L.Discretization(rb), L.Embedding(len(rb) + 1, 32))
        self.rnorm = L.Normalization(axis=None)
        self.rnorm.adapt(cols["revenue"].to_numpy())
        self.tdisc, self.temb = (L.Discretization(tb), L.Embedding(len(tb) + 1, 32))
        self.h1, self.e1 = (L.Hashing(5000), L.Embedding(5001, 16))
        self.h2, self.e2 = (L.Hashing(3000), L.Embedding(3001, 12))

    def call(self, x):
        days = tf.cast(x["timestamp"], tf.float32) / 86400.0
        cyc = []
        for ph in ((days + 3) % 7 / 7, days / 7 % 52 / 52, days % 30.44 / 30.44, days / 30.44 % 12 / 12):
            cyc += [tf.sin(2 * math.pi * ph), tf.cos(2 * math.pi * ph)]
        rbk = self.rdisc(x["revenue"])
        c1 = self.e1(self.h1(tf.strings.join([x["customer_id"], "_x_", x["city"]])))
        c2 = self.e2(
            self.h2(
                tf.strings.join(
                    [tf.strings.as_string(rbk), "_x_", tf.strings.as_string(x["timestamp"] // 3600)]
                )
            )
        )
        return tf.concat(
            [
                self.cust(x["customer_id"]),
                self.city(x["city"]),
                self.remb(rbk),
                tf.reshape(self.rnorm(x["revenue"]), (-1, 1)),
                c1,
                self.temb(self.tdisc(tf.cast(x["timestamp"], tf.float32))),
                tf.stack(cyc, 1),
                c2,
            ],
            1,
        )


class Candidate(keras.Model):

    def __init__(self):
        super().__init__()
        self.p, self.c, self.s = (emb("product_id", 32), emb("category", 16), emb("subcategory", 24))

    def call(self, x):
        return tf.concat([self.p(x["product_id"]), self.c(x["category"]), self.s(x["subcategory"])], 1)


def tower(m):
    return keras.Sequential(
        [
            m,
            L.Dense(128, a.activation, kernel_regularizer=keras.regularizers.l1(0.02)),
            L.Dense(64, a.activation),
            L.Dense(32),
        ]
    )


class Model(tfrs.Model):

    def __init__(self):
        super().__init__()
        self.q, self.k, self.task = (tower(Query()), tower(Candidate()), tfrs.tasks.Retrieval())

    def compute_loss(self, x, training=False):
        return self.task(self.q(x), self.k(x), compute_metrics=False)


x = {k: v.to_numpy() if v.dtype.kind in "fi" else v.to_numpy(dtype=object) for k, v in cols.items()}
x = {k: tf.constant(v) if v.dtype.kind in "fi" else tf.constant(v.tolist()) for k, v in x.items()}
ds = (
    tf.data.Dataset.from_tensor_slices({k: tf.gather(v, TR) for k, v in x.items()})
    .cache()
    .shuffle(200000, seed=a.seed)
    .batch(a.batch, drop_remainder=True)
    .prefetch(tf.data.AUTOTUNE)
)
m = Model()
m.compile(optimizer=keras.optimizers.Adam(0.001, clipnorm=1.0))
times = []


class T(keras.callbacks.Callback):

    def on_epoch_begin(self, e, logs=None):
        self.t = time.time()

    def on_epoch_end(self, e, logs=None):
        times.append(time.time() - self.t)


m.fit(ds, epochs=a.epochs, verbose=0, callbacks=[T()])
steady = times[1:] or times
per_epoch = len(TR) // a.batch * a.batch
meta = df.drop_duplicates("product_id")
pid = meta.product_id.astype(str).tolist()
C = m.k(
    {
        "product_id": tf.constant(pid),
        "category": tf.constant(meta.stratbuy_domain_desc.astype(str).tolist()),
        "subcategory": tf.constant(meta.mge_main_cat_desc.astype(str).tolist()),
    }
).numpy()
pos = {p: i for i, p in enumerate(pid)}
hits = {5: 0, 10: 0, 50: 0, 100: 0}
tgt_all = np.array([pos[p] for p in cols["product_id"]])
for s in range(0, len(TE), 4096):
    rows = TE[s : s + 4096]
    q = m.q({k: tf.gather(v, rows) for k, v in x.items()}).numpy()
    sc = q @ C.T
    assert np.isfinite(sc).all()
    t = sc[np.arange(len(rows)), tgt_all[rows]][:, None]
    rank = (sc >= t).sum(1) - 1
    for k in hits:
        hits[k] += int((rank < k).sum())
print(
    json.dumps(
        {
            "examples_per_s": round(per_epoch / float(np.median(steady)), 1),
            "epoch_s": [round(t, 2) for t in times],
            "split": a.split,
            "seed": a.seed,
            **{f"recall@{k}": round(v / len(TE), 4) for k, v in hits.items()},
        }
    )
)
if a.save:
    tf.saved_model.save(m.q, a.save + "/query_model")
    tf.saved_model.save(m.k, a.save + "/candidate_model")
    ids, emb = (tf.constant(pid), tf.constant(C))

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.string, "customer_id"),
            tf.TensorSpec([], tf.string, "city"),
            tf.TensorSpec([], tf.float32, "revenue"),
            tf.TensorSpec([], tf.int64, "timestamp"),
        ]
    )
    def serve(customer_id, city, revenue, timestamp):
        e = m.q(
            {
                "customer_id": customer_id[None],
                "city": city[None],
                "revenue": revenue[None],
                "timestamp": timestamp[None],
            }
        )
        v, i = tf.nn.top_k(tf.squeeze(tf.matmul(e, emb, transpose_b=True), 0), 100)
        return {"product_ids": tf.gather(ids, i), "scores": v}

    mod = tf.Module()
    mod.q, mod.emb, mod.ids, mod.serve = (m.q, emb, ids, serve)
    tf.saved_model.save(mod, a.save + "/saved_model", signatures={"serving_default": serve})
