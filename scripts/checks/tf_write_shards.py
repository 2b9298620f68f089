#!/usr/bin/env python3
"""Write a table as gzip TFRecord shards with TensorFlow's own writer, for our reader to open.

    tf_write_shards.py TABLE.parquet OUT_DIR [--rows N] [--shards K]

Writes data-NNNNN-of-NNNNN.tfrecord.gz: the first N rows in contiguous runs, one feature a column, named as
the column. product_id and timestamp are int64, revenue is float, every other column bytes in UTF-8. Prints
one JSON line. Needs tensorflow-cpu and pyarrow.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pyarrow.parquet as pq
import tensorflow as tf


def bytes_feature(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))


def int64_feature(value):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def float_feature(value):
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


FEATURES = {"product_id": int64_feature, "revenue": float_feature, "timestamp": int64_feature}


def write_shard(path, rows):
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for row in rows:
            features = {name: FEATURES.get(name, bytes_feature)(value) for name, value in row.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, metavar="TABLE.parquet")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--rows", type=int, help="write the first N rows only")
    parser.add_argument("--shards", type=int, default=1, help="number of shards (default 1)")
    arguments = parser.parse_args()

    table = pq.read_table(arguments.table)
    if arguments.rows is not None:
        table = table.slice(0, arguments.rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    start, count = time.time(), arguments.shards
    for shard in range(count):
        first, end = len(table) * shard // count, len(table) * (shard + 1) // count
        path = arguments.out / f"data-{shard:05}-of-{count:05}.tfrecord.gz"
        write_shard(path, table.slice(first, end - first).to_pylist())
    seconds = time.time() - start
    print(json.dumps({"shards": count, "rows": len(table), "rows_per_s": round(len(table) / seconds)}))


if __name__ == "__main__":
    main()
