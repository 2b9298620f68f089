"""Recall of several methods on the same test rows, with standard errors over the rows."""

import array
import math
import statistics
import sys

CUTS = (5, 10, 50, 100)


class Method:
    """A method's runs: one for each seed, or one where nothing is random. `runs` are the JSON objects of the programs."""

    def __init__(self, name, runs, prefix="recall", ranks=()):
        self.name, self.runs, self.prefix = name, runs, prefix
        self.ranks = [read_ranks(file) for file in ranks]
        for run, found in zip(runs, self.ranks):
            check(name, run, f"{prefix}@100", found)

    def recalls(self, k):
        """One a seed."""
        return [run[f"{self.prefix}@{k}"] for run in self.runs]

    def mean(self, k):
        return statistics.mean(self.recalls(k))

    def hits(self, k):
        """Of each row, the share of the seeds that hit it."""
        return [sum(rank < k for rank in row) / len(row) for row in zip(*self.ranks)]

    def row_error(self, k):
        """What a bootstrap over the rows converges to. Without ranks that of one run, which is not smaller."""
        if self.ranks:
            return error_of_mean(self.hits(k))
        return math.sqrt(self.mean(k) * (1 - self.mean(k)) / self.runs[0]["test_rows"])

    def seed_error(self, k):
        """Standard deviation over the seeds."""
        return statistics.stdev(self.recalls(k)) if len(self.runs) > 1 else 0.0

    def seconds(self):
        return statistics.median(run["fit_s"] for run in self.runs)


def check(name, run, key, ranks):
    """The ranks are those that the program's own numbers are about."""
    if len(ranks) != run["test_rows"]:
        raise SystemExit(f"FAILED: {name} wrote {len(ranks)} ranks for {run['test_rows']} test rows")
    recall = sum(rank < 100 for rank in ranks) / len(ranks)
    if abs(recall - run[key]) > 1e-4:
        raise SystemExit(f"FAILED: {name} says {key} {run[key]}, its ranks say {recall:.5f}")


def read_ranks(file):
    """Little-endian i32, one a test row in file order; 2^31 - 1 is a miss."""
    found = array.array("i")
    with open(file, "rb") as stream:
        found.frombytes(stream.read())
    if sys.byteorder == "big":
        found.byteswap()
    return found


def error_of_mean(values):
    return statistics.pstdev(values) / math.sqrt(len(values))


def table(say, methods):
    """A line a method: recall with its error over rows at each cut, deviation over seeds, seconds of training."""
    rows = {run["test_rows"] for method in methods for run in method.runs}
    if len(rows) != 1:
        raise SystemExit(f"FAILED: the methods tested {sorted(rows)} rows")
    heads = "".join(f"{f'recall@{k}':<17}" for k in CUTS)
    say(f"{'method':<60} {heads} {'seeds':<12} training")
    for method in methods:
        cells = "".join(f"{f'{method.mean(k):.4f} ± {method.row_error(k):.4f}':<17}" for k in CUTS)
        seeds = f"{len(method.runs)}, ± {method.seed_error(100):.4f}" if len(method.runs) > 1 else "1"
        say(f"{method.name:<60} {cells} {seeds:<12} {method.seconds():.1f} s")


def difference(ours, peer, k):
    """Mean difference of the rows' hits, and its standard error: the two are paired, row by row."""
    differences = [a - b for a, b in zip(ours.hits(k), peer.hits(k), strict=True)]
    return statistics.mean(differences), error_of_mean(differences)
