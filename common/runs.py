"""The runs that metrics files tell of: written, found, compared, and the figures taken from them."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean

from common import InputError
from common.files import write_whole
from common.metrics import complaint, is_name

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "outputs"
TARGET = 99.4  # % of MNIST's test set, in each of the last five epochs
MNIST = "MNIST"
SAME_DATA = ("dataset", "split", "images", "epochs")


class MissingRun(Exception):
    """A claim asks for runs that are not there; the message says what is left out for it."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"A comparison with `{stage}` is left out: it has not been run alike.")


class TooFewSeeds(MissingRun):
    """A claim asks for what several seeds would tell."""

    def __init__(self) -> None:
        Exception.__init__(self, "What several seeds would tell is left out: there is one.")


class Runs(list):
    """The runs of one stage that can be compared with one another, by seed; a figure is the mean over them."""

    def __init__(self, stage: str, runs: list[dict]) -> None:
        super().__init__(sorted(runs, key=lambda run: run["seed"]))
        self.stage = stage

    def over(self, figure: Callable[[dict], float]) -> float:
        """The mean of `figure` over the runs."""
        if not self:
            raise MissingRun(self.stage)
        return mean(figure(run) for run in self)

    def test(self, epoch: int) -> float:
        """Test accuracy after `epoch` (from 1; -1 is the last)."""
        return self.over(lambda run: at(run, epoch)["test_accuracy"])

    @property
    def ends(self) -> list[float]:
        """Every run's mean test accuracy of the last five epochs."""
        return [end(run) for run in self]

    @property
    def last_five(self) -> float:
        """Mean test accuracy of the last five epochs."""
        return self.over(end)

    @property
    def lowest(self) -> float:
        """The lowest test accuracy of any run in its last five epochs."""
        return min(min(last_five(run)) for run in self)

    def gain(self, before: "Runs") -> float:
        """Points of `last_five` on those of another stage."""
        return self.last_five - before.last_five

    @property
    def swing(self) -> float:
        """From the lowest to the highest of the last five epochs."""
        return self.over(lambda run: max(last_five(run)) - min(last_five(run)))

    @property
    def clean(self) -> float:
        """Train accuracy at the end, in eval mode on images as they are: what may be compared with test accuracy."""
        return self.over(lambda run: run["history"][-1]["train_accuracy_clean"])

    @property
    def running(self) -> float:
        """Train accuracy of the last epoch as the training saw it."""
        return self.over(lambda run: run["history"][-1]["train_accuracy"])

    @property
    def loss(self) -> float:
        """Mean test loss of the last five epochs."""
        return self.over(lambda run: mean(row["test_loss"] for row in run["history"][-5:]))

    @property
    def gap(self) -> float:
        """Clean train accuracy less test accuracy, after the last epoch."""
        return self.clean - self.test(-1)

    def scale(self, what: str, block: int) -> float:
        """Of the fresh network: the spread of the "values" behind a block, or the size of its "gradients"."""
        if not all("scales" in run for run in self):
            raise MissingRun(self.stage)
        return self.over(lambda run: run["scales"][what][block])

    @property
    def parameters(self) -> int:
        """Of the network."""
        return round(self.over(lambda run: run["parameters"]))

    @property
    def holding(self) -> int:
        """How many of the runs hold the series' target."""
        return self.held(TARGET)

    def held(self, target: float) -> int:
        """How many of the runs are at `target` in every one of their last five epochs."""
        return sum(holds(run, target) for run in self)


def at(run: dict, epoch: int) -> dict:
    """The row of `epoch` in a run's history; the last one where the run is shorter."""
    return run["history"][-1 if epoch < 0 else min(epoch, len(run["history"])) - 1]


def last_five(run: dict) -> list[float]:
    """Test accuracies of the last five epochs."""
    return [row["test_accuracy"] for row in run["history"][-5:]]


def end(run: dict) -> float:
    """A run's figure: the mean accuracy of its last five epochs."""
    return mean(last_five(run))


def holds(run: dict, target: float) -> bool:
    """Whether every one of the last five epochs reaches `target`; a shorter run shows nothing."""
    return len(run["history"]) >= 5 and min(last_five(run)) >= target - 1e-9


def size(run: dict) -> tuple[bool, int, int]:
    """Ranks runs: MNIST before the stand-in, more epochs before fewer, more images before fewer."""
    return run["dataset"] == MNIST, run["epochs"], run["images"]["train"]


def lacks(mine: tuple, theirs: tuple) -> bool:
    """Whether a run of one size may not take the place of one of the other: on like data, it has less of something."""
    if mine[0] != theirs[0]:
        return mine[0] < theirs[0]
    return any(one < other for one, other in zip(mine[1:], theirs[1:], strict=True))


def metrics_path(folder: Path | str, stage: str, seed: int) -> Path:
    """Where the metrics file of a run lies."""
    if not is_name(stage):
        raise InputError(f"stage {stage!r} is no name: use letters, digits, _, - and dots")
    return Path(folder) / "metrics" / stage / f"seed-{seed}.json"


def write_metrics(folder: Path | str, run: dict) -> Path:
    """Write a run's metrics file, whole or not at all, and never over one of a larger run."""
    path = metrics_path(folder, run["stage"], run["seed"])
    if path.exists() and lacks(size(run), size(read_run(path))):
        raise InputError(f"{path} holds a larger run: write this one to another folder (parameter `out`)")
    write_whole(path, json.dumps(run, indent=1, allow_nan=False) + "\n")
    return path


def read_run(path: Path) -> dict:
    """What a metrics file says; InputError if it isn't one, or not the one that belongs there."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} can't be read ({error}): delete it, or make it anew") from None
    wrong = complaint(run)
    if not wrong and path.parts[-2:] != (run["stage"], f"seed-{run['seed']}.json"):
        wrong = "it is of another stage or seed"
    if wrong:
        raise InputError(f"{path} is no metrics file of this series ({wrong}): delete it, or make it anew")
    return run


def load_runs(folder: Path | str, stage: str, like: dict | None = None) -> Runs:
    """The runs of `stage` under `folder`; given `like`, only those made of the same data for as many epochs.

    Of these, only the ones of one recipe, the nearest to that of `like`: another rate is not another seed.
    """
    files = (Path(folder) / "metrics" / stage).glob("seed-*.json")
    runs = [read_run(file) for file in files]
    if like:
        runs = [run for run in runs if all(run[key] == like[key] for key in SAME_DATA)]
        nearest = min(runs, key=lambda run: (distance(run, like), run["seed"]), default=None)
        runs = [run for run in runs if recipe(run) == recipe(nearest)]
    return Runs(stage, runs)


def recipe(run: dict) -> dict:
    """What shapes a run, beside its data and its seed."""
    return {"parameters": run["parameters"], "batch_size": run["batch_size"], **run["hyperparameters"]}


def distance(run: dict, other: dict) -> int:
    """In how many of the settings that both have two runs differ."""
    mine, theirs = recipe(run), recipe(other)
    return sum(mine[name] != theirs[name] for name in mine.keys() & theirs.keys())


def comparable(folder: Path | str, stage: str, run: dict) -> Runs:
    """The runs of `stage` made of the same data for as many epochs as `run`: beside it, else the recorded ones."""
    return load_runs(folder, stage, run) or load_runs(RECORDED, stage, run)


def stages(folder: Path | str) -> list[str]:
    """The stages that have runs in `folder` or among the recorded ones."""
    found = {path.name for place in (folder, RECORDED) for path in Path(place).glob("metrics/*")}
    return sorted(filter(is_name, found))
