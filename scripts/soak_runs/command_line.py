"""Which parts, and with what."""

import argparse
import pathlib
import sys
import tempfile

from .bulk import bulk
from .connections import connections
from .fuzzing import fuzz
from .kills import checkpoints, kills, rivals
from .program import ROOT, run, tenant
from .size import large, size

PARTS = ("kills", "checkpoints", "rivals", "size", "large")
# They need a nightly toolchain, or minutes of a machine that does nothing else.
ASKED_FOR = ("fuzz", "connections", "bulk")


def main(doc, arguments):
    ap = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--only", choices=PARTS + ASKED_FOR, action="append", help="this part; may be given several times")
    ap.add_argument("--kills", type=int, default=30)
    ap.add_argument("--times", type=int, default=10)
    ap.add_argument("--rows", type=int, default=50_000_000, help="rows of the part large")
    ap.add_argument("--memory-gib", type=float, default=8, help="of the part large, page cache included")
    ap.add_argument("--own-gib", type=float, default=2, help="of the part large, without mapped files")
    ap.add_argument("--targets", nargs="+", default=["index_file", "served_model", "request_json"], help="of the part fuzz")
    ap.add_argument("--fuzz-seconds", type=int, default=600, help="of each target")
    ap.add_argument("--keep", action="store_true", help="keep the minimised corpus of the part fuzz")
    ap.add_argument("--connections", type=int, default=10_000, help="idle ones in the part connections")
    ap.add_argument("--lists", type=int, default=100_000, help="of the short run in the part bulk; the long one has four times as many")
    ap.add_argument("--recs", default=ROOT / "target/release/recs", type=pathlib.Path)
    ap.add_argument("--train-large", default=ROOT / "target/release/train-large", type=pathlib.Path)
    ap.add_argument("--python", default=sys.executable)
    ap.add_argument("--scratch", help="folder for what is made, and removed at the end")
    args = ap.parse_args(arguments)
    parts = args.only or PARTS
    for program, package, needed in ((args.recs, "recs-cli", set(parts) - {"large", "fuzz"}), (args.train_large, "recs-benches", "large" in parts)):
        if needed and not program.exists():
            sys.exit(f"{program} is missing: cargo build --release -p {package} --bins")
    recs, train_large = str(args.recs.resolve()), str(args.train_large.resolve())
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        scratch = pathlib.Path(scratch)
        if {"kills", "checkpoints", "rivals"} & set(parts):
            small = tenant(recs, scratch / "small", ROOT / "examples/data")
            run(recs, small, "extract")
            _, dataset_s, _ = run(recs, small, "dataset", "--run-id", "base")
            run(recs, small, "vocab")
        if "kills" in parts:
            kills(recs, small, args.kills, dataset_s)
        if "checkpoints" in parts:
            checkpoints(recs, small)
        if "rivals" in parts:
            rivals(recs, small)
        if "size" in parts:
            size(recs, tenant(recs, scratch / "large", ROOT / "examples/data"), args.python, args.times)
        if "large" in parts:
            large(train_large, scratch / "rows", args.rows, args.memory_gib, args.own_gib)
        if "fuzz" in parts:
            for target in args.targets:
                fuzz(target, scratch, args.fuzz_seconds, args.keep)
        if "connections" in parts:
            connections(recs, tenant(recs, scratch / "served", ROOT / "examples/data"), args.connections)
        if "bulk" in parts:
            bulk(recs, tenant(recs, scratch / "bulk", ROOT / "examples/data"), args.lists)
