"""Checks the last line that the quickstart prints with --json: every key, the extract's sizes, and better than popularity."""

import json
import sys

EXPECTED = {"rows": 275489, "customers": 2240, "products": 9667, "cities": 143}
KEYS = {*EXPECTED, "train_examples_per_s", "recall_at_100", "towers_recall_at_100", "popularity_recall_at_100", "seconds"}

measured = json.loads(sys.stdin.read())
if set(measured) != KEYS:
    sys.exit(f"quickstart: keys differ: {sorted(set(measured) ^ KEYS)}")
wrong = {key: measured[key] for key, value in EXPECTED.items() if measured[key] != value}
if wrong:
    sys.exit(f"quickstart: {wrong}, expected {EXPECTED}")
if not measured["recall_at_100"] > measured["popularity_recall_at_100"] > 0:
    sys.exit(f"quickstart: the model does not beat popularity: {measured}")
print("quickstart: sizes are right, the model beats popularity")
