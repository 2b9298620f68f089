"""TensorFlow Recommenders baseline on a 90-day extract: training speed and Recall@K.

    python tfrs_train.py --data EXTRACT.parquet --epochs 5 --batch 2048 [--seed 1] [--split time]
                         [--activation relu] [--threads 2] [--ranks FILE] [--save DIR]

The model of tfrs_model.py; in-batch softmax, summed; Adam 1e-3, clipnorm 1.0; rows in memory.
Trained on everything before the test: the last 5 % of the rows (split random: file order) or the last 7
days (split time). Ties rank the target last; a non-finite score is an error. Prints one JSON line.
"""

import argparse
import json
import time

import tfrs_model  # before TensorFlow: it sets what TensorFlow reads
import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras

CUTS = (5, 10, 50, 100)


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True, help="Parquet table of the 90-day extract")
    ap.add_argument("--epochs", type=int, default=5)
    ap.add_argument("--batch", type=int, default=2048)
    ap.add_argument("--threads", type=int, default=0)
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--split", choices=("random", "time"), default="random")
    ap.add_argument("--activation", default=None)
    ap.add_argument("--ranks", help="write the rank of each test row: little-endian i32 in file order")
    ap.add_argument("--save", help="write saved_model, query_model and candidate_model below this folder")
    return ap.parse_args()


def columns_of(df):
    return dict(
        customer_id=df.cust_person_id.astype(str),
        city=df.city.astype(str),
        revenue=df.revenue.astype("float32"),
        timestamp=df.timestamp.astype("int64"),
        product_id=df.product_id.astype(str),
        category=df.stratbuy_domain_desc.astype(str),
        subcategory=df.mge_main_cat_desc.astype(str),
    )


def test_rows(df, split):
    if split == "random":
        return np.arange(len(df)) >= int(len(df) * 0.95)
    return (df.timestamp > df.timestamp.max() - 7 * 86400).to_numpy()


class Model(tfrs.Model):

    def __init__(self, cols, activation):
        super().__init__()
        vocabularies = {c: sorted(set(cols[c])) for c in tfrs_model.VOCABULARIES}
        edges = lambda c, n: tfrs_model.boundaries(cols[c].min(), cols[c].max(), n)
        norm = keras.layers.Normalization(axis=None)
        norm.adapt(cols["revenue"].to_numpy())
        query = tfrs_model.Query(vocabularies, edges("revenue", 1000), edges("timestamp", 90), norm)
        self.q = tfrs_model.tower(query, activation)
        self.k = tfrs_model.tower(tfrs_model.Candidate(vocabularies), activation)
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, x, training=False):
        return self.task(self.q(x), self.k(x), compute_metrics=False)


class EpochSeconds(keras.callbacks.Callback):

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.time()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.time() - self.started)


def fit(model, x, rows, a):
    """Seconds of each epoch."""
    ds = (
        tf.data.Dataset.from_tensor_slices({k: tf.gather(v, rows) for k, v in x.items()})
        .cache()
        .shuffle(200000, seed=a.seed)
        .batch(a.batch, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
    model.compile(optimizer=tfrs_model.optimizer())
    clock = EpochSeconds()
    model.fit(ds, epochs=a.epochs, verbose=0, callbacks=[clock])
    return clock.seconds


def embed_catalogue(model, df):
    """Product ids and their embeddings."""
    meta = df.drop_duplicates("product_id")
    pid = meta.product_id.astype(str).tolist()
    text = lambda column: tf.constant(meta[column].astype(str).tolist())
    x = {"product_id": tf.constant(pid)}
    x |= {"category": text("stratbuy_domain_desc"), "subcategory": text("mge_main_cat_desc")}
    return pid, model.k(x).numpy()


def ranks(model, x, rows, targets, catalogue):
    """How many other products stand before each row's own."""
    found = []
    for s in range(0, len(rows), 4096):
        part = rows[s : s + 4096]
        scores = model.q({k: tf.gather(v, part) for k, v in x.items()}).numpy() @ catalogue.T
        assert np.isfinite(scores).all()
        own = scores[np.arange(len(part)), targets[part]][:, None]
        found.append((scores >= own).sum(1) - 1)
    return np.concatenate(found)


def save(m, pid, C, folder):
    tf.saved_model.save(m.q, folder + "/query_model")
    tf.saved_model.save(m.k, folder + "/candidate_model")
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
    tf.saved_model.save(mod, folder + "/saved_model", signatures={"serving_default": serve})


def main():
    a = arguments()
    if a.threads:
        tf.config.threading.set_intra_op_parallelism_threads(a.threads)
    tf.random.set_seed(a.seed)
    df = pd.read_parquet(a.data)
    cols = columns_of(df)
    test = test_rows(df, a.split)
    TR, TE = (np.where(~test)[0], np.where(test)[0])
    x = {k: v.to_numpy() if v.dtype.kind in "fi" else v.to_numpy(dtype=object) for k, v in cols.items()}
    x = {k: tf.constant(v) if v.dtype.kind in "fi" else tf.constant(v.tolist()) for k, v in x.items()}
    m = Model(cols, a.activation)
    times = fit(m, x, TR, a)
    steady = times[1:] or times
    per_epoch = len(TR) // a.batch * a.batch
    pid, C = embed_catalogue(m, df)
    place = {p: i for i, p in enumerate(pid)}
    found = ranks(m, x, TE, np.array([place[p] for p in cols["product_id"]]), C)
    if a.ranks:
        found.astype("<i4").tofile(a.ranks)
    print(
        json.dumps(
            {
                "examples_per_s": round(per_epoch / float(np.median(steady)), 1),
                "epoch_s": [round(t, 2) for t in times],
                "split": a.split,
                "seed": a.seed,
                "fit_s": round(sum(times), 2),
                "test_rows": len(TE),
                **{f"recall@{k}": round(float((found < k).mean()), 5) for k in CUTS},
            }
        )
    )
    if a.save:
        save(m, pid, C, a.save)


if __name__ == "__main__":
    main()
