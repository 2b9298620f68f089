#!/usr/bin/env python3
"""TensorFlow as judge of our shards: does it read every value of every row, in order, as the table has it?

    tf_read_shards.py SHARD_DIR TABLE.parquet [--json]

SHARD_DIR holds data-NNNNN-of-NNNNN.tfrecord.gz. Record names are the column names of the table; product_id
is int64, revenue float32 (compared bit by bit), timestamp int64, every other column bytes in UTF-8. Prints
one JSON line, with --json nothing else. Exit status 1 and a message on the first difference.
Needs tensorflow-cpu, pyarrow and numpy.
"""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

NUMBERS = {"product_id": tf.int64, "revenue": tf.float32, "timestamp": tf.int64}
SHARD_NAME = re.compile(r"data-(\d{5})-of-(\d{5})\.tfrecord\.gz")
BATCH = 4096


class Difference(Exception):
    """The shards are not what the table says."""


def shards_of(folder):
    """Paths of all shards in order; a gap or a stray count is a difference."""
    matches = [m for m in (SHARD_NAME.fullmatch(p.name) for p in sorted(folder.iterdir())) if m]
    if not matches:
        raise Difference(f"{folder}: no file is named data-NNNNN-of-NNNNN.tfrecord.gz")
    counts = {int(m[2]) for m in matches}
    numbers = [int(m[1]) for m in matches]
    if counts != {len(matches)} or numbers != list(range(len(matches))):
        raise Difference(f"{folder}: not one complete set of shards: {[m[0] for m in matches]}")
    return [folder / m[0] for m in matches]


def columns_of(path):
    """The table as numpy columns; text as UTF-8 bytes."""
    table = pq.read_table(path)
    columns = {}
    for name in table.column_names:
        values = table[name]
        if values.null_count:
            raise Difference(f"{path}: column {name} has {values.null_count} nulls")
        if name in NUMBERS:
            columns[name] = values.to_numpy().astype(NUMBERS[name].as_numpy_dtype, casting="same_kind")
        else:
            columns[name] = np.array([v.encode() for v in values.to_pylist()], dtype=object)
    return columns


def comparable(values):
    """Float columns by their bits, so that -0.0 and NaN count as what they are."""
    return values.view(np.uint32) if values.dtype == np.float32 else values


def compare(shard, first_in_shard, first_row, columns, batch):
    """Raise `Difference` at the first value of the batch that is not the table's."""
    size = len(next(iter(batch.values())))
    total = len(next(iter(columns.values())))
    if first_row + size > total:
        raise Difference(f"{shard.name}: more records than the {total} rows of the table")
    found = []
    for name, column in columns.items():
        want, got = column[first_row : first_row + size], batch[name].numpy()
        wrong = np.flatnonzero(comparable(want) != comparable(got))
        if len(wrong):
            found.append((int(wrong[0]), name, want[wrong[0]], got[wrong[0]]))
    if found:
        i, name, want, got = min(found, key=lambda difference: difference[0])
        place = f"{shard.name}, record {first_in_shard + i} (row {first_row + i} of the table)"
        raise Difference(f"{place}, {name}: the shard has {got!r}, the table {want!r}")
    return size


def check_record_names(shard, names):
    """Of the first record of a shard: FixedLenFeature would overlook a feature that the table lacks."""
    for record in tf.data.TFRecordDataset([str(shard)], compression_type="GZIP").take(1):
        found = set(tf.train.Example.FromString(record.numpy()).features.feature)
        if found != set(names):
            raise Difference(f"{shard.name}: record names {sorted(found)}, columns {sorted(names)}")


def check(folder, table):
    """Compare all shards of the folder with the table; returns the counts to print."""
    shards, columns = shards_of(folder), columns_of(table)
    spec = {name: tf.io.FixedLenFeature([], NUMBERS.get(name, tf.string)) for name in columns}
    row, sizes, start = 0, [], time.time()
    for shard in shards:
        check_record_names(shard, columns)
        records = tf.data.TFRecordDataset([str(shard)], compression_type="GZIP").batch(BATCH)
        in_shard = 0
        try:
            for batch in records.map(lambda serialized: tf.io.parse_example(serialized, spec)):
                size = compare(shard, in_shard, row, columns, batch)
                in_shard, row = in_shard + size, row + size
        except tf.errors.OpError as error:
            place = f"{shard.name}, in the {BATCH} records from record {in_shard}"
            raise Difference(f"{place}: {error.message}") from error
        sizes.append(in_shard)
    total = len(next(iter(columns.values())))
    if row != total:
        raise Difference(f"{folder}: {row} records in all, the table has {total} rows")
    return {
        "shards": len(shards),
        "rows": row,
        "columns": len(columns),
        "rows_per_shard": [min(sizes), max(sizes)],
        "rows_per_s": round(row / (time.time() - start)),
        "tensorflow": tf.__version__,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path, metavar="SHARD_DIR")
    parser.add_argument("table", type=Path, metavar="TABLE.parquet")
    parser.add_argument("--json", action="store_true", help="print the JSON line and nothing else")
    arguments = parser.parse_args()
    try:
        result = {"ok": True, **check(arguments.shards, arguments.table)}
    except Difference as difference:
        result = {"ok": False, "difference": str(difference)}
        if not arguments.json:
            print(difference, file=sys.stderr)
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()
