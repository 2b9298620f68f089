"""A server, one who asks it in good faith, and a crowd that does not."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import selectors
import socket
import subprocess
import sys
import time

# With a time of its own: without one the model goes by the clock.
QUESTION = {"customer_id": "1", "city": "store_330", "revenue": 100.0, "timestamp": 1514764800}


class Served:
    """A server, and what somebody with an ordinary question has of it."""

    def __init__(self, process, port):
        self.process, self.port = process, port
        self.doing, self.seconds = "nobody else", []
        self.right = None

    def connect(self, number=0, receive_bytes=None):
        """A new connection; every 5000th has another address here, so that ports do not run short."""
        stream = socket.socket()
        if receive_bytes is not None:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        stream.settimeout(30)
        stream.bind((f"127.0.0.{2 + number // 5000}", 0))
        stream.connect(("127.0.0.1", self.port))
        return stream

    def fails(self, reason):
        code = self.process.poll()
        end = "" if code is None else f"; the server ended with {code}"
        sys.exit(f"FAILED: connections: {self.doing}: {reason}{end}")

    def ask(self):
        """The ordinary question on a fresh connection: the answer must be the one that there was before anybody misbehaved."""
        begin = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/recommend", json.dumps({**QUESTION, "num_recommendations": 10}), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.fails(f"an ordinary request had no answer after {time.perf_counter() - begin:.1f} s: {error!r}")
        finally:
            connection.close()
        self.seconds.append(time.perf_counter() - begin)
        if response.status != 200:
            self.fails(f"an ordinary request was answered {response.status}: {answer}")
        found = [(item["rank"], item["product_id"], item["score"]) for item in answer["recommendations"]]
        self.right = self.right or found
        if found != self.right or len(found) != 10:
            self.fails(f"an ordinary request was answered {found} instead of {self.right}")

    def ask_for(self, seconds, until=lambda: False):
        """Asks ten times a second for so long, or until something is so; gives whether it came to be."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                return False
            self.ask()
            time.sleep(0.1)
        return True

    def asked(self):
        """What the ordinary requests since the last time took, in words."""
        took, self.seconds = sorted(self.seconds), []
        p50, p99 = (1000 * took[int(len(took) * share)] for share in (0.5, 0.99))
        return f"{len(took)} ordinary requests right, p50 {p50:.1f} ms, p99 {p99:.1f} ms, slowest {1000 * took[-1]:.1f} ms"

    def anonymous_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) / 1024

    def files(self):
        """Open ones: a connection that the server has accepted and not closed is one of them."""
        # The last ordinary one may not be closed yet.
        time.sleep(0.05)
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Crowd:
    """Connections of which nothing is expected but that the server ends them, and when it did."""

    def __init__(self):
        self.selector, self.open, self.ended, self.answers = selectors.DefaultSelector(), {}, {}, {}

    def add(self, stream, kind):
        stream.setblocking(False)
        self.selector.register(stream, selectors.EVENT_READ)
        self.open[stream] = (kind, time.monotonic())

    def send(self, stream, part):
        try:
            stream.send(part)
        except BlockingIOError:
            pass
        except OSError:
            self.end(stream)

    def look(self):
        """Takes what came; true once every connection has ended."""
        for key, _ in self.selector.select(0):
            stream = key.fileobj
            try:
                part = stream.recv(1 << 16)
            except OSError:
                part = b""
            if part:
                self.answers.setdefault(self.open[stream][0], set()).add(part[9:12].decode(errors="replace"))
            else:
                self.end(stream)
        return not self.open

    def end(self, stream):
        kind, begin = self.open.pop(stream)
        self.ended.setdefault(kind, []).append(time.monotonic() - begin)
        self.selector.unregister(stream)
        stream.close()

    def told(self):
        """How many of each kind ended, after how long, and with which answers."""
        kinds = sorted(self.ended.items())
        answers = {kind: f", answered {'/'.join(sorted(found))}" for kind, found in self.answers.items()}
        return "; ".join(
            f"{len(took)} {kind} after {min(took):.0f} to {max(took):.0f} s{answers.get(kind, '')}" for kind, took in kinds
        )


@contextlib.contextmanager
def serving(recs, folder):
    """A server of a model of its own on a free port; it must be there until the end, and end when it is told to."""
    log, homes = folder / "serve.log", {name: str(folder / name) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME")}
    command = [recs, "serve", "--listen", "127.0.0.1:0"]
    with open(log, "w") as err:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=err, env={**os.environ, **homes})
    try:
        port, end = None, time.monotonic() + 60
        while port is None and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
            port = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
        if port is None:
            sys.exit(f"FAILED: connections: recs serve does not listen: {log.read_text()}")
        yield Served(process, int(port[1]))
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        if process.returncode != 0:
            sys.exit(f"FAILED: connections: told to end, recs serve ended with {process.returncode}: {log.read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()
