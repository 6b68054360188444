"""What the benchmarks found, on a processor and on a GPU: tables, and the figures that sentences are made of."""

import json
from pathlib import Path
from statistics import mean, median
from typing import Any

from common.intervals import markdown_table
from common.runs import GOAL

MARKS = 98, 99, GOAL  # % of the test images
TITLES = {  # of the contenders; the first one is what others are held against
    "last_step": "step 6",
    "one_file": "step 6 in one file",
    "pytorch_example": "PyTorch's MNIST example",
    "fast_series": "`train_mnist_fast`, its last notebook",
    "conventional": "B3, PIL and `DataLoader`",
}
RECORDS = {"bench": "benchmark.json", "gpu": "cuda/benchmark.json"}
UNRECORDED = {  # what stands in a page in place of figures that nobody has measured
    "bench": {
        "fast": "",
        "speed": "Nothing of this kind is recorded yet: `./run_all.sh benchmark` makes a record, in about an hour.",
        "growth": "Nothing of this kind is recorded yet: the same command measures it.",
    },
    "gpu": {
        "gpu": "",
        "cuda": "Nothing is recorded on a GPU yet: `./run_all.sh benchmark --device cuda` makes a record.",
    },
    "ten": {
        "ten": "Ten seeds of step 6 on a GPU are not recorded yet: `./run_all.sh benchmark --device cuda` runs them."
    },
}


class Bench:
    """A record of the processor's benchmark, and what follows from it."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record, self.rounds = record, record["contenders"]
        self.machine, self.growth = record["machine"], record.get("growth", {})

    def seconds(self, name: str, accuracy: float) -> list[float | None]:
        """Round by round, the processor seconds after which a contender first had this accuracy; None if never."""
        curves = [each["curve"] for each in self.rounds[name]]
        return [next((when for when, found in curve if found >= accuracy - 1e-9), None) for curve in curves]

    def after(self, accuracy: float) -> str:
        """When the last step first had this accuracy."""
        return in_words(self.seconds("last_step", accuracy)).partition(" (")[0]

    def epochs(self, name: str) -> list[float]:
        """Round by round, the processor seconds of an epoch, with its test, and its share of what is done once."""
        return [each["curve"][-1][0] / len(each["curve"]) for each in self.rounds[name]]

    def ends(self, name: str) -> list[list[float]]:
        """Round by round, the last five accuracies."""
        return [[found for _, found in each["curve"][-5:]] for each in self.rounds[name]]

    def ratios(self, name: str, accuracy: float | None = None) -> list[float | None]:
        """Round by round, how many times as long as the last step it takes: for an epoch, or until an accuracy."""
        both = [self.epochs(one) if accuracy is None else self.seconds(one, accuracy) for one in (name, "last_step")]
        return [theirs / ours if theirs and ours else None for theirs, ours in zip(*both, strict=False)]

    @property
    def gigabytes(self) -> float:
        """The memory of the last step at its highest."""
        return max(each["gigabytes"] for each in self.rounds["last_step"])

    def an_hour(self, way: str) -> float:
        """How many runs of the last step an hour makes."""
        return 3600 * self.growth[way]["runs"] / self.growth[way]["seconds"]

    def hours(self, runs: int, cores: int) -> float:
        """What so many runs would take on so many cores, at the rate of Dask's workers here."""
        return runs / (self.an_hour("Dask workers") / self.growth["Dask workers"]["runs"] * cores)


def in_words(values: list[float | None], form: str = "{:.0f}", never: str = "never") -> str:
    """The median with its range; who is never there in some rounds has neither."""
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return f"in {len(there)} of {len(values)} rounds" if there else never
    low, middle, high = (form.format(one) for one in (min(there), median(there), max(there)))
    return f"{middle} ({low}–{high})" if low != high else middle


def read_records(outputs: Path) -> dict[str, Any]:
    """The records that there are, by the names that the words have for them."""
    paths = {name: outputs / path for name, path in RECORDS.items()}
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}
    if "seeds" in found.get("gpu", {}):
        found["ten"] = found["gpu"]["seeds"]
    return found | ({"bench": Bench(found["bench"])} if "bench" in found else {})


def unrecorded(found: dict[str, Any]) -> dict[str, str]:
    """What to say in the parts of pages that the records found have no figures for."""
    return {name: words for record, parts in UNRECORDED.items() if record not in found for name, words in parts.items()}


def table(bench: Bench) -> str:
    """A row a contender: what it takes to each mark, and how it ends."""
    rows = []
    for name, rounds in bench.rounds.items():
        ends = bench.ends(name)
        held = sum(len(end) == 5 and min(end) >= GOAL - 1e-9 for end in ends)
        until = [in_words(bench.seconds(name, accuracy)) for accuracy in MARKS]
        end = f"{mean(map(mean, ends)):.2f}" + ("" if len(ends[0]) == 5 else f" ({len(ends[0])} epoch)")
        cells = [f"{rounds[0]['parameters']:,}", in_words(bench.epochs(name), "{:.1f}"), *until, end]
        rows.append([TITLES[name], *cells, f"{held} of {len(rounds)}"])
    marks = [f"until {accuracy}%" for accuracy in MARKS]
    return markdown_table(["", "parameters", "s an epoch", *marks, "last five, %", f"hold {GOAL}%"], rows)


def ratios(bench: Bench) -> str:
    """A row a contender: how many times as long as the last step it takes."""
    rows = [
        [TITLES[name], *(in_words(bench.ratios(name, mark), "{:.1f}×", "–") for mark in (None, *MARKS))]
        for name in bench.rounds
        if name != "last_step" and "last_step" in bench.rounds
    ]
    return markdown_table(["times step 6", "an epoch", *(f"until {accuracy}%" for accuracy in MARKS)], rows)


def page(bench: Bench) -> str:
    """Both tables, the picture, and what they were measured with."""
    versions = bench.record["versions"]
    made = f"PyTorch {versions['torch']}, Python {versions['python']}, commit {bench.record['commit']}"
    words = f"Processor seconds, one thread each: median of the rounds (lowest–highest). {bench.machine}, {made}."
    picture = "![Test accuracy against processor seconds](../outputs/figures/benchmark.png)"
    return "\n\n".join([table(bench), words, picture, ratios(bench)])
