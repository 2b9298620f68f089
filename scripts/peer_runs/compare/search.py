"""Search by inner product against hnswlib, faiss and usearch: queries a second at equal recall, build, exact, filtered.

200,000 vectors of 64 numbers around 2,000 centres, 2,000 queries, the 100 best of each, one thread (builds: two). All
programs keep their indexes in memory and are asked in turn. A peer's setting counts when no other setting of any graph peer
is both faster and better; ours is interpolated to its recall (logarithm of the speed over that of what is missed).

1. graph     each such setting beside ours; a product-quantised index of faiss for information
2. build     each graph peer's build beside ours, same M and ef_construction
3. exact     every vector looked at: ours in one byte a number and scored again, faiss in f32; recall 1
4. filtered  ours alone: recall and speed when one half, a tenth, ... of the candidates may be returned
5. lengths   recall where the lengths of the vectors differ (lognormal, 0.3), as with a bias or popular products

--quick builds once, and leaves out 5.
"""

import math
import statistics
import subprocess

from ..conversation import Conversation
from ..workplace import PEERS

PACKAGES = ("hnswlib", "usearch", "faiss-cpu", "numpy")
DIM, K = 64, 100
OUR_EFS = (100, 110, 120, 135, 150, 175, 200, 300, 400, 600)
SHARES = (0.5, 0.1, 0.01, 0.001)
GRAPHS = ("hnswlib", "faiss-hnsw", "usearch-f32", "usearch-f16", "usearch-i8")
QUANTISED = "faiss-ivf-pq-fastscan"
BUILDS = 5


def run(workplace, results, options):
    python, binary = workplace.python("search", PACKAGES), workplace.binary("peer-search")
    ours, peers = sides(workplace, python, binary)
    try:
        builds(results, options, ours, peers)
        graph(results, options, ours, peers)
        exact(results, options, ours, peers)
        filtered(results, ours)
    finally:
        ours.end()
        peers.end()
    if not options.quick:
        lengths(results, *sides(workplace, python, binary, "--lengths", 0.3))


def sides(workplace, python, binary, *options):
    folder = workplace.folder("vectors")
    made = [python, PEERS / "ann_peers.py", "data", "--out", folder, "--dim", DIM, "--k", K, *options]
    subprocess.run([str(part) for part in made], check=True)
    files = ("--items", folder / "items.f32", "--queries", folder / "queries.f32", "--truth", folder / "truth.u32")
    ours = Conversation(binary, *files, "--dim", DIM, "--k", K)
    return ours, Conversation(python, PEERS / "ann_peers.py", "serve", "--data", folder, "--dim", DIM, "--k", K)


def builds(results, options, ours, peers):
    seconds = {name: [] for name in ("ours", *GRAPHS)}
    for turn in range(1 if options.quick else BUILDS):
        order = list(seconds) if turn % 2 == 0 else list(reversed(seconds))
        for name in order:
            answer = ours.ask("build") if name == "ours" else peers.ask("build", name)
            seconds[name].append(answer["build_s"])
    for name in GRAPHS:
        results.pairs("build of the graph, two threads", "s", name, seconds["ours"], seconds[name], more_is_better=False)
    peers.ask("build", QUANTISED)


def graph(results, options, ours, peers):
    settings = peers.ask("names")["settings"]
    asked = [(name, setting) for name in (*GRAPHS, QUANTISED) for setting in settings[name]]
    theirs, own = {key: [] for key in asked}, {ef: [] for ef in OUR_EFS}
    for turn in range(options.pairs):
        for name in (*GRAPHS, QUANTISED) if turn % 2 == 0 else (QUANTISED, *reversed(GRAPHS)):
            for setting in settings[name]:
                theirs[name, setting].append(peers.ask("search", name, setting))
        for ef in OUR_EFS:
            own[ef].append(ours.ask("hnsw", ef))
    for ef, answers in own.items():
        results.say(f"  ours, ef_search {ef}: {median(answers):.0f} queries/s, recall {answers[0]['recall']:.4f}")
    for name, setting in asked:
        answers = theirs[name, setting]
        recall = answers[0]["recall"]
        if name != QUANTISED and not is_best(theirs, name, setting):
            results.say(f"  {name}, {setting}: {median(answers):.0f} queries/s, recall {recall:.4f}: another peer is better")
            continue
        mine = [interpolated([own[ef][turn] for ef in OUR_EFS], recall) for turn in range(options.pairs)]
        if None in mine:
            results.say(f"  {name}, {setting}: recall {recall:.4f} is beyond what ours was asked for")
            continue
        rates = [answer["qps"] for answer in answers]
        results.pairs(f"search at recall {recall:.4f}", "queries/s", f"{name}, {setting}", mine, rates)


def median(answers):
    return statistics.median(answer["qps"] for answer in answers)


def is_best(theirs, name, setting):
    """No setting of a graph peer is faster and better."""
    own = theirs[name, setting]
    others = (answers for (other, _), answers in theirs.items() if other != QUANTISED and answers is not own)
    return not any(
        median(answers) >= median(own) and answers[0]["recall"] >= own[0]["recall"] for answers in others
    )


def interpolated(answers, recall):
    """Our speed at a recall; that of the fastest setting where it is better; None beyond the best."""
    points = [(math.log(max(1 - answer["recall"], 1e-9)), math.log(answer["qps"])) for answer in answers]
    wanted = math.log(max(1 - recall, 1e-9))
    if wanted >= points[0][0]:
        return math.exp(points[0][1])
    for (missed, rate), (next_missed, next_rate) in zip(points, points[1:]):
        if next_missed <= wanted <= missed:
            share = (missed - wanted) / (missed - next_missed) if missed > next_missed else 1
            return math.exp(rate + share * (next_rate - rate))
    return None


def exact(results, options, ours, peers):
    mine, theirs = [], []
    for _ in range(options.pairs):
        mine.append(ours.ask("int8"))
        theirs.append(peers.ask("exact"))
    if any(answer["recall"] != 1 for answer in mine):
        raise SystemExit("FAILED: our exact search is not exact")
    rate = lambda answers: [answer["qps"] for answer in answers]
    results.pairs("exact search, recall 1", "queries/s", "faiss, exact", rate(mine), rate(theirs))


def filtered(results, ours):
    results.say("  ours, filtered (the candidates that pass are drawn by chance):")
    for ef in (128, 200):
        open_ = ours.ask("hnsw", ef)
        results.say(f"    ef_search {ef}, all: recall {open_['recall']:.4f}, {open_['qps']:.0f} queries/s")
        for share in SHARES:
            answer = ours.ask("filtered", ef, share)
            verdict = "" if answer["recall"] >= open_["recall"] else ": BELOW the unfiltered one"
            text = f"    ef_search {ef}, {share:.1%}: recall {answer['recall']:.4f}, {answer['qps']:.0f} queries/s"
            results.say(text + verdict)


def lengths(results, ours, peers):
    ours.ask("build")
    peers.ask("build", "hnswlib")
    for ef in (100, 200, 400):
        mine, theirs = ours.ask("hnsw", ef), peers.ask("search", "hnswlib", ef)
        ratio = mine["recall"] / theirs["recall"]
        what = f"lengths that differ, ef_search {ef}"
        results.line(what, f"recall@{K}", "hnswlib", mine["recall"], theirs["recall"], ratio, (ratio, ratio))
    ours.end()
    peers.end()
