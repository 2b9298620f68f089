"""The usual TensorFlow Recommenders job on TFRecord shards: shards -> vocabularies -> trained model -> saved model.

    python tfrs_pipeline.py --shards DIR --out DIR [--epochs 5] [--batch 2048] [--seed 7]

DIR holds raw_data/*.tfrecord.gz. What is usual: the vocabularies come from a pass of their own over the parsed dataset in
Python (in batches here, which is 6 times as fast as row by row); tf.data reads the files interleaved, parses record by
record (parse_single_example, AUTOTUNE) in every epoch, shuffles and batches; nothing is cached. The first 80 % of the rows
are trained on; after every epoch the next 15 % go through FactorizedTopK (Recall@5/10/50/100); the last 5 % stay unread.
The model (tfrs_model.py) is saved with a brute-force index over its candidates. Prints one JSON line: seconds of each
phase, examples/s of the epochs without the first and without validation.
"""

import argparse
import glob
import json
import time

START = time.time()
import tfrs_model  # before TensorFlow: it sets what TensorFlow reads
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras

CUTS = (5, 10, 50, 100)
SHUFFLE_BUFFER = 100_000
CANDIDATE_BATCH = 1024
STATISTICS_BATCH = 2048
# Name in the model: name and type in the records.
FEATURES = {
    "customer_id": ("cust_person_id", tf.string),
    "city": ("city", tf.string),
    "revenue": ("revenue", tf.float32),
    "timestamp": ("timestamp", tf.int64),
    "product_id": ("product_id", tf.int64),
    "category": ("stratbuy_domain_desc", tf.string),
    "subcategory": ("mge_main_cat_desc", tf.string),
}
SPEC = {record: tf.io.FixedLenFeature([], dtype) for record, dtype in FEATURES.values()}


def parse(record):
    found = tf.io.parse_single_example(record, SPEC)
    row = {name: found[record] for name, (record, _) in FEATURES.items()}
    row["product_id"] = tf.strings.as_string(row["product_id"])
    return row


def records(folder):
    files = sorted(glob.glob(folder + "/raw_data/*.tfrecord.gz"))
    read = lambda file: tf.data.TFRecordDataset(file, compression_type="GZIP")
    return tf.data.Dataset.from_tensor_slices(files).interleave(
        read, cycle_length=8, num_parallel_calls=tf.data.AUTOTUNE
    )


class Statistics:
    """What the preprocessing job gathers in one pass."""

    def __init__(self, rows):
        texts = {name: set() for name in tfrs_model.VOCABULARIES}
        self.products, self.revenues, self.times = {}, [], []
        for batch in rows.batch(STATISTICS_BATCH).as_numpy_iterator():
            for name, seen in texts.items():
                seen.update(batch[name].tolist())
            self.products |= zip(batch["product_id"], zip(batch["category"], batch["subcategory"]))
            self.revenues += batch["revenue"].tolist()
            self.times += batch["timestamp"].tolist()
        self.rows = len(self.times)
        self.texts = {name: {text.decode() for text in seen} for name, seen in texts.items()}

    def candidates(self):
        ids = list(self.products)
        categories, subcategories = zip(*self.products.values())
        return tf.data.Dataset.from_tensor_slices(
            {"product_id": ids, "category": list(categories), "subcategory": list(subcategories)}
        ).batch(CANDIDATE_BATCH)


class Model(tfrs.Model):

    def __init__(self, statistics):
        super().__init__()
        vocabularies = {name: sorted(texts) for name, texts in statistics.texts.items()}
        edges = lambda values, n: tfrs_model.boundaries(min(values), max(values), n)
        norm = keras.layers.Normalization(axis=None)
        norm.adapt(tf.constant(statistics.revenues))
        revenue, times = edges(statistics.revenues, 1000), edges(statistics.times, 90)
        self.q = tfrs_model.tower(tfrs_model.Query(vocabularies, revenue, times, norm))
        self.k = tfrs_model.tower(tfrs_model.Candidate(vocabularies))
        embedded = statistics.candidates().map(self.k)
        self.task = tfrs.tasks.Retrieval(metrics=tfrs.metrics.FactorizedTopK(embedded, ks=CUTS))

    def compute_loss(self, x, training=False):
        return self.task(self.q(x), self.k(x), compute_metrics=not training)


class Seconds(keras.callbacks.Callback):
    """Of the steps of each epoch, without its validation."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.time()

    def on_test_begin(self, logs=None):
        self.epochs.append(time.time() - self.started)


def datasets(raw, rows, a):
    """Training and validation batches."""
    train, validation = rows * 80 // 100, rows * 15 // 100
    ready = lambda part: part.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    batches = lambda part, full: part.batch(a.batch, drop_remainder=full).prefetch(tf.data.AUTOTUNE)
    shuffled = ready(raw.take(train)).shuffle(SHUFFLE_BUFFER, seed=a.seed)
    return train, batches(shuffled, True), batches(ready(raw.skip(train).take(validation)), False)


def save(model, statistics, folder):
    index = tfrs.layers.factorized_top_k.BruteForce(model.q, k=100)
    ids = statistics.candidates().map(lambda x: x["product_id"])
    index.index_from_dataset(tf.data.Dataset.zip((ids, statistics.candidates().map(model.k))))
    example = {name: tf.zeros([1], dtype) for name, (_, dtype) in FEATURES.items() if dtype != tf.string}
    example |= {name: tf.constant([""]) for name in ("customer_id", "city")}
    del example["product_id"]
    index(example)
    tf.saved_model.save(index, folder)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--shards", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--epochs", type=int, default=5)
    ap.add_argument("--batch", type=int, default=2048)
    ap.add_argument("--seed", type=int, default=7)
    a = ap.parse_args()
    tf.random.set_seed(a.seed)
    laps = [START, time.time()]
    raw = records(a.shards)
    statistics = Statistics(raw.map(parse, num_parallel_calls=tf.data.AUTOTUNE))
    laps.append(time.time())
    rows, train, validation = datasets(raw, statistics.rows, a)
    model = Model(statistics)
    model.compile(optimizer=tfrs_model.optimizer())
    clock = Seconds()
    fitted = model.fit(train, validation_data=validation, epochs=a.epochs, verbose=0, callbacks=[clock])
    laps.append(time.time())
    save(model, statistics, a.out)
    laps.append(time.time())
    steady = sorted(clock.epochs[1:] or clock.epochs)
    phases = zip(("import_s", "vocabulary_s", "train_s", "save_s"), zip(laps, laps[1:]))
    recall = lambda k: fitted.history[f"val_factorized_top_k/top_{k}_categorical_accuracy"][-1]
    print(
        json.dumps(
            {
                "examples_per_s": round(rows // a.batch * a.batch / steady[len(steady) // 2], 1),
                "epochs": a.epochs,
                "train_rows": rows,
                **{f"validation_recall@{k}": round(recall(k), 5) for k in CUTS},
                **{name: round(end - begin, 2) for name, (begin, end) in phases},
            }
        )
    )


if __name__ == "__main__":
    main()
