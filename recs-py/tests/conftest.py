"""What several tests share: one log, one dataset, one fitted model."""

from __future__ import annotations

from typing import Any

import pytest

import recs
from logs import ROLES, groups

#: Enough to learn the groups, in seconds.
SETTINGS: dict[str, Any] = {"epochs": 12, "batch": 256, "seed": 1, "threads": 2}


@pytest.fixture(scope="session")
def log() -> dict[str, list[Any]]:
    return groups()


@pytest.fixture(scope="session")
def dataset(log: dict[str, list[Any]]) -> recs.Dataset:
    return recs.Dataset.from_events(log, **ROLES)


@pytest.fixture(scope="session")
def model(dataset: recs.Dataset) -> recs.TwoTower:
    return recs.TwoTower(**SETTINGS).fit(dataset, show_progress=False)
