"""Processes that are killed at random moments, and rivals that publish the same."""

import random
import subprocess
import sys

from .program import run


def killed(recs, folder, after, *arguments):
    process = subprocess.Popen([recs, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def whole(recs, folder):
    """Everything visible opens: each dataset with a metadata.json, each model with a manifest.json."""
    store = folder / "store/tenants/demo"
    datasets = sorted(p.parent.name for p in store.glob("datasets/*/metadata.json"))
    models = sorted(p.parent.name for p in store.glob("models/*/manifest.json"))
    for name in datasets:
        run(recs, folder, "vocab", "--dataset", name)
    for name in models:
        run(recs, folder, "recommend", "--model", name, "--customer", "1")
    return len(datasets), len(models)


def kills(recs, folder, count, dataset_s):
    train = ("--dataset", "base", "--epochs", "1")
    _, train_s, _ = run(recs, folder, "train", "--version", "base", *train)
    hit = 0
    for i in range(count):
        hit += killed(recs, folder, random.uniform(0, dataset_s * 1.1), "dataset", "--run-id", f"d{i}")
        # Publication is the last part of a training: aim there.
        hit += killed(recs, folder, random.uniform(train_s * 0.6, train_s * 1.1), "train", "--version", f"m{i}", *train)
    datasets, models = whole(recs, folder)
    print(f"kills: {hit} of {2 * count} runs were killed; all {datasets} datasets and {models} models visible are whole")


def checkpoints(recs, folder):
    train = ("--dataset", "base", "--epochs", "3", "--threads", "2")
    _, train_s, _ = run(recs, folder, "train", "--version", "whole", *train)
    kept, hit = ("--checkpoint", "checkpoints", "--checkpoint-every-steps", "3"), 0
    # Loading comes before the first step: less time than that would never get there.
    while killed(recs, folder, random.uniform(train_s * 0.3, train_s * 0.7), "train", "--version", "pieces", *train, *kept):
        hit += 1
    weights = [(folder / f"store/tenants/demo/models/{name}/weights.safetensors").read_bytes() for name in ("whole", "pieces")]
    if weights[0] != weights[1]:
        sys.exit(f"FAILED: checkpoints: after {hit} kills the weights are others")
    print(f"checkpoints: killed {hit} times, the same weights bit for bit")


def rivals(recs, folder):
    train = ("train", "--version", "rival", "--dataset", "base", "--epochs", "1")
    for command in (("dataset", "--run-id", "rival"), train):
        pair = [subprocess.Popen([recs, *command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        errors = [process.communicate()[1] for process in pair]
        codes = sorted(process.returncode for process in pair)
        if codes != [0, 1] or not any("exists already" in error or "is publishing here" in error for error in errors):
            sys.exit(f"FAILED: rivals of recs {command[0]}: exit codes {codes}, {errors}")
    whole(recs, folder)
    print("rivals: exactly one of two writers won, and what it published is whole")
