"""Small purchase logs with something to learn."""

from __future__ import annotations

import random
from typing import Any

FIRST = 1_500_000_000
DAY = 86_400


def groups(customers: int = 60, products: int = 200, days: int = 60, seed: int = 7) -> dict[str, list[Any]]:
    """Customers who buy from their own quarter of the products, once a day, in random order."""
    draw = random.Random(seed)
    rows = []
    for day in range(days):
        for customer in range(customers):
            product = 4 * draw.randrange(products // 4) + customer % 4
            rows.append((f"c{customer}", product, FIRST + day * DAY, f"city{customer % 5}", 10.0 + customer))
    draw.shuffle(rows)
    who, what, when, where, spent = (list(column) for column in zip(*rows, strict=True))
    return {
        "who": who,
        "what": what,
        "when": when,
        "where": where,
        "spent": spent,
        "title": [f"product {p}" for p in what],
        "kind": [f"group{p % 4}" for p in what],
    }


#: Which column plays which role.
ROLES = {
    "customer": "who",
    "product": "what",
    "timestamp": "when",
    "city": "where",
    "revenue": "spent",
    "name": "title",
    "category": "kind",
}
