"""The usual stack as a serving peer: FastAPI + a TensorFlow SavedModel signature called once per customer.

    python tf_serve.py build EXTRACT.parquet DIR
    MODEL=DIR python -m uvicorn tf_serve:app --port 9090

Weights are random (speed does not depend on them); sizes, features and answers are those of the extract.
POST /recommend        {"customer_id","city","revenue","timestamp","num_recommendations"}
POST /recommend-batch  {"requests":[...],"num_recommendations"}
"""

import os
import sys
import time

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf


def build(data, out):
    import math

    import pandas as pd
    import tf_keras as keras

    L = keras.layers
    d = pd.read_parquet(data)
    cust, city, prod = (sorted(set(d[c].astype(str))) for c in ("cust_person_id", "city", "product_id"))
    rb, tb = (
        np.linspace(float(d.revenue.min()), float(d.revenue.max()), 1000).tolist(),
        np.linspace(float(d.timestamp.min()), float(d.timestamp.max()), 90).tolist(),
    )

    class Serve(tf.Module):

        def __init__(self):
            s = self
            e = lambda n, k: L.Embedding(n, k)
            s.lc, s.ly = (
                L.StringLookup(vocabulary=cust, mask_token=None),
                L.StringLookup(vocabulary=city, mask_token=None),
            )
            s.ec, s.ey, s.er, s.et, s.e1, s.e2 = (
                e(len(cust) + 1, 64),
                e(len(city) + 1, 16),
                e(1001, 32),
                e(91, 32),
                e(5001, 16),
                e(3001, 12),
            )
            s.dr, s.dt, s.h1, s.h2 = (
                L.Discretization(rb),
                L.Discretization(tb),
                L.Hashing(5000),
                L.Hashing(3000),
            )
            s.mu, s.sd = (float(d.revenue.mean()), float(d.revenue.std(ddof=0)))
            s.mlp = [L.Dense(128), L.Dense(64), L.Dense(32)]
            s.cand, s.ids = (
                tf.Variable(np.random.default_rng(0).standard_normal((len(prod), 32)).astype("f4")),
                tf.constant(prod),
            )

        @tf.function(
            input_signature=[
                tf.TensorSpec([], tf.string, "customer_id"),
                tf.TensorSpec([], tf.string, "city"),
                tf.TensorSpec([], tf.float32, "revenue"),
                tf.TensorSpec([], tf.int64, "timestamp"),
            ]
        )
        def serve(self, customer_id, city, revenue, timestamp):
            s = self
            c, y, r, t = (tf.expand_dims(v, 0) for v in (customer_id, city, revenue, timestamp))
            days = tf.cast(t, tf.float32) / 86400.0
            cyc = []
            for ph in ((days + 3) % 7 / 7, days / 7 % 52 / 52, days % 30.44 / 30.44, days / 30.44 % 12 / 12):
                cyc += [tf.sin(2 * math.pi * ph), tf.cos(2 * math.pi * ph)]
            b = s.dr(r)
            x = tf.concat(
                [
                    s.ec(s.lc(c)),
                    s.ey(s.ly(y)),
                    s.er(b),
                    tf.reshape((r - s.mu) / s.sd, (-1, 1)),
                    s.e1(s.h1(tf.strings.join([c, "_x_", y]))),
                    s.et(s.dt(tf.cast(t, tf.float32))),
                    tf.stack(cyc, 1),
                    s.e2(
                        s.h2(
                            tf.strings.join([tf.strings.as_string(b), "_x_", tf.strings.as_string(t // 3600)])
                        )
                    ),
                ],
                1,
            )
            for m in s.mlp:
                x = m(x)
            v, i = tf.nn.top_k(tf.squeeze(tf.matmul(x, s.cand, transpose_b=True), 0), 100)
            return {"product_ids": tf.gather(s.ids, i), "scores": v}

    m = Serve()
    m.serve(tf.constant("1"), tf.constant("x"), tf.constant(1.0), tf.constant(0, tf.int64))
    tf.saved_model.save(m, out, signatures={"serving_default": m.serve})


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "build":
        sys.exit(__doc__)
    build(sys.argv[2], sys.argv[3])
    sys.exit()
from typing import List, Optional

from fastapi import FastAPI
from pydantic import BaseModel, Field

_m = tf.saved_model.load(os.environ["MODEL"]) if "MODEL" in os.environ else None
f = _m.signatures["serving_default"] if _m else None


class One(BaseModel):
    customer_id: str
    city: str
    revenue: float
    timestamp: Optional[int] = None
    num_recommendations: int = Field(100, ge=1, le=100)


class Many(BaseModel):
    requests: List[One] = Field(min_length=1, max_length=1000)
    num_recommendations: int = 100


app = FastAPI()


def ask(r, k):
    o = f(
        customer_id=tf.constant(r.customer_id),
        city=tf.constant(r.city),
        revenue=tf.constant(r.revenue),
        timestamp=tf.constant(r.timestamp or int(time.time()), tf.int64),
    )
    return [
        {"product_id": p.decode(), "score": float(s), "rank": i + 1}
        for i, (p, s) in enumerate(zip(o["product_ids"].numpy()[:k], o["scores"].numpy()[:k]))
    ]


@app.post("/recommend")
async def one(r: One):
    return {"recommendations": ask(r, r.num_recommendations), "model_version": "peer"}


@app.post("/recommend-batch")
async def many(b: Many):
    return {
        "results": [
            {"customer_id": r.customer_id, "recommendations": ask(r, b.num_recommendations)}
            for r in b.requests
        ]
    }
