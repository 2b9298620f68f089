"""Asks a running server every route as a client would, and checks the shape of each answer.

    http_contract.py URL
"""

import json
import sys
import urllib.error
import urllib.request

URL = sys.argv[1]


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def expect(keys, answer):
    assert set(keys) <= set(answer), (sorted(keys), answer)


def single(prefix, customer):
    question = {"customer_id": customer, "city": "store_330", "revenue": 100.0, "num_recommendations": 7}
    status, answer = ask(prefix + "/recommend", question)
    assert status == 200, answer
    expect({"recommendations", "model_version", "inference_time_ms", "total_products"}, answer)
    items = answer["recommendations"]
    assert [i["rank"] for i in items] == list(range(1, 8)), items
    assert all(set(i) == {"product_id", "score", "rank", "reason"} for i in items), items
    return items


for prefix in ("", "/v1/tenants/demo"):
    status, health = ask(prefix + "/health")
    assert status == 200, health
    expect({"status", "model_loaded", "model_version", "timestamp", "max_batch_size"}, health)
    status, info = ask(prefix + "/model-info")
    assert status == 200, info
    expect(
        {"model_version", "vocabularies", "hyperparameters", "performance_metrics", "batch_capabilities"}, info
    )
    assert info["vocabularies"]["num_products"] == 9667, info["vocabularies"]
    known = single(prefix, "1")
    assert {i["reason"] for i in known} <= {"model", "repeat"}, known
    unknown = single(prefix, "nobody")
    # The recommended model knows customers by their purchases: others get what sells in their city.
    assert {i["reason"] for i in unknown} == {"segment"}, unknown
    requests = [{"customer_id": c, "city": "store_330", "revenue": 100.0} for c in ("1", "nobody")]
    status, batch = ask(prefix + "/recommend-batch", {"requests": requests, "num_recommendations": 7})
    assert status == 200 and batch["processing_mode"] == "vectorised" and batch["batch_size"] == 2, batch
    for result, alone in zip(batch["results"], (known, unknown)):
        assert [i["product_id"] for i in result["recommendations"]] == [i["product_id"] for i in alone]

for path in ("/livez", "/readyz"):
    status, _ = ask(path)
    assert status == 200, path
status, problem = ask("/recommend", {"customer_id": 5, "revenue": "x"})
assert status == 422 and {e["pointer"] for e in problem["errors"]} >= {"/customer_id", "/revenue"}, problem
status, problem = ask("/v1/tenants/other/health")
assert status == 404, problem
print("the HTTP contract holds")
