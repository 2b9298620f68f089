"""Versions swapped under load, beside the same server and load without swaps: failed requests, latency, memory.

One server of the preset's model, 8 connections that ask without a pause from the same two cores, every request different and
every answer checked: a request that fails ends the run. First nothing is swapped, then, for as long, a twin of the model and the model itself
come into production in turn, through the registry: mapped from the disk, verified, tried on recorded requests, swapped. Both were
served before, so that both are on the disk.

1. p99       of the requests asked while a swap was under way, beside those of the run without
2. RssAnon   of the server (memory of its own; mapped files are not counted), the highest of 50 looks a second in each run

The allocator's large pages are off (MIMALLOC_ALLOW_THP=0): they round memory up to 2 MiB a piece.
"""

import json
import os
import sys
import threading

from .. import in_turn
from .serve import PRESETS, WARM_UP_S, Ours, store

LOOK_S = 0.02


def add_options(parser):
    parser.add_argument("--minutes", type=float, default=10, help="of load with swaps (default 10)")
    parser.add_argument("--every", type=float, default=5, help="seconds from swap to swap (default 5)")
    parser.add_argument("--preset", choices=PRESETS, default=PRESETS[0])


def run(workplace, results, options):
    serve, load = workplace.binary("peer-serve"), workplace.binary("peer-load")
    folder, cache = store(workplace, options.preset), workplace.folder("swaps-cache")
    os.environ["MIMALLOC_ALLOW_THP"] = "0"
    in_turn.run([serve, "--store", folder, "--twin"])
    histograms = workplace.folder("swaps") / "histograms.jsonl"
    seconds = 20 if options.quick else 60 * options.minutes

    def measure(every, seconds):
        server = Swapped(serve, folder, cache, every)
        in_turn.run([load, "--port", server.port, "--seconds", WARM_UP_S])
        with Memory(server.process.pid) as memory:
            in_turn.run([load, "--port", server.port, "--seconds", seconds, "--histograms", histograms])
        server.end()
        bins = [json.loads(line) for line in histograms.read_text().splitlines()]
        return bins, server.swaps, memory.highest

    # So that both versions are on the disk.
    measure(options.every, 3 * options.every)
    quiet_bins, _, quiet_memory = measure(1e6, seconds)
    bins, swaps, memory = measure(options.every, seconds)
    if len(swaps) < seconds / options.every - 2:
        sys.exit(f"FAILED: {len(swaps)} swaps in {seconds:.0f} seconds")
    busy = [b for b in bins if any(b["at"] < s["to"] and b["at"] + b["seconds"] > s["from"] for s in swaps)]
    took = sorted(swap["to"] - swap["from"] for swap in swaps)
    results.say(
        f"  {len(swaps)} swaps, each {took[0]:.3f} to {took[-1]:.3f} s, median {took[len(took) // 2]:.3f} s; "
        f"{count(bins):,} requests, {count(busy):,} of them while a swap was under way; none failed"
    )
    for what, unit, mine, theirs in (
        ("p99 while a version is swapped", "ms", p99(busy), p99(quiet_bins)),
        ("p99 of the whole run", "ms", p99(bins), p99(quiet_bins)),
        ("RssAnon, the highest", "MiB", memory / 1024, quiet_memory / 1024),
    ):
        ratio = theirs / mine
        results.line(f"{what}, preset {options.preset}", unit, "without swaps", mine, theirs, ratio, (ratio, ratio))


class Swapped(Ours):
    """A server that swaps, and what it said about it."""

    def __init__(self, binary, folder, cache, every):
        super().__init__(binary, folder, "--cache", str(cache), "--swap-every", str(every))
        self.swaps = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "failed" in said:
                sys.stderr.write(f"FAILED: {said['failed']}\n")
                os._exit(1)
            self.swaps.append(said)


class Memory:
    """Looks at the memory of a process until its end."""

    def __init__(self, pid):
        self.pid, self.highest, self.is_over = pid, 0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()

    def look(self):
        while not self.is_over.wait(LOOK_S):
            with open(f"/proc/{self.pid}/status") as status:
                line = next(line for line in status if line.startswith("RssAnon"))
            self.highest = max(self.highest, int(line.split()[1]))


def count(bins):
    return sum(sum(one["counts"].values()) for one in bins)


def p99(bins):
    """Milliseconds that one of a hundred answers took at least, within the 2 % of the histogram's steps."""
    counts = {}
    for one in bins:
        for step, n in one["counts"].items():
            counts[int(step)] = counts.get(int(step), 0) + n
    left = count(bins) * 0.01
    for step in sorted(counts, reverse=True):
        left -= counts[step]
        if left <= 0:
            return bins[0]["step"] ** (step + 1) / 1000
    return 0.0
