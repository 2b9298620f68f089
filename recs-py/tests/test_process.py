"""What needs a process of its own: Ctrl-C, the console script, a bare interpreter."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logs import groups

HERE = Path(__file__).parent
SCRIPT = Path(sysconfig.get_path("scripts")) / "recs"

FIT_FOR_EVER = """
import recs
from logs import ROLES, groups
ds = recs.Dataset.from_events(groups(), **ROLES)
model = recs.TwoTower(epochs=1, threads=1).fit(ds, show_progress=False)
before = model.recommend(["c0"], k=5, timestamp=0)
print("fitting", flush=True)
try:
    model.set_params(epochs=100_000, early_stopping=None).fit(ds, show_progress=False)
except KeyboardInterrupt:
    assert model.recommend(["c0"], k=5, timestamp=0) == before
    print("interrupted", flush=True)
"""


def test_an_interrupt_stops_the_fit_and_leaves_the_model_usable() -> None:
    process = subprocess.Popen([sys.executable, "-c", FIT_FOR_EVER], cwd=HERE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "fitting\n"
    time.sleep(0.5)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "interrupted\n"
    assert process.returncode == 0
    assert time.monotonic() - sent < 5


def test_progress_goes_to_stderr_and_only_when_asked_for() -> None:
    code = FIT_FOR_EVER.split("before =")[0]
    for shown in [False, True]:
        command = code.replace("show_progress=False", f"show_progress={shown}")
        done = python(command)
        assert (done.returncode, done.stdout) == (0, "")
        assert ("popularity" in done.stderr) == shown, done.stderr
        assert "\r" not in done.stderr


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Runs a program; a catalogue of a few products makes every list the same, of which a warning tells."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120, check=False)


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPT), *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False)


def test_the_console_script(tmp_path: Path) -> None:
    done = run("--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for command in ["extract", "dataset", "vocab", "train", "evaluate", "recommend", "serve"]:
        assert command in done.stdout
    assert run("no-such-command", folder=tmp_path).returncode == 2
    module = subprocess.run([sys.executable, "-m", "recs", "--version"], capture_output=True, text=True, check=True)
    assert module.stdout.startswith("recs ")
    failed = run("train", "--json", folder=tmp_path)
    assert failed.returncode == 1
    assert "recs.toml" in json.loads(failed.stdout.splitlines()[-1])["error"]


def test_what_the_console_script_writes_opens_in_python(tmp_path: Path) -> None:
    import recs

    log = groups(customers=12, products=20, days=30)
    table = {
        "customer_id": log["who"], "city": log["where"], "revenue": pa.array(log["spent"], pa.float32()),
        "timestamp": log["when"], "product_id": log["what"], "art_name": log["title"], "category": log["kind"],
        "subcategory": log["kind"],
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    (tmp_path / "recs.toml").write_text('tenant = "demo"\n[train]\nepochs = 1\nbatch = 64\n')
    assert run("dataset", "--input", "rows.parquet", "--run-id", "r", folder=tmp_path).returncode == 0
    done = run("train", "--version", "v", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    ds = recs.Dataset.from_tfrecords(tmp_path / "store" / "tenants" / "demo" / "datasets" / "r")
    assert len(ds) == 360
    model = recs.TwoTower.load(tmp_path / "store", tenant="demo", version="v")
    assert model.evaluate(ds).recall_at_100 == pytest.approx(json.loads(done.stdout.splitlines()[-1])["recall_at_100"])


def test_nothing_else_needs_to_be_installed() -> None:
    """The package works without pandas, polars, pyarrow and NumPy."""
    code = """
import sys
for name in ["numpy", "pandas", "polars", "pyarrow"]:
    sys.modules[name] = None
import recs
from logs import ROLES, groups
log = groups(customers=8, products=12, days=20)
model = recs.TwoTower(epochs=1).fit(recs.Dataset.from_events(log, **ROLES), show_progress=False)
print(model.recommend(["c0"], k=1)["rank"])
"""
    done = python(code)
    assert (done.stdout, done.stderr) == ("[1]\n", "")


def test_pandas_without_pyarrow() -> None:
    code = """
import sys
sys.modules["pyarrow"] = None
import pandas as pd, recs
from logs import ROLES, groups
frame = pd.DataFrame(groups(customers=8, products=12, days=20))
frame["when"] = pd.to_datetime(frame["when"], unit="s")
model = recs.TwoTower(epochs=1).fit(recs.Dataset.from_events(frame, **ROLES), show_progress=False)
answer = model.recommend(frame["who"].head(1), k=2)
assert answer["customer"].dtype == frame["who"].dtype and answer["product"].dtype == "int64"
frame.loc[3, "where"] = None
try:
    recs.Dataset.from_events(frame, **ROLES)
except recs.DataError as error:
    print(error.column, error.row)
"""
    done = python(code)
    assert (done.stdout, done.stderr) == ("where 3\n", "")


def test_a_forked_child_works() -> None:
    import recs
    from logs import ROLES

    log = groups(customers=8, products=12, days=20)
    model = recs.TwoTower(epochs=1).fit(recs.Dataset.from_events(log, **ROLES), show_progress=False)
    expected = model.recommend(["c0"], k=3, timestamp=0)["product"]
    code = """
import os, recs
from logs import ROLES, groups
recs.Dataset.from_events(groups(customers=8, products=12, days=20), **ROLES)
child = os.fork()
if child == 0:
    ds = recs.Dataset.from_events(groups(customers=8, products=12, days=20), **ROLES)
    print(recs.TwoTower(epochs=1).fit(ds, show_progress=False).recommend(["c0"], k=3, timestamp=0)["product"], flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    done = python(code)
    assert done.stdout == f"{expected}\n"


def test_a_forked_child_asks_the_model_of_its_parent() -> None:
    code = """
import os, recs
from logs import ROLES, groups
ds = recs.Dataset.from_events(groups(customers=8, products=12, days=20), **ROLES)
model = recs.TwoTower(epochs=1).fit(ds, show_progress=False)
expected = model.recommend(["c0"], k=3, timestamp=0)
child = os.fork()
if child == 0:
    for _ in range(2):
        assert model.recommend(["c0"], k=3, timestamp=0) == expected
    print("equal", flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    assert python(code).stdout == "equal\n"
