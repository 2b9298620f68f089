"""Digest of the values that TensorFlow reads from a gzip TFRecord file of the extract.

    shard_values.py SHARD OUT.json

SHA-256 over one line a record, in file order: `cust_person_id \t city \t revenue as 8 hex digits of the f32 bits \t
timestamp \t product_id \t art_name \t stratbuy_domain_desc \t mge_main_cat_desc \n`.
"""

import hashlib
import json
import os
import struct
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

TEXT = ("cust_person_id", "city", "art_name", "stratbuy_domain_desc", "mge_main_cat_desc")
SPEC = {name: tf.io.FixedLenFeature([], tf.string) for name in TEXT}
SPEC |= {name: tf.io.FixedLenFeature([], tf.int64) for name in ("timestamp", "product_id")}
SPEC["revenue"] = tf.io.FixedLenFeature([], tf.float32)

digest, rows = hashlib.sha256(), 0
for record in tf.data.TFRecordDataset(sys.argv[1], compression_type="GZIP"):
    row = {key: value.numpy() for key, value in tf.io.parse_single_example(record, SPEC).items()}
    revenue = struct.pack(">f", row["revenue"]).hex().encode()
    number = lambda key: str(int(row[key])).encode()
    line = [row["cust_person_id"], row["city"], revenue, number("timestamp"), number("product_id")]
    line += [row["art_name"], row["stratbuy_domain_desc"], row["mge_main_cat_desc"]]
    digest.update(b"\t".join(line) + b"\n")
    rows += 1
with open(sys.argv[2], "w") as out:
    json.dump({"rows": rows, "sha256": digest.hexdigest()}, out, indent=1)
    out.write("\n")
