"""The measurements: each one a figure a round, what is compared in turns within it."""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.chain_cost import overhead, run_chain
from benchmarks.processes import Worker, busy_neighbour, rate, together

STAGES = "05_augmentation", "06_lr_scheduler"  # those with augmentation
TRICKS = "compiled", "in bfloat16", "in batches of 256"  # that the series does without
Figures = dict[str, list[float]]  # a figure a round, by name


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int = 6
    images: int = 12_000  # of a pass
    products: int = 60  # of two matrices
    tricks: tuple[str, ...] = TRICKS
    short_rounds: int = 3
    few_images: int = 4000  # of the smallest run that larger ones are held against
    many_epochs: int = 10
    chain_rounds: int = 3
    chain: tuple[str, ...] = ("--epochs", "3")
    seeds: tuple[int, ...] = (2, 4)
    seeds_chain: tuple[str, ...] = ("--stages", "6", "--epochs", "1", "-p", "images", "1000")


SMALL = Sizes(
    rounds=1,
    images=128,
    products=1,
    tricks=TRICKS[1:],  # compiling takes a minute
    short_rounds=1,
    few_images=64,
    many_epochs=3,
    chain_rounds=1,
    chain=("--stages", "6", "--epochs", "1", "-p", "images", "128"),
    seeds=(1, 2),
)


@dataclass(frozen=True)
class Bench:
    """What measurements need: two workers set up like the runner's kernels, two as they come, and what to train on."""

    ours: list[Worker]
    usual: list[Worker]
    data: str
    sizes: Sizes


def throughput(bench: Bench) -> Figures:
    """Images in a second that the machine trains on, ours and conventional, all forms in turns."""
    images, last = bench.sizes.images, STAGES[-1]
    forms: dict[str, Callable[[], float]] = {}

    def add(name: str, workers: list[Worker], do: str, **task) -> None:
        task = {"data": bench.data, "images": images, "stage": last} | task
        forms[name] = lambda: rate(together(workers, do, **task))

    for stage in STAGES:
        add(f"ours {stage}", bench.ours, "ours", stage=stage, form="with jitter")
    add("ours alone", bench.ours[:1], "ours", form="with jitter")
    for form in ("as recorded", *bench.sizes.tricks):
        if form != "compiled" or can_compile():
            add(f"ours {form}", bench.ours, "ours", form=form)
    add("conventional, 0 workers", bench.usual[:1], "conventional", num_workers=0)
    add("conventional, 2 workers", bench.usual[:1], "conventional", num_workers=2)
    add("conventional, 2 workers, one thread", bench.usual[:1], "conventional", num_workers=2, threads=1)
    add("conventional alone", bench.usual[:1], "conventional", num_workers=0, threads=1)
    add("conventional, two side by side", bench.usual, "conventional", num_workers=0, threads=1)
    products = bench.sizes.products
    forms["matrix product"] = lambda: rate(together(bench.ours, "matrix_product", times=products), "flops")
    for form in forms.values():
        form()  # not counted: whatever is set up once is set up now
    return in_turns(forms, bench.sizes.rounds)


def can_compile() -> bool:
    """Whether there is a compiler, which `torch.compile` needs for what runs on a CPU."""
    return any(map(shutil.which, ("g++", "clang++")))


def in_turns(forms: dict[str, Callable[[], float]], rounds: int) -> Figures:
    """A figure a round of each form; taking turns, they share whatever else the machine does."""
    figures: Figures = {name: [] for name in forms}
    for _ in range(rounds):
        for name, form in forms.items():
            figures[name].append(form())
    return figures


def flops(bench: Bench) -> float:
    """Of training on one image."""
    task = {"data": bench.data, "stage": STAGES[-1], "images": bench.sizes.images}
    return together(bench.ours[:1], "arithmetic", **task)[0]["flops"]


def neighbour(bench: Bench) -> Figures:
    """How much slower training gets beside a process that spins: in the runner, and in a notebook run by hand."""
    task = {"data": bench.data, "stage": STAGES[-1], "images": bench.sizes.images // 6, "form": "as recorded"}

    def beside(workers: list[Worker]) -> float:
        alone = rate(together(workers, "ours", **task))
        with busy_neighbour():
            return alone / rate(together(workers, "ours", **task))

    forms = {"in the runner": lambda: beside(bench.ours), "by hand": lambda: beside(bench.usual[:1])}
    for workers in (bench.ours, bench.usual[:1]):
        together(workers, "ours", **task)
    return in_turns(forms, bench.sizes.short_rounds)


def growth(bench: Bench) -> Figures:
    """The power of epochs and of images that the time grows with (1: twice as many take twice as long)."""
    few = bench.sizes.few_images

    def taken(images: int, epochs: int) -> float:
        task = {"data": bench.data, "stage": STAGES[-1], "images": images, "epochs": epochs}
        return together(bench.ours[:1], "whole_fit", **task)[0]["seconds"]

    for images in (few, 4 * few):
        taken(images, 1)
    forms = {
        "epochs": lambda: power(taken(few, 1), taken(few, 4), 4),
        "images": lambda: power(taken(few, 1), taken(4 * few, 1), 4),
    }
    return in_turns(forms, bench.sizes.short_rounds)


def growth_by_seeds(bench: Bench) -> list[float]:
    """The same for the seeds of a chain, whose shortest runs are mostly kernel start."""
    few, many = bench.sizes.seeds

    def taken(count: int) -> float:
        seeds = ["--seeds", *map(str, range(count))]
        return run_chain([*bench.sizes.seeds_chain, "--data", bench.data, *seeds], jobs=2)["wall"]

    return [power(taken(few), taken(many), many / few) for _ in range(bench.sizes.chain_rounds)]


def power(small: float, large: float, times: float) -> float:
    """The p of `large = small * times ** p`."""
    return math.log(large / small, times)


def memory_growth(bench: Bench) -> list[float]:
    """Megabytes that a process holds more of after many epochs than after two."""
    task = {"data": bench.data, "stage": STAGES[-1], "images": bench.sizes.few_images}
    memory = together(bench.ours[:1], "whole_fit", **task, epochs=bench.sizes.many_epochs)[0]["memory"]
    return [memory[-1] - memory[1]]


def whole_chain(bench: Bench) -> Figures:
    """What a real chain on two cores adds to its training, and the memory of its largest process, in gigabytes."""
    chains = [run_chain([*bench.sizes.chain, "--data", bench.data], jobs=2) for _ in range(bench.sizes.chain_rounds)]
    return {
        "overhead": [overhead(chain, jobs=2) for chain in chains],
        "gigabytes": [chain["gigabytes"] for chain in chains],
    }
