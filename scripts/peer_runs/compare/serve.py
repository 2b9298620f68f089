"""Serving over HTTP against FastAPI and TensorFlow: requests a second, latency, a batch of a thousand.

Both sides answer on loopback from models of the same sizes: ours is trained for an epoch on the extract, the peer's weights are
random. The load generator has one thread and 8 connections and shares the two cores with the server; every request differs and
every answer is counted as right only with status 200 and a hundred products. Nothing is cached by request.

1. recommend  requests a second and the 99th percentile, presets reference and recommended, the peer with one and two workers,
              the better counting; asked by peer-load, and by wrk with recommend.lua. That script looks at every byte of an
              answer, which keeps its core busy long before our server is: what it reaches at most is measured with a server
              that always sends one prepared answer
2. batch      POST /recommend-batch, 1000 customers x 100 products: milliseconds until the last byte is read

wrk is installed by apt-get when it is missing. --quick measures 3 seconds instead of 10 a run.
"""

import http.client
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time

from .. import in_turn
from ..workplace import PEERS

PACKAGES = ("tensorflow-cpu", "tf-keras", "pandas", "pyarrow", "fastapi", "uvicorn")
PRESETS = ("reference", "recommended")
WORKERS = (1, 2)
WARM_UP_S, RUN_S, QUICK_S = 2, 10, 3
OUR_BATCHES = 15
START_S = 180


def add_options(parser):
    parser.add_argument("--only", choices=("recommend", "batch"), nargs="+", default=("recommend", "batch"))


def run(workplace, results, options):
    install_wrk(results)
    python = workplace.python("serve", PACKAGES)
    stores = {preset: store(workplace, preset) for preset in PRESETS}
    model = workplace.folder("tf-model")
    in_turn_quiet([python, PEERS / "tf_serve.py", "build", workplace.data(), model])
    peer = lambda workers: Peer(python, model, workers)
    ours = lambda preset, *how: Ours(workplace.binary("peer-serve"), stores[preset], *how)
    if "recommend" in options.only:
        for preset in PRESETS:
            recommend(results, options, preset, ours, peer, workplace.binary("peer-load"))
    if "batch" in options.only:
        batch(results, options, ours, peer)


def install_wrk(results):
    if not shutil.which("wrk"):
        results.say("installing wrk")
        subprocess.run(["apt-get", "install", "-qy", "wrk"], check=True, stdout=subprocess.DEVNULL)


def in_turn_quiet(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"FAILED: {' '.join(map(str, command))}\n{done.stderr[-4000:]}")


def store(workplace, preset):
    """A store with a model of the extract after one epoch."""
    binary, shards = workplace.binary("peer-train"), workplace.folder(f"shards-{preset}")
    out = workplace.folder(f"store-{preset}")
    in_turn.run([binary, "shards", "--data", workplace.data(), "--out", shards, "--count", 4])
    in_turn.run([binary, "pipeline", "--shards", shards, "--preset", preset, "--epochs", 1, "--out", out])
    return out


class Ours:
    name = "recs"

    def __init__(self, binary, store, *how):
        command = [str(binary), "--store", str(store), *how]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = json.loads(self.process.stdout.readline())["port"]

    def end(self):
        self.process.stdin.close()
        self.process.wait(30)


class Peer:
    def __init__(self, python, model, workers):
        self.name = f"FastAPI + TensorFlow, {workers} worker{'s' if workers > 1 else ''}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [python, "-m", "uvicorn", "tf_serve:app", "--host", "127.0.0.1", "--port", self.port]
        command += ["--workers", workers, "--log-level", "error", "--no-access-log"]
        environment = os.environ | {"MODEL": str(model)}
        command = [str(part) for part in command]
        self.process = subprocess.Popen(command, cwd=PEERS, env=environment, stderr=subprocess.DEVNULL)
        self.wait()

    def wait(self):
        begin = time.monotonic()
        while time.monotonic() - begin < START_S:
            try:
                return ask(self.port, "/recommend", customer())
            except (OSError, http.client.HTTPException):
                time.sleep(0.5)
        sys.exit(f"FAILED: {self.name} does not answer")

    def end(self):
        self.process.terminate()
        self.process.wait(30)


def customer():
    return {
        "customer_id": str(random.randint(1, 2469)),
        "city": f"store_{random.randint(280, 450)}",
        "revenue": round(random.random() * 5000, 2),
        "timestamp": 1506988800 + random.randint(0, 7775999),
    }


def ask(port, path, body):
    """The bytes of an answer and the milliseconds until the last one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    text, headers = json.dumps(body), {"Content-Type": "application/json"}
    connection.connect()
    begin = time.perf_counter()
    connection.request("POST", path, text, headers)
    response = connection.getresponse()
    answer = response.read()
    took = (time.perf_counter() - begin) * 1e3
    connection.close()
    if response.status != 200:
        raise SystemExit(f"FAILED: {path} answered {response.status}: {answer[:500]}")
    return answer, took


def wrk(port, seconds):
    """Requests a second and the 99th percentile in milliseconds, asked by wrk."""
    command = ["wrk", "-t1", "-c8", f"-d{seconds}s", "--latency", "-s", str(PEERS / "recommend.lua")]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    if "bad answer" in done.stdout or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"FAILED: wrong answers under load\n{done.stdout}")
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout).groups()
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout).group(1))
    return rate, float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


def recommend(results, options, preset, ours, peer, load_binary):
    """Servers are started and ended in turn, so that none rests beside another."""

    def load(port, seconds):
        answer, _ = in_turn.run([load_binary, "--port", port, "--seconds", seconds])
        return answer["rate"], answer["p99_ms"]

    generators = {"peer-load": load, "wrk": wrk}
    seconds = QUICK_S if options.quick else RUN_S
    sides = ("ours", "prepared", *WORKERS)
    found = {generator: {side: [] for side in sides} for generator in generators}
    names = {}
    for turn in range(options.pairs):
        for side in sides if turn % 2 == 0 else reversed(sides):
            server = peer(side) if side in WORKERS else ours(preset, *(["--prepared"] if side == "prepared" else []))
            names[side] = server.name
            load(server.port, WARM_UP_S)
            for generator, asks in generators.items():
                found[generator][side].append(asks(server.port, seconds))
            server.end()
    for generator, measured in found.items():
        column = lambda side, i: [run[i] for run in measured[side]]
        rate = lambda side: statistics.median(column(side, 0))
        for workers in WORKERS:
            results.say(f"  {names[workers]}, asked by {generator}: {rate(workers):.0f} requests/s")
        results.say(f"  a server that sends one prepared answer, asked by {generator}: {rate('prepared'):.0f} requests/s")
        best = max(WORKERS, key=rate)
        what = f"/recommend, {preset}, 8 connections, {generator}"
        results.pairs(what, "requests/s", names[best], column("ours", 0), column(best, 0))
        results.pairs(f"{what}, p99", "ms", names[best], column("ours", 1), column(best, 1), more_is_better=False)


def batch(results, options, ours, peer):
    """One request of a thousand customers at a time; the first of each server is not counted."""
    body = lambda: {"requests": [customer() for _ in range(1000)], "num_recommendations": 100}
    for preset in PRESETS:
        mine, theirs = [], []
        for _ in range(options.pairs):
            server = ours(preset)
            ask(server.port, "/recommend-batch", body())
            took = [check(ask(server.port, "/recommend-batch", body())) for _ in range(OUR_BATCHES)]
            mine.append(statistics.median(took))
            server.end()
            server = peer(1)
            theirs.append(check(ask(server.port, "/recommend-batch", body())))
            name = server.name
            server.end()
        what = f"/recommend-batch, 1000 x 100, preset {preset}"
        results.pairs(what, "ms", name, mine, theirs, more_is_better=False)


def check(answer_and_took):
    answer, took = answer_and_took
    lists = [len(result["recommendations"]) for result in json.loads(answer)["results"]]
    if lists != [100] * 1000:
        sys.exit("FAILED: a list is short")
    return took
