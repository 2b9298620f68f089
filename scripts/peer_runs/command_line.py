"""Names and options."""

import argparse
import importlib
import os
import pathlib
import pkgutil

from . import compare
from .results import Results
from .workplace import Workplace

FEWEST_PAIRS = 5


def comparisons():
    """The comparisons by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(compare.__path__))
    return {name: importlib.import_module(f"{compare.__name__}.{name}") for name in names}


def parser_of(usage):
    parser = argparse.ArgumentParser(
        prog="scripts/peers", description=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", action="version", version=" ".join(comparisons()), help="list the names")
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, comparison in comparisons().items():
        first_line = comparison.__doc__.strip().splitlines()[0]
        own = names.add_parser(name, help=first_line, description=comparison.__doc__)
        own.formatter_class = argparse.RawDescriptionHelpFormatter
        own.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
        own.add_argument(
            "--data", type=pathlib.Path, metavar="EXTRACT.parquet", help="instead of the extract of examples/data"
        )
        own.add_argument("--pairs", type=int, default=FEWEST_PAIRS, help="runs of each side for speed (default 5)")
        own.add_argument("--quick", action="store_true", help="leave out what takes longest")
        if hasattr(comparison, "add_options"):
            comparison.add_options(own)
    return parser


def main(usage, arguments):
    options = parser_of(usage).parse_args(arguments)
    results = Results(options.json)
    results.say(f"load average before the first run: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    if options.pairs < FEWEST_PAIRS:
        results.say(f"{options.pairs} pairs are a trial: speed is compared in {FEWEST_PAIRS} or more")
    comparison = comparisons()[options.name]
    comparison.run(Workplace(options.data, results), results, options)
    return 0
