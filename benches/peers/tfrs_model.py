"""The two-tower model of the usual TensorFlow Recommenders programs, the one our `reference` preset reproduces.

  query tower    customer embedding 64, city 16, revenue bucket 32, normalised revenue 1, customer x city
                 hashed to 5000 bins -> 16, timestamp bucket 32, cyclical time 8, revenue bucket x hour
                 hashed to 3000 bins -> 12
  candidate      product 32, category 16, subcategory 24
  both           Dense 128 -> 64 -> 32, linear, no normalisation; L1 0.02 on the first kernel
"""

import math
import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf
import tf_keras as keras

L = keras.layers
VOCABULARIES = ("customer_id", "city", "product_id", "category", "subcategory")


def boundaries(lowest, highest, count):
    return np.linspace(float(lowest), float(highest), count).tolist()


def embedding(vocabulary, width):
    """A text's row of a table; row 0 is that of unknown texts."""
    return keras.Sequential(
        [L.StringLookup(vocabulary=vocabulary, mask_token=None), L.Embedding(len(vocabulary) + 1, width)]
    )


def cyclical(timestamp):
    days = tf.cast(timestamp, tf.float32) / 86400.0
    waves = []
    for phase in ((days + 3) % 7 / 7, days / 7 % 52 / 52, days % 30.44 / 30.44, days / 30.44 % 12 / 12):
        waves += [tf.sin(2 * math.pi * phase), tf.cos(2 * math.pi * phase)]
    return tf.stack(waves, 1)


class Query(keras.Model):
    """`revenue_norm` is an adapted Normalization layer."""

    def __init__(self, vocabularies, revenue_boundaries, timestamp_boundaries, revenue_norm):
        super().__init__()
        self.customer = embedding(vocabularies["customer_id"], 64)
        self.city = embedding(vocabularies["city"], 16)
        self.revenue_bucket = L.Discretization(revenue_boundaries)
        self.revenue = L.Embedding(len(revenue_boundaries) + 1, 32)
        self.revenue_norm = revenue_norm
        self.time_bucket = L.Discretization(timestamp_boundaries)
        self.time = L.Embedding(len(timestamp_boundaries) + 1, 32)
        self.customer_city_hash, self.customer_city = L.Hashing(5000), L.Embedding(5001, 16)
        self.revenue_hour_hash, self.revenue_hour = L.Hashing(3000), L.Embedding(3001, 12)

    def call(self, x):
        bucket = self.revenue_bucket(x["revenue"])
        customer_city = tf.strings.join([x["customer_id"], "_x_", x["city"]])
        hour = tf.strings.as_string(x["timestamp"] // 3600)
        revenue_hour = tf.strings.join([tf.strings.as_string(bucket), "_x_", hour])
        return tf.concat(
            [
                self.customer(x["customer_id"]),
                self.city(x["city"]),
                self.revenue(bucket),
                tf.reshape(self.revenue_norm(x["revenue"]), (-1, 1)),
                self.customer_city(self.customer_city_hash(customer_city)),
                self.time(self.time_bucket(tf.cast(x["timestamp"], tf.float32))),
                cyclical(x["timestamp"]),
                self.revenue_hour(self.revenue_hour_hash(revenue_hour)),
            ],
            1,
        )


class Candidate(keras.Model):

    def __init__(self, vocabularies):
        super().__init__()
        self.product = embedding(vocabularies["product_id"], 32)
        self.category = embedding(vocabularies["category"], 16)
        self.subcategory = embedding(vocabularies["subcategory"], 24)

    def call(self, x):
        return tf.concat(
            [
                self.product(x["product_id"]),
                self.category(x["category"]),
                self.subcategory(x["subcategory"]),
            ],
            1,
        )


def tower(features, activation=None):
    return keras.Sequential(
        [
            features,
            L.Dense(128, activation, kernel_regularizer=keras.regularizers.l1(0.02)),
            L.Dense(64, activation),
            L.Dense(32),
        ]
    )


def optimizer():
    return keras.optimizers.Adam(0.001, clipnorm=1.0)
