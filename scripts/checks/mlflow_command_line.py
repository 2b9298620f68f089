"""The command line beside a real MLflow server: what a training and a search leave there.

    mlflow_command_line.py RECS MLFLOW FOLDER
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

RECS, MLFLOW, FOLDER = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).absolute()
DATA = pathlib.Path(__file__).resolve().parents[2] / "examples" / "data"
SETTINGS = """
[search]
algorithm = { kind = "random", trials = 2 }

[search.space]
learning_rate = { kind = "log_uniform", low = 5e-3, high = 2e-2 }
"optimiser.embeddings.weight_decay" = { kind = "choice", values = [0.1, 0.3] }

[mlflow]
tracking_uri = "URL"
registered_model = "two-tower"
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def serve(port):
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{FOLDER}/mlflow.db", "--artifacts-destination", str(FOLDER / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = open(FOLDER / "mlflow.log", "wb")
    command = [MLFLOW, "server", *options, *stores]
    return subprocess.Popen(command, env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True)


def ask(url, path, body):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{url}/api/2.0/mlflow/{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def wait(url, server):
    for _ in range(2400):
        assert server.poll() is None, (FOLDER / "mlflow.log").read_text()
        try:
            return ask(url, "experiments/search", {"max_results": 1})
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError((FOLDER / "mlflow.log").read_text())


def recs(*arguments):
    done = subprocess.run([RECS, *arguments, "--json"], cwd=FOLDER, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def pairs(entries):
    return {entry["key"]: entry["value"] for entry in entries}


def check_training(url, told):
    assert told["mlflow"]["spooled"] == told["mlflow"]["refused"] == 0, told["mlflow"]
    run = ask(url, "runs/get?run_id=" + told["mlflow"]["run_id"], None)["run"]
    metrics, params = pairs(run["data"]["metrics"]), pairs(run["data"]["params"])
    assert run["info"]["status"] == "FINISHED", run["info"]
    assert metrics["test_recall_at_100"] == told["recall_at_100"], (metrics, told)
    assert params["epochs"] == "1" and params["preset"] == "recommended", params
    versions = ask(url, "model-versions/search?filter=name%3D%27demo.two-tower%27", None)["model_versions"]
    assert [version["run_id"] for version in versions] == [told["mlflow"]["run_id"]], versions


def check_search(url, told):
    assert told["mlflow"]["spooled"] == told["mlflow"]["refused"] == 0, told["mlflow"]
    parent = told["mlflow"]["run_id"]
    experiment = ask(url, "experiments/get-by-name?experiment_name=demo%2Frecs", None)["experiment"]
    wanted = {"experiment_ids": [experiment["experiment_id"]], "filter": f"tags.`mlflow.parentRunId` = '{parent}'"}
    runs = ask(url, "runs/search", wanted)["runs"]
    scores = {pairs(run["data"]["tags"])["recs.trial"]: pairs(run["data"]["metrics"])["score"] for run in runs}
    assert scores == {str(trial["number"]): trial["score"] for trial in told["trials"]}, (scores, told["trials"])


def check_replay(url):
    """A training that is killed is ended by the next command that has to do with MLflow."""
    training = subprocess.Popen([RECS, "train", "--mlflow", "--epochs", "500"], cwd=FOLDER, stderr=subprocess.DEVNULL)
    wanted = {"experiment_ids": [], "filter": "attributes.status = 'RUNNING'"}
    experiment = ask(url, "experiments/get-by-name?experiment_name=demo%2Frecs", None)["experiment"]
    wanted["experiment_ids"] = [experiment["experiment_id"]]
    records = FOLDER / "store/tenants/demo/experiments"

    def asked():
        return [path for path in records.glob("*.jsonl") if '"epochs":500,' in path.read_text()]

    for _ in range(600):
        running = ask(url, "runs/search", wanted).get("runs", [])
        if running and asked():
            break
        time.sleep(0.1)
    training.kill()
    training.wait()
    assert len(running) == len(asked()) == 1, running
    told = recs("mlflow", "replay")
    run = ask(url, "runs/get?run_id=" + running[0]["info"]["run_id"], None)["run"]
    assert run["info"]["status"] == "KILLED" and len(told["runs"]) == 1, (run["info"], told)
    assert recs("mlflow", "replay")["runs"] == []
    # It had said what it was asked.
    lines = [json.loads(line) for line in asked()[0].read_text().splitlines()]
    assert lines[0]["settings"]["epochs"] == 500 and "outcome" not in lines[-1], lines


FOLDER.mkdir(parents=True)
for table in ("transactions", "products"):
    shutil.copy(DATA / f"{table}.parquet", FOLDER)
recs("init")
port = free_port()
url = f"http://127.0.0.1:{port}"
settings = FOLDER / "recs.toml"
# So low a rate that what the search draws is better.
short = settings.read_text().replace("\n[train]\n", "\n[train]\nepochs = 1\nlearning_rate = 1e-5\n")
settings.write_text(short + SETTINGS.replace("URL", url))
server = serve(port)
try:
    recs("extract")
    recs("dataset")
    wait(url, server)
    check_training(url, recs("train", "--mlflow"))
    check_replay(url)
    found = recs("search", "--mlflow", "--results", "search.jsonl")
    check_search(url, found)
    again = recs("search", "--results", "search.jsonl")
    assert again["trials"] == found["trials"], "finished trials were run again"
    best = recs("train", "--settings", found["output"], "--version", "best")
    model = json.loads((FOLDER / "store/tenants/demo/models/best/model_metadata.json").read_text())
    assert found["best"]["number"] == 1, found["best"]
    for path, value in found["best"]["settings"].items():
        taken = model["hyperparameters"]
        for key in path.split("."):
            taken = taken[key]
        assert abs(taken - value) < 1e-6 * value, (path, taken, value)
    print(f"MLflow has run, model and {len(found['trials'])} trials; best {found['best']['settings']}: {best['recall_at_100']:.4f}")
finally:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
