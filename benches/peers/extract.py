"""The 90-day extract that every comparison works on, made from the purchases in examples/data.

    python extract.py --out EXTRACT.parquet [--seed 7]

The rules and the digest that checks the rows are those of scripts/goldens/extract_digest.py; the rows come in an order
shuffled from the seed, so that the random split, which is by file order, has rows of every day in every part.
Prints one JSON line.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "examples/data"
GOLDEN = ROOT / "recs-etl/tests/data/complete_journey_extract.json"
sys.path.insert(0, str(ROOT / "scripts/goldens"))
import extract_digest


def check(table):
    """Refuses rows that are not those of the golden extraction, whatever their order."""
    digest = hashlib.sha256(b"".join(extract_digest.lines_of(table))).hexdigest()
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
    arguments = parser.parse_args()
    table, _ = extract_digest.extract(SOURCE)
    digest = check(table)
    shuffled(table, arguments.seed).to_parquet(arguments.out, index=False)
    print(json.dumps({"rows": len(table), "sha256": digest}))


if __name__ == "__main__":
    main()
