"""`recs`, run as a user runs it, in a folder of its own."""

import json
import pathlib
import resource
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SCHEMA = '\n[schema.records]\ncustomer_id = "cust_person_id"\n'


def tenant(recs, folder, data):
    """A folder with recs.toml and the log."""
    folder.mkdir(parents=True)
    for name in ("transactions.parquet", "products.parquet"):
        shutil.copy(data / name, folder / name)
    run(recs, folder, "init")
    with open(folder / "recs.toml", "a") as config:
        config.write(SCHEMA)
    return folder


def run(recs, folder, *arguments, check=True):
    """Runs a command; gives its JSON, its seconds and the largest resident memory of any child so far in MiB."""
    begin = time.time()
    done = subprocess.run([recs, *arguments, "--json"], cwd=folder, capture_output=True, text=True)
    if check and done.returncode != 0:
        sys.exit(f"FAILED: recs {' '.join(arguments)}: {done.stderr}")
    lines = done.stdout.strip().splitlines()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return (json.loads(lines[-1]) if lines else {}), time.time() - begin, peak
