"""Two-tower recommendations from a purchase log.

Examples
--------
A log with something to learn: customers buy the products of their own group.

>>> import recs
>>> days, people = range(40), range(40)
>>> log = {
...     "who": [f"c{p}" for d in days for p in people],
...     "what": [4 * ((7 * d + 3 * p) % 12) + p % 4 for d in days for p in people],
...     "when": [1_500_000_000 + 86_400 * d for d in days for p in people],
... }
>>> ds = recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
>>> ds
Dataset(rows=1600, customers=40, products=48)
>>> model = recs.TwoTower(epochs=3, seed=1).fit(ds, show_progress=False)
>>> model.metrics.rows
280
>>> list(model.recommend(["c0"], k=2))
['customer', 'product', 'rank', 'score', 'reason']
"""

from recs._recs import Dataset, EvaluationResult, TwoTower, __version__
from recs.errors import (
    CancelledError,
    ConfigError,
    CorruptFileError,
    DataError,
    NotFittedError,
    NotFoundError,
    RecsError,
    RecsWarning,
    SchemaError,
    StoreError,
    TrainError,
)

__all__ = [
    "CancelledError",
    "ConfigError",
    "CorruptFileError",
    "DataError",
    "Dataset",
    "EvaluationResult",
    "NotFittedError",
    "NotFoundError",
    "RecsError",
    "RecsWarning",
    "SchemaError",
    "StoreError",
    "TrainError",
    "TwoTower",
    "__version__",
]
