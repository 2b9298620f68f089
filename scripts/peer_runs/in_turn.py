"""Runs of both sides, one after the other."""

import json
import subprocess
import sys
import time


def run(command):
    """Runs a program; gives the JSON object on its last line and the seconds that it took."""
    begin = time.monotonic()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    seconds = time.monotonic() - begin
    if done.returncode != 0:
        sys.exit(f"FAILED: {' '.join(map(str, command))}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1]), seconds


def pairs(count, ours, peer):
    """Calls both `count` times with the number of the pair; who begins changes every time. Gives both sides' answers."""
    found = {ours: [], peer: []}
    for pair in range(count):
        print(f"  pair {pair + 1} of {count}", file=sys.stderr, flush=True)
        for side in (ours, peer) if pair % 2 == 0 else (peer, ours):
            found[side].append(side(pair))
    return found[ours], found[peer]
