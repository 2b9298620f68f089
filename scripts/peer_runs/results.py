"""Lines of the table, and the same as JSON."""

import json
import statistics
import sys


def show(value):
    """Four significant digits, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


class Results:
    """Prints as results come: JSON alone on standard output when it is asked for, everything else beside it."""

    def __init__(self, as_json):
        self.as_json = as_json
        self.text = sys.stderr if as_json else sys.stdout
        self.begun = False

    def say(self, text):
        """A remark between the lines."""
        print(text, file=self.text, flush=True)

    def line(self, what, unit, peer_name, ours, peer, ratio, spread, in_table=True):
        """One comparison: a ratio above 1 means that ours is better, `spread` how far the single ratios go."""
        if self.as_json:
            line = {"what": what, "ours": ours, "peer": peer, "peer_name": peer_name, "unit": unit}
            line |= {"ratio": round(ratio, 4), "spread": [round(end, 4) for end in spread]}
            print(json.dumps(line), flush=True)
        if in_table:
            self.row(what, unit, peer_name, ours, peer, ratio, spread)

    def row(self, what, unit, peer_name, ours, peer, ratio, spread):
        if not self.begun:
            self.begun = True
            heads = ("ours", "peer", "unit", "ratio", "spread")
            self.say(f"{'what':<52} {'{:>9} {:>9} {:<11} {:>6}  {:<14}'.format(*heads)} peer")
        numbers = f"{show(ours):>9} {show(peer):>9} {unit:<11} {ratio:>6.2f}"
        self.say(f"{what:<52} {numbers}  {f'{spread[0]:.2f} to {spread[1]:.2f}':<14} {peer_name}")

    def pairs(self, what, unit, peer_name, ours, peer, more_is_better=True):
        """Medians of the pairs, and the median of their ratios."""
        better = [a / b if more_is_better else b / a for a, b in zip(ours, peer, strict=True)]
        medians = statistics.median(ours), statistics.median(peer)
        self.line(what, unit, peer_name, *medians, statistics.median(better), (min(better), max(better)))
