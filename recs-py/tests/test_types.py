"""Stubs that match the module, and documentation that is true."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import recs

EXAMPLE = """
import polars as pl
import recs

frame = pl.DataFrame({"who": [1], "what": ["tea"], "when": [0]})
ds: recs.Dataset = recs.Dataset.from_events(frame, customer="who", product="what", timestamp="when")
ds = recs.Dataset.from_events({"who": [1], "what": ["a"], "when": [0]}, customer="who", product="what", timestamp="when")
model: recs.TwoTower = recs.TwoTower("reference", epochs=3).fit(ds, show_progress=False)
recall: float | None = model.evaluate(ds, "time").recall_at_100
answer: pl.DataFrame = model.recommend(frame["who"], k=3, timestamp=[0])
version: str = model.save("store", version="v1")
error: type[ValueError] = recs.DataError
"""

WRONG = """
import recs

recs.TwoTower("best")
recs.TwoTower().fit([1])
recs.Dataset.from_events({}, customer=1, product="what", timestamp="when")
"""


def mypy(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(path.parent / "cache"), *arguments, str(path)]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)


def test_a_strict_program_type_checks(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(EXAMPLE)
    done = mypy(path, "--strict")
    assert done.returncode == 0, done.stdout


def test_mistakes_do_not(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    done = mypy(path, "--strict")
    assert done.stdout.count("[arg-type]") == 3, done.stdout


def test_the_stubs_match_the_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "recs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def public() -> Iterator[tuple[str, object]]:
    """The package, its public names, and the methods of its classes."""
    yield "recs", recs
    for name in sorted(set(recs.__all__) - {"__version__"}):
        value = getattr(recs, name)
        yield name, value
        for member in sorted(vars(value)):
            is_method = callable(getattr(value, member)) and not member.startswith("_")
            if inspect.isclass(value) and is_method:
                yield f"{name}.{member}", getattr(value, member)


@pytest.mark.parametrize(("name", "value"), [pytest.param(n, v, id=n) for n, v in public()])
def test_every_public_name_has_an_example_that_runs(name: str, value: object) -> None:
    text = inspect.getdoc(value) or ""
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert test.examples, f"{name} has no example"
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).run(test)
    assert results.failed == 0


def test_every_property_is_described() -> None:
    for value in (recs.Dataset, recs.EvaluationResult, recs.TwoTower):
        for name, member in vars(value).items():
            if inspect.isgetsetdescriptor(member):
                described = member.__doc__ or name in (value.__doc__ or "")
                assert described, f"{value.__name__}.{name}"
