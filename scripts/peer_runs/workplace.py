"""Folders, Python environments, our binaries, the data: made when they are first needed."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from . import in_turn

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PEERS = ROOT / "benches/peers"


def pins(packages):
    """The lines of requirements.txt for these packages."""
    lines = (PEERS / "requirements.txt").read_text(encoding="utf-8").split("\n")
    known = {line.split("==")[0].strip(): line.strip() for line in lines if line and not line.startswith("#")}
    return [known[package] for package in packages]


class Workplace:
    """Where a comparison works. The same folders as scripts/test."""

    def __init__(self, data, results):
        cache = os.environ.get("RECS_CACHE")
        target = pathlib.Path(cache, "target") if cache else os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
        self.target = pathlib.Path(target).resolve()
        self.venvs = pathlib.Path(cache, "venv") if cache else self.target / "venv"
        self.results = results
        self.given_data = data.resolve() if data else None
        self.work = None
        self.made_data = None
        self.binaries = {}

    def folder(self, name):
        """An empty folder, gone at the end of the run."""
        if not self.work:
            (self.target / "peers").mkdir(parents=True, exist_ok=True)
            self.work = tempfile.TemporaryDirectory(dir=self.target / "peers")
        folder = pathlib.Path(self.work.name, name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def python(self, name, packages):
        """The interpreter of an environment, made anew when its requirements change."""
        folder, wanted = self.venvs / f"peers-{name}", " ".join(pins(packages))
        interpreter, noted = folder / "bin/python", folder / "requirements"
        if not (interpreter.exists() and noted.exists() and noted.read_text() == wanted):
            self.results.say(f"installing {wanted}")
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            pip = [folder / "bin/pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, *wanted.split()], check=True)
            noted.write_text(wanted)
        return interpreter

    def binary(self, name):
        """A binary of recs-benches, built in release; a copy, so that what is built meanwhile changes nothing."""
        if name not in self.binaries:
            self.forget_other_clones()
            command = ["cargo", "build", "--release", "-q", "-p", "recs-benches", "--bin", name]
            environment = os.environ | {"CARGO_TARGET_DIR": str(self.target)}
            subprocess.run(command, cwd=ROOT, env=environment, check=True)
            built, copy = self.target / "release" / name, self.folder(f"bin-{name}") / name
            shutil.copy2(built, copy)
            self.binaries[name] = copy
        return self.binaries[name]

    def forget_other_clones(self):
        """Cargo does not know the folder that a file was built in: what another clone built is built again."""
        stamp = self.target / "built-in"
        if stamp.exists() and stamp.read_text() == str(ROOT):
            return
        for package in [*ROOT.glob("recs-*"), ROOT / "examples", ROOT / "benches"]:
            for source in package.rglob("*.rs"):
                source.touch()
        self.target.mkdir(parents=True, exist_ok=True)
        stamp.write_text(str(ROOT))

    def data(self):
        """The extract: the one given, or that of examples/data."""
        if self.given_data:
            return self.given_data
        if not self.made_data:
            python = self.python("data", ["pandas", "pyarrow"])
            self.made_data = self.folder("data") / "extract.parquet"
            made, _ = in_turn.run([python, PEERS / "extract.py", "--out", self.made_data])
            self.results.say(f"extract of examples/data: {made['rows']} rows, as the golden digest says")
        return self.made_data
