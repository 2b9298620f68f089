"""Lists for a great many customers at once: memory that does not grow with them, and kills that cost a part each."""

import json
import random
import subprocess
import sys
import time

from .kills import killed
from .program import run

# Of a run that is four times as long, beside the short one's: what grows with the requests would be four times as much.
MOST_GROWTH = 1.25


def requests(path, count):
    """Known customers and strangers, each at the same time: without one a run goes by the clock."""
    with open(path, "w") as out:
        for i in range(count):
            ask = {"customer_id": str(1 + i % 3000), "city": "store_330", "revenue": float(i % 500), "timestamp": 1514764800}
            out.write(json.dumps({**ask, "num_recommendations": 100}) + "\n")


def measured(recs, folder, *arguments):
    """Runs a command; gives its JSON and the most memory of its own (RssAnon, MiB) that it was seen with."""
    process = subprocess.Popen([recs, *arguments, "--json"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    most = 0
    while process.poll() is None:
        try:
            status = open(f"/proc/{process.pid}/status").read()
        except OSError:
            break
        most = max([most, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))])
        time.sleep(0.02)
    out, err = process.communicate()
    if process.returncode != 0:
        sys.exit(f"FAILED: bulk: recs {' '.join(arguments)}: {err}")
    return json.loads(out.strip().splitlines()[-1]), most / 1024


def bulk(recs, folder, count):
    run(recs, folder, "extract")
    run(recs, folder, "dataset", "--run-id", "base")
    run(recs, folder, "vocab")
    run(recs, folder, "train", "--epochs", "2", "--version", "v1")
    found = {}
    for name, lists in (("short", count), ("long", 4 * count)):
        requests(folder / f"{name}.jsonl", lists)
        answer, most = measured(recs, folder, "recommend-all", "--model", "v1", "--run", name, "--requests", f"{name}.jsonl")
        metadata = answer["metadata"]
        if metadata["requests"] != lists or metadata["items"] != 100 * lists:
            sys.exit(f"FAILED: bulk: {metadata['requests']} lists with {metadata['items']} products of {lists} that were asked for")
        print(f"bulk: {lists} lists of 100 in {answer['seconds']:.1f} s, {lists / answer['seconds']:.0f} a second, RssAnon {most:.0f} MiB at most")
        found[name] = (answer, most)
    if found["long"][1] > MOST_GROWTH * found["short"][1]:
        sys.exit("FAILED: bulk: memory grows with the lists")
    (whole, _), hit = found["long"], 0
    for _ in range(3):
        pieces = ("recommend-all", "--model", "v1", "--run", "pieces", "--requests", "long.jsonl")
        hit += killed(recs, folder, random.uniform(0.2, 0.4) * whole["seconds"], *pieces)
    answer, _, _ = run(recs, folder, *pieces)
    if answer["metadata"]["parts"] != whole["metadata"]["parts"]:
        sys.exit(f"FAILED: bulk: after {hit} kills the files are others")
    print(f"bulk: killed {hit} times, {answer['resumed']} parts were there already, the same files bit for bit")
