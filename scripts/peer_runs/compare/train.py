"""Training against TensorFlow Recommenders: examples a second, recall of the same model, the whole job.

1. speed    the reference preset and tfrs_train.py on rows in memory, batch 2048, random split: 3 epochs a run, the first
            left out; without activation, and with relu between the layers on both sides
2. parity   the same two after 5 and 30 epochs, some seeds each: recall must differ by less than 2 standard errors
3. job      shards on disk -> vocabularies -> 5 epochs, all validation rows scored after each -> model on disk: wall time of
            the two processes, ours beside tfrs_pipeline.py

--quick leaves out the parity after 30 epochs (5 minutes a run for the peer) and runs the job once, for 2 epochs.
"""

from .. import in_turn, parity
from ..workplace import PEERS

PACKAGES = ("tensorflow-cpu", "tensorflow-recommenders", "tf-keras", "pandas", "pyarrow")
PEER = "TensorFlow Recommenders"
SPEED_EPOCHS = 3
SHARDS = 25


def add_options(parser):
    parser.add_argument("--seeds", type=int, default=3, help="of each side in the parity (default 3)")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="speed, parity, job"
    )


def run(workplace, results, options):
    python = workplace.python("tfrs", PACKAGES)
    sides = Sides(workplace.binary("peer-train"), python, workplace.data())
    for part in options.only:
        PARTS[part](workplace, results, options, sides)


class Sides:
    """The two programs that train on rows in memory."""

    def __init__(self, binary, python, data):
        self.binary, self.python, self.data = binary, python, data

    def ours(self, *arguments):
        command = [self.binary, "train", "--preset", "reference", "--data", self.data, *arguments]
        return in_turn.run(command)[0]

    def peer(self, *arguments):
        return in_turn.run([self.python, PEERS / "tfrs_train.py", "--data", self.data, *arguments])[0]

    def pairs(self, count, arguments):
        """Both sides' answers to the arguments of each pair."""
        return in_turn.pairs(
            count, lambda pair: self.ours(*arguments(pair)), lambda pair: self.peer(*arguments(pair))
        )


def speed(workplace, results, options, sides):
    for name, activation in (("no activation", ()), ("relu", ("--activation", "relu"))):
        ours, peer = sides.pairs(
            options.pairs, lambda pair: ("--epochs", SPEED_EPOCHS, "--seed", pair + 1, *activation)
        )
        rate = lambda answers: [answer["examples_per_s"] for answer in answers]
        results.pairs(f"train, in memory, batch 2048, {name}", "examples/s", PEER, rate(ours), rate(peer))


def parity_of_recall(workplace, results, options, sides):
    if options.quick:
        results.say("--quick: the parity after 30 epochs is left out")
    for epochs in (5,) if options.quick else (5, 30):
        ours, peer = sides.pairs(options.seeds, lambda pair: ("--epochs", epochs, "--seed", pair + 1))
        parity.report(results, PEER, f"after {epochs} epochs", ours, peer)


def job(workplace, results, options, sides):
    shards, epochs = workplace.folder("shards"), 2 if options.quick else 5
    in_turn.run([sides.binary, "shards", "--data", sides.data, "--out", shards, "--count", SHARDS])
    common = ("--shards", shards, "--epochs", epochs)

    def ours(pair):
        out = workplace.folder("ours")
        return in_turn.run([sides.binary, "pipeline", *common, "--seed", pair + 1, "--out", out])

    def peer(pair):
        out = workplace.folder("peer")
        command = [sides.python, PEERS / "tfrs_pipeline.py", *common, "--seed", pair + 1, "--out", out]
        return in_turn.run(command)

    ours, peer = in_turn.pairs(1 if options.quick else options.pairs, ours, peer)
    what = f"shards to saved model, {epochs} epochs"
    wall = lambda answers: [seconds for _, seconds in answers]
    rate = lambda answers: [answer["examples_per_s"] for answer, _ in answers]
    results.pairs(what, "s", PEER, wall(ours), wall(peer), more_is_better=False)
    results.pairs(f"{what}: steps alone", "examples/s", PEER, rate(ours), rate(peer))
    for side, (answer, _) in (("ours", ours[-1]), ("peer", peer[-1])):
        phases = {key: value for key, value in answer.items() if key.endswith("_s") and "_per_" not in key}
        results.say(f"  {side}, last run: " + ", ".join(f"{key} {value}" for key, value in phases.items()))


PARTS = {"speed": speed, "parity": parity_of_recall, "job": job}
