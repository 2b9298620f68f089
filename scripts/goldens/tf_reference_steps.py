#!/usr/bin/env python3
"""Three optimiser steps of the reference model in TensorFlow Recommenders, stored as golden files.

The model, loss and optimiser are those of `benches/peers/tfrs_train.py`; the data is 768 rows of an
extracted Parquet table (about 200 customers, 300 products), trained in file order in 3 batches of 256. The
training loop is Keras's own `fit` with the `train_step` of `tfrs.Model` and the Adam of tf_keras.

    tf_reference_steps.py EXTRACT.parquet OUT_DIR    write the golden files
    tf_reference_steps.py --verify OUT_DIR           recompute everything in NumPy from the files alone

Needs tensorflow-cpu 2.21, tf-keras 2.21, tensorflow-recommenders 0.7.7, pandas, pyarrow, safetensors.
"""

import argparse
import json
import math
import os
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras
from safetensors.numpy import load_file, save

L = keras.layers

SEED = 20240229
CUSTOMERS, PRODUCTS = 210, 420  # to draw from; about 200 and 300 of them occur
BATCH, STEPS = 256, 3
REVENUE_BOUNDARIES, TIMESTAMP_BOUNDARIES = 1000, 90
CITY_BINS, HOUR_BINS = 5000, 3000
UNITS = (128, 64, 32)
L1 = 0.02
LEARNING_RATE, BETA_1, BETA_2, EPSILON, CLIP_NORM = 1e-3, 0.9, 0.999, 1e-7, 1.0

# Field name -> column of the extract, in the order in which rows.json holds them.
FIELDS = {
    "customer_id": "cust_person_id",
    "city": "city",
    "revenue": "revenue",
    "timestamp": "timestamp",
    "product_id": "product_id",
    "art_name": "art_name",
    "category": "stratbuy_domain_desc",
    "subcategory": "mge_main_cat_desc",
}
STRING_FIELDS = ("customer_id", "city", "product_id", "art_name", "category", "subcategory")


# ---------------------------------------------------------------------------------------------- data


def choose_rows(extract):
    """Return 768 rows of the busiest customers and their most bought products, as columns by field name."""
    customers = extract.cust_person_id.value_counts(sort=True).sort_index(kind="stable")
    customers = customers.sort_values(ascending=False, kind="stable").index[:CUSTOMERS]
    rows = extract[extract.cust_person_id.isin(customers)]
    products = rows.product_id.value_counts().sort_index(kind="stable")
    products = products.sort_values(ascending=False, kind="stable").index[:PRODUCTS]
    rows = rows[rows.product_id.isin(products)]
    picked = np.random.default_rng(SEED).choice(len(rows), BATCH * STEPS, replace=False)
    rows = rows.iloc[np.sort(picked)]
    columns = {}
    for field, column in FIELDS.items():
        if field in STRING_FIELDS:
            columns[field] = rows[column].astype(str).to_numpy(dtype=object)
        else:
            columns[field] = rows[column].to_numpy(np.float32 if field == "revenue" else np.int64)
    return columns


def vocabularies_of(columns):
    """The content of vocabularies.json for these rows."""
    vocabularies = {field: sorted(set(columns[field])) for field in STRING_FIELDS}
    revenue = columns["revenue"].astype(np.float64)
    timestamp = columns["timestamp"]
    first, last = int(timestamp.min()), int(timestamp.max())
    revenue_buckets = np.linspace(revenue.min(), revenue.max(), REVENUE_BOUNDARIES).tolist()
    timestamp_buckets = np.linspace(float(first), float(last), TIMESTAMP_BOUNDARIES).tolist()
    return {
        **vocabularies,
        "revenue_buckets": revenue_buckets,
        "timestamp_buckets": timestamp_buckets,
        "metadata": {
            "total_examples": len(revenue),
            "vocab_sizes": {
                "products": len(vocabularies["product_id"]),
                "customers": len(vocabularies["customer_id"]),
                "cities": len(vocabularies["city"]),
                "revenue_buckets": len(revenue_buckets),
                "timestamp_buckets": len(timestamp_buckets),
                "product_names": len(vocabularies["art_name"]),
                "product_categories": len(vocabularies["category"]),
                "product_subcategories": len(vocabularies["subcategory"]),
            },
            "revenue_stats": {
                "min": float(revenue.min()),
                "max": float(revenue.max()),
                "mean": float(revenue.mean()),
                "std": float(revenue.std()),
            },
            "timestamp_stats": {
                "min": first,
                "max": last,
                "range_days": (last - first) / 86400,
                "approach": "tensorflow_linear_buckets",
            },
            "features_version": "1",
            "features_count": len(FIELDS),
        },
    }


# --------------------------------------------------------------------------------------------- model


class TextEmbedding(keras.Model):
    """String lookup without a mask token, then an embedding; row 0 is out-of-vocabulary."""

    def __init__(self, values, dim):
        super().__init__()
        self.lookup = L.StringLookup(vocabulary=values, mask_token=None)
        self.embedding = L.Embedding(len(values) + 1, dim)
        ids = self.lookup(tf.constant(values)).numpy()
        assert (ids == np.arange(1, len(values) + 1)).all(), "value i of the list must have id i + 1"
        assert self.lookup(tf.constant(["\x00 never seen"])).numpy()[0] == 0

    def call(self, x):
        return self.embedding(self.lookup(x))


def cyclical_time(timestamp):
    """Sine and cosine of day of week, week of year, day of month and month, all in float32."""
    days = tf.cast(timestamp, tf.float32) / 86400.0
    phases = ((days + 3) % 7 / 7, days / 7 % 52 / 52, days % 30.44 / 30.44, days / 30.44 % 12 / 12)
    columns = []
    for phase in phases:
        columns += [tf.sin(2 * math.pi * phase), tf.cos(2 * math.pi * phase)]
    return tf.stack(columns, 1)


class Query(keras.Model):
    """Features of the customer -> the input columns of the query tower."""

    def __init__(self, vocabularies, revenue):
        super().__init__()
        revenue_buckets, timestamp_buckets = (
            vocabularies["revenue_buckets"],
            vocabularies["timestamp_buckets"],
        )
        self.customer = TextEmbedding(vocabularies["customer_id"], 64)
        self.city = TextEmbedding(vocabularies["city"], 16)
        self.revenue_bucket = L.Discretization(revenue_buckets)
        self.revenue_embedding = L.Embedding(len(revenue_buckets) + 1, 32)
        self.normalise = L.Normalization(axis=None)
        self.normalise.adapt(revenue)
        self.timestamp_bucket = L.Discretization(timestamp_buckets)
        self.timestamp_embedding = L.Embedding(len(timestamp_buckets) + 1, 32)
        self.city_hash, self.city_cross = L.Hashing(CITY_BINS), L.Embedding(CITY_BINS + 1, 16)
        self.hour_hash, self.hour_cross = L.Hashing(HOUR_BINS), L.Embedding(HOUR_BINS + 1, 12)

    def call(self, x):
        bucket = self.revenue_bucket(x["revenue"])
        hour = x["timestamp"] // 3600
        city_key = tf.strings.join([x["customer_id"], "_x_", x["city"]])
        hour_key = tf.strings.join([tf.strings.as_string(bucket), "_x_", tf.strings.as_string(hour)])
        columns = [
            self.customer(x["customer_id"]),
            self.city(x["city"]),
            self.revenue_embedding(bucket),
            tf.reshape(self.normalise(x["revenue"]), (-1, 1)),
            self.city_cross(self.city_hash(city_key)),
            self.timestamp_embedding(self.timestamp_bucket(tf.cast(x["timestamp"], tf.float32))),
            cyclical_time(x["timestamp"]),
            self.hour_cross(self.hour_hash(hour_key)),
        ]
        return tf.concat(columns, 1)


class Candidate(keras.Model):
    """Features of the product -> the input columns of the candidate tower."""

    def __init__(self, vocabularies):
        super().__init__()
        self.product = TextEmbedding(vocabularies["product_id"], 32)
        self.category = TextEmbedding(vocabularies["category"], 16)
        self.subcategory = TextEmbedding(vocabularies["subcategory"], 24)

    def call(self, x):
        columns = [
            self.product(x["product_id"]),
            self.category(x["category"]),
            self.subcategory(x["subcategory"]),
        ]
        return tf.concat(columns, 1)


def tower(features):
    """Feature columns, then three linear layers, the first with an L1 penalty on its kernel."""
    first = L.Dense(UNITS[0], kernel_regularizer=keras.regularizers.l1(L1))
    return keras.Sequential([features, first, L.Dense(UNITS[1]), L.Dense(UNITS[2])])


class TwoTower(tfrs.Model):
    """Both towers under the summed in-batch softmax of `tfrs.tasks.Retrieval`."""

    def __init__(self, vocabularies, revenue):
        super().__init__()
        self.query = tower(Query(vocabularies, revenue))
        self.candidate = tower(Candidate(vocabularies))
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, x, training=False):
        return self.task(self.query(x), self.candidate(x), compute_metrics=False)


def named_variables(model):
    """Trainable variables by the names they have in the golden files."""
    query, candidate = model.query.layers[0], model.candidate.layers[0]
    variables = {
        "query.customer_id.embedding": query.customer.embedding.embeddings,
        "query.city.embedding": query.city.embedding.embeddings,
        "query.revenue_bucket.embedding": query.revenue_embedding.embeddings,
        "query.customer_id_x_city.embedding": query.city_cross.embeddings,
        "query.timestamp_bucket.embedding": query.timestamp_embedding.embeddings,
        "query.revenue_bucket_x_hour.embedding": query.hour_cross.embeddings,
        "candidate.product_id.embedding": candidate.product.embedding.embeddings,
        "candidate.category.embedding": candidate.category.embedding.embeddings,
        "candidate.subcategory.embedding": candidate.subcategory.embedding.embeddings,
    }
    for name, layers in (("query", model.query.layers), ("candidate", model.candidate.layers)):
        for i, dense in enumerate(layers[1:]):
            variables[f"{name}.dense_{i}.kernel"] = dense.kernel
            variables[f"{name}.dense_{i}.bias"] = dense.bias
    assert {id(v) for v in variables.values()} == {id(v) for v in model.trainable_variables}
    return variables


def assign_initial_weights(variables):
    """Uniform weights whose gradients matter, some of them above the clipping norm and some below.

    Small candidate vectors keep the gradients of the query's embeddings near 1; a wide bias at the end of
    the query tower keeps the logits apart all the same.
    """
    widths = {"candidate.dense_2.kernel": 0.015, "candidate.dense_2.bias": 0.02, "query.dense_2.bias": 3.0}
    rng = np.random.default_rng(SEED + 1)
    for name in sorted(variables):
        shape = tuple(variables[name].shape)
        if name.endswith(".embedding"):
            limit = 0.5
        elif name.endswith(".bias"):
            limit = 0.1
        else:
            limit = math.sqrt(6.0 / sum(shape))
        limit = widths.get(name, limit)
        variables[name].assign(rng.uniform(-limit, limit, shape).astype(np.float32))


# ---------------------------------------------------------------------------------------------- write


def dense(gradient):
    """A gradient as a plain array; the slices of equal rows are summed."""
    return tf.convert_to_tensor(gradient).numpy().astype(np.float32)


def snapshot(variables):
    return {name: np.ascontiguousarray(v.numpy()) for name, v in variables.items()}


class Recorder(keras.callbacks.Callback):
    """Keeps the weights and losses after each step of `fit`."""

    def __init__(self, variables):
        super().__init__()
        self.variables, self.weights, self.losses = variables, [], []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(snapshot(self.variables))
        self.losses.append(
            {
                "retrieval_loss": float(logs["loss"]),
                "l1_loss": float(logs["regularization_loss"]),
                "total_loss": float(logs["total_loss"]),
            }
        )


def first_gradients(model, variables, batch):
    """Gradients of step 1 as `tfrs.Model.train_step` takes them, before and after clipping."""
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True) + tf.reduce_sum(model.losses)
    names = list(variables)
    raw = tape.gradient(loss, [variables[n] for n in names])
    clipped = model.optimizer._clip_gradients(raw)
    norms = {}
    for name, gradient in zip(names, raw):
        sparse = isinstance(gradient, tf.IndexedSlices)
        values = gradient.values if sparse else gradient
        norm = float(tf.norm(tf.cast(values, tf.float64)))
        norms[name] = {"norm": norm, "clipped": norm > CLIP_NORM, "sparse": sparse}
    raw = {name: dense(g) for name, g in zip(names, raw)}
    return raw, {name: dense(g) for name, g in zip(names, clipped)}, norms


def settings_of(model):
    """What a test needs to know of the model and optimiser, as Keras holds it."""
    normalise, adam = model.query.layers[0].normalise, model.optimizer
    return {
        "made_with": {
            "tensorflow": tf.__version__,
            "tf_keras": keras.__version__,
            "tensorflow_recommenders": tfrs.__version__,
        },
        "batch_size": BATCH,
        "l1": L1,
        "optimizer": {
            "name": "adam",
            "learning_rate": float(adam.learning_rate),
            "beta_1": float(adam.beta_1),
            "beta_2": float(adam.beta_2),
            "epsilon": float(adam.epsilon),
            "clipnorm": float(adam.clipnorm),
        },
        "revenue_normalization": {
            "mean": float(normalise.mean.numpy().item()),
            "variance": float(normalise.variance.numpy().item()),
        },
        # A bias of the candidate tower adds the same number to all logits of a query, which the softmax
        # ignores: the true gradient is 0, and Adam blows what rounding leaves of it up to whole steps.
        "gradient_is_rounding_noise": [f"candidate.dense_{i}.bias" for i in range(len(UNITS))],
    }


def write(extract_path, out):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(SEED)
    out.mkdir(parents=True, exist_ok=True)

    columns = choose_rows(pd.read_parquet(extract_path))
    vocabularies = vocabularies_of(columns)
    tensors = {
        field: tf.constant(values.tolist()) if field in STRING_FIELDS else tf.constant(values)
        for field, values in columns.items()
    }
    dataset = tf.data.Dataset.from_tensor_slices(tensors).batch(BATCH)
    first_batch = next(iter(dataset))

    model = TwoTower(vocabularies, columns["revenue"])
    model.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE, clipnorm=CLIP_NORM))
    model.compute_loss(first_batch)  # builds the variables
    variables = named_variables(model)
    assign_initial_weights(variables)

    initial = snapshot(variables)
    embeddings = {
        "query.initial": model.query(first_batch).numpy(),
        "candidate.initial": model.candidate(first_batch).numpy(),
    }
    gradients, clipped, norms = first_gradients(model, variables, first_batch)
    recorder = Recorder(variables)
    model.fit(dataset, epochs=1, shuffle=False, verbose=0, callbacks=[recorder])
    assert len(recorder.weights) == STEPS
    embeddings["query.after_step_3"] = model.query(first_batch).numpy()
    embeddings["candidate.after_step_3"] = model.candidate(first_batch).numpy()

    expected = {**settings_of(model), "steps": recorder.losses, "gradient_norms_step_1": norms}
    write_json(out / "rows.json", {f: v.tolist() for f, v in columns.items()})
    write_json(out / "vocabularies.json", vocabularies)
    write_json(out / "expected.json", expected, indent=1)
    (out / "initial.safetensors").write_bytes(save(initial))
    (out / "after_step_1.safetensors").write_bytes(save(recorder.weights[0]))
    (out / "after_step_3.safetensors").write_bytes(save(recorder.weights[-1]))
    (out / "gradients_step_1.safetensors").write_bytes(save(gradients))
    (out / "clipped_gradients_step_1.safetensors").write_bytes(save(clipped))
    (out / "embeddings.safetensors").write_bytes(save(embeddings))


def write_json(path, value, indent=None):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


# --------------------------------------------------------------------------------------------- verify


def feature_ids(rows, vocabularies):
    """Row numbers of every embedding table, and the numeric columns, for all rows."""
    ids = {}
    for tower_name, fields in (
        ("query", ("customer_id", "city")),
        ("candidate", ("product_id", "category", "subcategory")),
    ):
        for field in fields:
            position = {value: i + 1 for i, value in enumerate(vocabularies[field])}
            ids[f"{tower_name}.{field}"] = np.array([position.get(v, 0) for v in rows[field]])
    revenue = np.array(rows["revenue"], np.float32)
    timestamp = np.array(rows["timestamp"], np.int64)
    revenue_buckets = np.array(vocabularies["revenue_buckets"], np.float32)
    timestamp_buckets = np.array(vocabularies["timestamp_buckets"], np.float32)
    bucket = np.searchsorted(revenue_buckets, revenue, side="right")
    time_bucket = np.searchsorted(timestamp_buckets, timestamp.astype(np.float32), side="right")
    city_keys = [f"{c}_x_{y}" for c, y in zip(rows["customer_id"], rows["city"])]
    hour_keys = [f"{b}_x_{t // 3600}" for b, t in zip(bucket, timestamp)]
    ids["query.revenue_bucket"] = bucket
    ids["query.timestamp_bucket"] = time_bucket
    ids["query.customer_id_x_city"] = tf.strings.to_hash_bucket_fast(city_keys, CITY_BINS).numpy()
    ids["query.revenue_bucket_x_hour"] = tf.strings.to_hash_bucket_fast(hour_keys, HOUR_BINS).numpy()
    deviation = revenue.astype(np.float64) - revenue.astype(np.float64).mean()
    normalised = deviation / max(math.sqrt((deviation**2).mean()), 1e-7)
    return ids, normalised[:, None], cyclical_time(timestamp).numpy().astype(np.float64)


QUERY_COLUMNS = (
    "query.customer_id",
    "query.city",
    "query.revenue_bucket",
    "normalised revenue",
    "query.customer_id_x_city",
    "query.timestamp_bucket",
    "cyclical time",
    "query.revenue_bucket_x_hour",
)
CANDIDATE_COLUMNS = ("candidate.product_id", "candidate.category", "candidate.subcategory")


def forward(weights, tower_name, parts):
    """Activations of one tower: [input, after dense_0, after dense_1, embedding]."""
    activations = [np.concatenate(parts, 1)]
    for i in range(len(UNITS)):
        kernel, bias = weights[f"{tower_name}.dense_{i}.kernel"], weights[f"{tower_name}.dense_{i}.bias"]
        activations.append(activations[-1] @ kernel + bias)
    return activations


def backward(weights, tower_name, activations, gradient, gradients):
    """Adds the gradients of the dense layers and returns the gradient of the tower's input."""
    for i in reversed(range(len(UNITS))):
        kernel = weights[f"{tower_name}.dense_{i}.kernel"]
        gradients[f"{tower_name}.dense_{i}.kernel"] = activations[i].T @ gradient
        gradients[f"{tower_name}.dense_{i}.bias"] = gradient.sum(0)
        gradient = gradient @ kernel.T
    gradients[f"{tower_name}.dense_0.kernel"] += L1 * np.sign(weights[f"{tower_name}.dense_0.kernel"])
    return gradient


def loss_and_gradients(weights, ids, numeric, rows):
    """Losses, embeddings, and gradients; of an embedding (row ids, un-summed values [batch, dim])."""
    parts, slices = {}, {}
    for tower_name, names in (("query", QUERY_COLUMNS), ("candidate", CANDIDATE_COLUMNS)):
        parts[tower_name] = [
            numeric[n][rows] if n in numeric else weights[f"{n}.embedding"][ids[n][rows]] for n in names
        ]
        ends = np.cumsum([p.shape[1] for p in parts[tower_name]])
        slices[tower_name] = [
            (n, slice(end - p.shape[1], end))
            for n, p, end in zip(names, parts[tower_name], ends)
            if n not in numeric
        ]
    activations = {name: forward(weights, name, parts[name]) for name in parts}
    query, candidate = activations["query"][-1], activations["candidate"][-1]
    logits = query @ candidate.T
    shifted = logits - logits.max(1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    retrieval = -np.trace(log_softmax)
    l1 = L1 * sum(np.abs(weights[f"{name}.dense_0.kernel"]).sum() for name in parts)
    d_logits = np.exp(log_softmax) - np.eye(len(logits))

    gradients = {}
    for name, gradient in (("query", d_logits @ candidate), ("candidate", d_logits.T @ query)):
        d_input = backward(weights, name, activations[name], gradient, gradients)
        for feature, columns in slices[name]:
            gradients[f"{feature}.embedding"] = (ids[feature][rows], d_input[:, columns])
    return (retrieval, l1), (query, candidate), gradients


def clip_and_sum(gradients, shapes, clip=True):
    """Clip each variable's gradient by its own norm, embeddings over un-summed rows; then sum equal rows."""
    result = {}
    for name, gradient in gradients.items():
        values = gradient[1] if isinstance(gradient, tuple) else gradient
        if clip:
            values = values * CLIP_NORM / max(np.linalg.norm(values), CLIP_NORM)
        if isinstance(gradient, tuple):
            table = np.zeros(shapes[name])
            np.add.at(table, gradient[0], values)
            values = table
        result[name] = values
    return result


def adam_step(weights, moments, gradients, step):
    """Keras's Adam in its dense form: every row decays and moves, also rows without a gradient."""
    alpha = LEARNING_RATE * math.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    for name, gradient in gradients.items():
        m, v = moments.setdefault(name, [np.zeros_like(gradient), np.zeros_like(gradient)])
        m += (gradient - m) * (1 - BETA_1)
        v += (gradient**2 - v) * (1 - BETA_2)
        weights[name] -= alpha * m / (np.sqrt(v) + EPSILON)


def compare(title, ours, theirs):
    """Print the largest absolute difference of each tensor beside its largest value."""
    print(title)
    for name in sorted(theirs):
        difference = np.abs(ours[name] - theirs[name]).max()
        scale = np.abs(theirs[name]).max()
        print(f"  {name:40} max |difference| {difference:.2e}   max |value| {scale:.2e}")


def verify(folder):
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    vocabularies = json.loads((folder / "vocabularies.json").read_text(encoding="utf-8"))
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    ids, normalised, cyclical = feature_ids(rows, vocabularies)
    numeric = {"normalised revenue": normalised, "cyclical time": cyclical}

    def load(name):
        return {k: v.astype(np.float64) for k, v in load_file(folder / f"{name}.safetensors").items()}

    weights, moments, stored = load("initial"), {}, load("embeddings")
    start = {k: v.copy() for k, v in weights.items()}
    shapes = {k: v.shape for k, v in weights.items()}
    for step in range(1, STEPS + 1):
        batch = slice((step - 1) * BATCH, step * BATCH)
        losses, embedded, gradients = loss_and_gradients(weights, ids, numeric, batch)
        told = expected["steps"][step - 1]
        print(f"step {step}: retrieval {losses[0]:.4f} {told['retrieval_loss']:.4f}", end="   ")
        print(f"L1 {losses[1]:.5f} {told['l1_loss']:.5f}")
        if step == 1:
            initial = {"query.initial": embedded[0], "candidate.initial": embedded[1]}
            compare("embeddings", initial, {k: stored[k] for k in initial})
            compare("gradients", clip_and_sum(gradients, shapes, clip=False), load("gradients_step_1"))
            compare("clipped", clip_and_sum(gradients, shapes), load("clipped_gradients_step_1"))
        adam_step(weights, moments, clip_and_sum(gradients, shapes), step)
        if step in (1, STEPS):
            compare(f"weights after step {step}", weights, load(f"after_step_{step}"))
    target = load(f"after_step_{STEPS}")
    print("share of values whose movement over the steps differs by more than 1e-4 relative:")
    for name in sorted(target):
        moved = target[name] - start[name]
        difference = np.abs(weights[name] - target[name])
        off = difference > 1e-4 * np.abs(moved) + 1e-7
        print(f"  {name:40} {off.mean():.5f}  of {off.size}, largest {difference.max():.2e}")
    _, embedded, _ = loss_and_gradients(weights, ids, numeric, slice(0, BATCH))
    final = {"query.after_step_3": embedded[0], "candidate.after_step_3": embedded[1]}
    compare("embeddings", final, {k: stored[k] for k in final})
    # Of the candidate tower's biases only rounding noise decides, so its vectors agree up to one shift.
    theirs = stored["candidate.after_step_3"]
    centred = np.abs(embedded[1] - embedded[1].mean(0) - (theirs - theirs.mean(0))).max()
    print(f"  candidate.after_step_3 less its mean row: max |difference| {centred:.2e}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("extract", nargs="?", help="extracted Parquet table (not with --verify)")
    parser.add_argument("folder", type=Path, help="folder of the golden files")
    parser.add_argument("--verify", action="store_true", help="check the files in FOLDER with NumPy")
    arguments = parser.parse_args()
    if arguments.verify:
        verify(arguments.folder)
    elif arguments.extract is None:
        parser.error("EXTRACT is needed to write the golden files")
    else:
        write(arguments.extract, arguments.folder)


if __name__ == "__main__":
    main()
