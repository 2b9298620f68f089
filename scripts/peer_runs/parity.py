"""Do two programs train the same model? Recall over some seeds each."""

import math
import statistics

CUTS = (5, 10, 50, 100)
MOST_ERRORS = 2


def summary(answers, key):
    """Mean and its standard error."""
    values = [answer[key] for answer in answers]
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.mean(values), error


def report(results, peer_name, when, ours, peer):
    """A line for each Recall@K, and the difference in standard errors."""
    rows = {answer["test_rows"] for answer in ours + peer}
    if len(rows) != 1:
        raise SystemExit(f"FAILED: the two sides tested {sorted(rows)} rows")
    for k in CUTS:
        key = f"recall@{k}"
        (mean, error), (peer_mean, peer_error) = summary(ours, key), summary(peer, key)
        ratios = [a[key] / b[key] for a, b in zip(ours, peer)]
        spread = (min(ratios), max(ratios))
        results.line(f"{key}, {when}", "recall", peer_name, mean, peer_mean, mean / peer_mean, spread)
        results.say(f"  {verdict(mean - peer_mean, error, peer_error)}")


def verdict(difference, error, peer_error):
    both = math.hypot(error, peer_error)
    if not both > 0:
        return f"difference {difference:+.4f}; one seed says nothing about its error"
    errors = abs(difference) / both
    verdict = "parity" if errors < MOST_ERRORS else "NO PARITY"
    return f"{error:.4f} and {peer_error:.4f} standard error, difference {errors:.1f} of both: {verdict}"
