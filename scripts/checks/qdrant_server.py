"""The part of Qdrant's REST interface that recs uses, answered by the engine of its own Python client.

    python scripts/checks/qdrant_server.py [--short-of N]

Prints the port; ends with its standard input. There is no server of Qdrant on PyPI, but the client carries an engine that keeps
collections in memory and answers as the server does. It is exact: --short-of N has it come back with N points less than asked for
unless the request says "exact", as a graph may.
"""

import argparse
import http.server
import json
import re
import sys
import threading

from qdrant_client import QdrantClient, models

PATH = re.compile(r"/collections/([\w.-]+)(/points/query|/points/count|/points|)(?:\?wait=true)?$")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, result):
        body = json.dumps({"result": result, "status": "ok" if status == 200 else {"error": result}, "time": 0}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_one(self):
        client, lock, short_of = self.server.client, self.server.lock, self.server.short_of
        found = PATH.match(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        if not found:
            return self.answer(404, "no such path")
        name, what = found.groups()
        with lock:
            if (self.command, what) == ("PUT", ""):
                return self.answer(200, client.create_collection(name, vectors_config=models.VectorParams(**body["vectors"])))
            if not client.collection_exists(name):
                return self.answer(404, f"Not found: Collection `{name}` doesn't exist!")
            if (self.command, what) == ("DELETE", ""):
                return self.answer(200, client.delete_collection(name))
            if (self.command, what) == ("GET", ""):
                return self.answer(200, json.loads(client.get_collection(name).model_dump_json()))
            if (self.command, what) == ("PUT", "/points"):
                points = [models.PointStruct(**point) for point in body["points"]]
                return self.answer(200, json.loads(client.upsert(name, points).model_dump_json()))
            if what == "/points/count":
                return self.answer(200, {"count": client.count(name).count})
            if what == "/points/query":
                chosen = models.Filter(**body["filter"]) if "filter" in body else None
                limit = body["limit"] - (0 if body["params"]["exact"] else short_of)
                points = client.query_points(name, body["query"], query_filter=chosen, limit=max(limit, 1)).points
                return self.answer(200, {"points": [{"id": point.id, "score": point.score} for point in points]})
        return self.answer(404, "no such method")

    do_GET = do_PUT = do_POST = do_DELETE = handle_one

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short-of", type=int, default=0)
    options = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.client, server.lock, server.short_of = QdrantClient(":memory:"), threading.Lock(), options.short_of
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
