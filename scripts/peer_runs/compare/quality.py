"""Quality of recommendations against popularity, own purchases, ALS, a blend and EASE on the same rows.

Every method is trained on everything before the test and judged on the same test rows, for the split by time (the last 7
days) and the random one (the last 5 % of the rows). Ours is the preset `recommended`, with some seeds; the peers of
baselines.py have nothing random but ALS, whose seed is fixed. A table a split: recall@5/10/50/100 with the standard error
over test rows, the standard deviation of recall@100 over the seeds, seconds of training.

--tfrs adds TensorFlow Recommenders after 30 epochs (5 minutes a split). --quick trains ours with 2 seeds.
"""

import json
import subprocess
import sys

from .. import in_turn, recall
from ..workplace import PEERS

BASELINES = ("pandas", "pyarrow", "implicit")
TFRS = ("tensorflow-cpu", "tensorflow-recommenders", "tf-keras", "pandas", "pyarrow")
SPLITS = ("time", "random")


def add_options(parser):
    parser.add_argument("--seeds", type=int, default=5, help="of ours (default 5)")
    parser.add_argument("--tfrs", action="store_true", help="TensorFlow Recommenders as well, 30 epochs")
    parser.add_argument("--split", choices=SPLITS, nargs="+", default=SPLITS, help="both unless given")


def run(workplace, results, options):
    folder = workplace.folder("ranks")
    for split in options.split:
        peers = baselines(workplace, split, folder)
        if options.tfrs:
            peers.append(tfrs(workplace, split, folder))
        ours = recommended(workplace, split, folder, 2 if options.quick else options.seeds)
        results.say(f"\n{split} split, {ours[0].runs[0]['test_rows']} test rows; ± is one standard error over them")
        recall.table(results.say, peers + ours)
        results.say("")
        for method in ours:
            compare(results, split, method, peers)


def recommended(workplace, split, folder, seeds):
    """The towers alone, and the towers with the repeat-purchase term where the program knows it."""
    binary, runs, files = workplace.binary("peer-train"), [], []
    for seed in range(1, seeds + 1):
        files.append(folder / f"{split}-ours-{seed}.ranks")
        command = [binary, "train", "--preset", "recommended", "--split", split, "--seed", seed]
        runs.append(in_turn.run([*command, "--data", workplace.data(), "--ranks", files[-1]])[0])
    methods = [recall.Method("recs, preset recommended: towers", runs, ranks=files)]
    if "repeat_recall@100" in runs[0]:
        with_repeat = [file.with_name(file.name + ".repeat") for file in files]
        known = with_repeat if all(file.exists() for file in with_repeat) else ()
        name = "recs, preset recommended: towers and repeat purchases"
        methods.append(recall.Method(name, runs, prefix="repeat_recall", ranks=known))
    return methods


def baselines(workplace, split, folder):
    python = workplace.python("baselines", BASELINES)
    command = [python, PEERS / "baselines.py", "--data", workplace.data(), "--split", split, "--ranks", folder]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"FAILED: baselines.py\n{done.stderr[-4000:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [recall.Method(line["method"], [line], ranks=[line["ranks"]]) for line in lines]


def tfrs(workplace, split, folder):
    python, ranks = workplace.python("tfrs", TFRS), folder / f"{split}-tfrs.ranks"
    command = [python, PEERS / "tfrs_train.py", "--data", workplace.data(), "--split", split, "--epochs", 30]
    answer, _ = in_turn.run([*command, "--ranks", ranks])
    return recall.Method("TensorFlow Recommenders, 30 epochs", [answer], ranks=[ranks])


def compare(results, split, ours, peers):
    """A line for every peer and cut (the table shows those of the largest), the paired difference to the best of them."""
    for k in recall.CUTS:
        for peer in peers:
            ratios = [value / peer.mean(k) for value in ours.recalls(k)]
            what, ratio = f"recall@{k}, {split} split", ours.mean(k) / peer.mean(k)
            spread = (min(ratios), max(ratios))
            means = ours.mean(k), peer.mean(k)
            results.line(what, "recall", peer.name, *means, ratio, spread, in_table=k == max(recall.CUTS))
        if ours.ranks:
            best = max(peers, key=lambda peer: peer.mean(k))
            mean, error = recall.difference(ours, best, k)
            results.say(f"  {ours.name}: {mean:+.4f} ± {error:.4f} recall@{k} against the best, {best.name}")
