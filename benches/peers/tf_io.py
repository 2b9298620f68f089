"""TensorFlow as judge of our files.

python tf_io.py read  'DIR/*.tfrecord.gz'    parse every shard with tf.data; JSON: rows, rows/s, features seen
python tf_io.py write EXTRACT.parquet OUT.tfrecord.gz [ROWS]
                                             write the extract with TFRecordWriter; JSON: rows/s
python tf_io.py load  SAVED_MODEL_DIR        load with tf.saved_model.load; print the signatures
"""

import glob
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

least = {"read": 3, "write": 4, "load": 3}
if len(sys.argv) < 3 or len(sys.argv) < least.get(sys.argv[1], 1000):
    sys.exit(__doc__)
cmd = sys.argv[1]
if cmd == "read":
    files = sorted(glob.glob(sys.argv[2]))
    first = next(iter(tf.data.TFRecordDataset(files[:1], compression_type="GZIP").take(1))).numpy()
    ex = tf.train.Example.FromString(first)
    kind = {k: f.WhichOneof("kind") for k, f in ex.features.feature.items()}
    spec = {
        k: tf.io.FixedLenFeature(
            [], {"bytes_list": tf.string, "int64_list": tf.int64, "float_list": tf.float32}[v]
        )
        for k, v in kind.items()
    }
    t = time.time()
    n = 0
    for b in (
        tf.data.TFRecordDataset(files, compression_type="GZIP", num_parallel_reads=2)
        .batch(4096)
        .map(lambda s: tf.io.parse_example(s, spec), num_parallel_calls=2)
    ):
        n += int(next(iter(b.values())).shape[0])
    print(
        json.dumps(
            {"files": len(files), "rows": n, "rows_per_s": round(n / (time.time() - t)), "features": kind}
        )
    )
elif cmd == "write":
    import pandas as pd

    d = pd.read_parquet(sys.argv[2])
    d = d.head(int(sys.argv[4]) if len(sys.argv) > 4 else len(d))
    B = lambda s: tf.train.Feature(bytes_list=tf.train.BytesList(value=[s.encode()]))
    I = lambda v: tf.train.Feature(int64_list=tf.train.Int64List(value=[int(v)]))
    F = lambda v: tf.train.Feature(float_list=tf.train.FloatList(value=[float(v)]))
    t = time.time()
    with tf.io.TFRecordWriter(sys.argv[3], tf.io.TFRecordOptions(compression_type="GZIP")) as w:
        for r in d.to_dict("records"):
            w.write(
                tf.train.Example(
                    features=tf.train.Features(
                        feature={
                            k: B(v) if isinstance(v, str) else F(v) if k == "revenue" else I(v)
                            for k, v in r.items()
                        }
                    )
                ).SerializeToString()
            )
    print(json.dumps({"rows": len(d), "rows_per_s": round(len(d) / (time.time() - t))}))
else:
    m = tf.saved_model.load(sys.argv[2])
    for name, s in m.signatures.items():
        print(name, "IN", s.structured_input_signature[1], "OUT", s.structured_outputs)
