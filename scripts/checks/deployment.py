"""Deploys, rolls back, makes and takes keys, while a server runs that follows; then lists for everybody.

    deployment.py RECS FOLDER      a folder with recs.toml and the published versions a and b
"""

import contextlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

RECS, FOLDER = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
# Servers look every five seconds.
PATIENCE_S = 60
QUESTION = {"customer_id": "1", "city": "store_330", "revenue": 100.0, "num_recommendations": 5}


class Ops(http.server.BaseHTTPRequestHandler):
    """Those who are told."""

    told = []

    def do_POST(self):
        Ops.told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def recs(*arguments):
    done = subprocess.run([RECS, *arguments, "--json"], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextlib.contextmanager
def serving():
    """A server that follows the registry; gives its address. Told to end, it ends well."""
    log = FOLDER / "deployment.log"
    with open(log, "w") as err:
        server = subprocess.Popen([RECS, "serve", "--listen", "127.0.0.1:0", "--json"], cwd=FOLDER, stdout=subprocess.DEVNULL, stderr=err)
    try:
        until(lambda: re.search("http://", log.read_text()), f"a server that listens: {log.read_text()}")
        yield re.search(r"http://[0-9.:]+", log.read_text())[0]
        server.terminate()
        assert server.wait(60) == 0, log.read_text()
    finally:
        server.kill()
        server.wait()


def ask(url, path, body=None, key=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | ({} if key is None else {"x-api-key": key})
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data, headers), timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def until(is_so, what):
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.2)


def versions_are_followed(url):
    def serves(version):
        status, answer = ask(url, "/recommend", QUESTION)
        assert status == 200, answer
        return answer["model_version"] == version

    assert serves("a")
    recs("deploy", "promote", "b", "--why", "a test")
    until(lambda: serves("b"), "b serves")
    recs("deploy", "rollback", "--from", "b")
    until(lambda: serves("a"), "a serves again")
    again = subprocess.run([RECS, "deploy", "rollback", "--from", "b"], cwd=FOLDER, capture_output=True, text=True)
    assert again.returncode != 0 and "b" in again.stderr, "who says it twice goes back once"
    assert recs("deploy", "status")["deployment"]["production"] == "a"
    assert [change["change"]["action"] for change in recs("deploy", "history")["history"]] == ["rollback", "promote", "promote"]
    # What a version brings along is mapped: nothing else of it was read.
    assert (FOLDER / "store/tenants/demo/models/a/index.recs").exists()


def limits_hold(url):
    status, problem = ask(url, "/recommend", QUESTION | {"exclude": ["x" * 900] * 5})
    assert (status, problem["type"]) == (413, "urn:recs:problem:body-too-large"), problem


def events_are_kept(url):
    _, answer = ask(url, "/recommend", QUESTION)
    bought = {"customer_id": "1", "product_id": answer["recommendations"][0]["product_id"], "outcome": "bought"}
    assert ask(url, "/events", {"events": [bought]}) == (200, {"kept": 1})


def a_store_may_be_away(url):
    store, away = FOLDER / "store", FOLDER / "away"
    store.rename(away)
    store.mkdir()
    # Longer than from look to look.
    end = time.monotonic() + 12
    while time.monotonic() < end:
        status, answer = ask(url, "/recommend", QUESTION)
        assert (status, answer["model_version"]) == (200, "a"), answer
        time.sleep(0.5)
    store.rmdir()
    away.rename(store)


def people_are_told(url):
    for _ in range(20):
        assert ask(url, "/recommend", QUESTION)[0] == 200
    until(lambda: Ops.told, "an alert")
    alert = Ops.told[0]
    assert (alert["tenant"], alert["rule"], alert["state"]) == ("demo", "p99_ms", "firing"), alert
    assert alert["value"] > alert["limit"] == 0.0001, alert


def keys_open_and_shut(url):
    key = recs("keys", "add", "--role", "predict", "--note", "a test")
    until(lambda: ask(url, "/recommend", QUESTION)[0] == 401, "nobody asks without a key")
    assert ask(url, "/recommend", QUESTION, key["key"])[0] == 200
    assert ask(url, "/deployment", {"action": "promote", "version": "b"}, key["key"])[0] == 403
    assert [shown["id"] for shown in recs("keys", "list")["keys"]] == [key["id"]]
    recs("keys", "revoke", key["id"])
    until(lambda: ask(url, "/recommend", QUESTION, key["key"])[0] == 401, "the key opens nothing")


def tenants_are_apart(url):
    there, nobodys = "/v1/tenants/second/recommend", "/v1/tenants/nobody/recommend"
    key = recs("keys", "add", "--tenant", "second", "--role", "predict")["key"]
    until(lambda: ask(url, there, QUESTION, key)[0] == 200, "a key of the second tenant")
    # A key says whose it is where the path does not.
    assert [ask(url, path, QUESTION, key)[1]["model_version"] for path in (there, "/recommend")] == ["of-second"] * 2
    others = [f"/v1/tenants/{tenant}/recommend" for tenant in ("demo", "nobody", "made-up")]
    assert [ask(url, path, QUESTION, key)[0] for path in others] == [404] * 3
    key = recs("keys", "add", "--tenant", "nobody", "--role", "predict")["key"]
    until(lambda: ask(url, nobodys, QUESTION, key)[0] == 503, "a tenant without a model")


def keys_are_known_without_the_store():
    key = recs("keys", "add", "--role", "predict")["key"]
    with serving() as url:
        assert ask(url, "/recommend", QUESTION, key)[0] == 200
    store, away = FOLDER / "store", FOLDER / "away"
    store.rename(away)
    store.mkdir()
    with serving() as url:
        assert [ask(url, "/recommend", QUESTION, given)[0] for given in (key, None)] == [200, 401]
    store.rmdir()
    away.rename(store)


def everybody_has_a_list():
    first = recs("recommend-all", "--run", "monday", "-k", "5")
    assert first["metadata"]["model_version"] == "a", "the one in production"
    assert first["metadata"]["requests"] > 2000 and first["metadata"]["items"] == 5 * first["metadata"]["requests"], first
    again = subprocess.run([RECS, "recommend-all", "--run", "monday", "--model", "a"], cwd=FOLDER, capture_output=True, text=True)
    assert again.returncode != 0 and "exists already" in again.stderr, "what is done is not done over"


CONFIG = FOLDER / "recs.toml"
CONFIG.write_text(
    CONFIG.read_text().replace("\n[serve]\n", f'\n[serve]\ncache = "{FOLDER}/cache"\ntenants = ["second", "nobody"]\n', 1)
    + f'\n[serve.limits]\nmax_body_bytes = 4096\n\n[serve.monitor]\nspool = "{FOLDER}/spool"\ncheck_seconds = 1\n'
    '\n[serve.monitor.alerts]\nmax_p99_ms = 0.0001\nmin_requests = 10\n\n[serve.notify]\nwebhook_env = "OPS_URL"\n'
)
ops = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ops)
threading.Thread(target=ops.serve_forever, daemon=True).start()
os.environ["OPS_URL"] = f"http://127.0.0.1:{ops.server_port}/alerts"
for command in (["extract"], ["dataset", "--run-id", "one"], ["vocab"], ["train", "--version", "of-second", "--epochs", "1"]):
    recs(*command, "--tenant", "second")
recs("deploy", "promote", "a")
recs("deploy", "promote", "of-second", "--tenant", "second")
with serving() as url:
    for part in (versions_are_followed, limits_hold, events_are_kept, people_are_told, a_store_may_be_away, keys_open_and_shut, tenants_are_apart):
        part(url)
        print(f"{part.__name__.replace('_', ' ')}: holds")
outcomes = recs("deploy", "outcomes")
assert outcomes["versions"]["a"]["bought"] == 1, outcomes
keys_are_known_without_the_store()
everybody_has_a_list()
print("deployment holds")
