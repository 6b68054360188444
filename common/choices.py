"""The choices behind the series: what was tried on the validation split, and how it came out.

`./run_all.sh --choices` runs what is missing and writes the tables to outputs/choices/. A run is kept under the digest
of its recipe, so that questions share runs, and an interrupted sweep goes on where it stopped.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from statistics import mean

import numpy as np
import torch
from torch import nn

from common.batches import Augment, Batches
from common.blocks import GlobalAveragePool, conv_block
from common.data import load_digits
from common.files import write_whole
from common.runs import RECORDED, Runs, last_five, load_runs, metrics_path, write_metrics
from common.runtime import environment, seed_everything
from common.train import DivergedError, fit

FOLDER = RECORDED / "choices"
SEEDS = (0, 1, 2)
AMOUNTS = {
    "none": Augment(),
    "mild: 8°, 1 pixel, 8 %, 5° of shear": Augment(rotation=8, shift_x=1, shift_y=1, scale=0.08, shear=5),
    "medium: 10°, 1.5 pixels, 12 %, 8°": Augment(rotation=10, shift_x=1.5, shift_y=1.5, scale=0.12, shear=8),
    "strong: 12°, 2 pixels, 16 %, 10°": Augment(rotation=12, shift_x=2, shift_y=2, scale=0.16, shear=10),
}
MEDIUM = AMOUNTS["medium: 10°, 1.5 pixels, 12 %, 8°"]
WARM = [0, 0.1], [0.05, 1]  # the rate rises during the first tenth of the steps
HEIGHTS: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "steps": lambda done: 0.3 ** int(done * 5),
    "cosine": lambda done: np.interp(done, *WARM) * (0.5 + 0.5 * np.cos(np.pi * done)),
    "linear": lambda done: np.interp(done, [0, 0.1, 1], [0.05, 1, 0]),
    "settle 0.6": lambda done: np.interp(done, [0, 0.1, 0.6, 1], [0.05, 1, 0.04, 0]),
    "settle 0.7": lambda done: np.interp(done, [0, 0.1, 0.7, 1], [0.05, 1, 0.04, 0]),
    "settle 0.8": lambda done: np.interp(done, [0, 0.1, 0.8, 1], [0.05, 1, 0.04, 0]),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": lambda: nn.ReLU(inplace=True),
    "leaky ReLU": lambda: nn.LeakyReLU(0.1, inplace=True),
    "SiLU": nn.SiLU,
}
HEADS: dict[str, Callable[[int, int], list[nn.Module]]] = {
    "GAP, FC": lambda channels, side: [GlobalAveragePool(), nn.Linear(channels, 10)],
    "1×1, GAP": lambda channels, side: [nn.Conv2d(channels, 10, 1), GlobalAveragePool()],
    "flatten, FC": lambda channels, side: [nn.Flatten(), nn.Linear(channels * side**2, 10)],
}


@dataclass(frozen=True)
class Recipe:
    """All that makes a run but its seed."""

    widths: tuple[int, ...] = (8, 8, 10, 12, 12, 14)
    padded: tuple[int, ...] = ()  # numbers of the blocks whose convolution is padded
    pooled: tuple[int, ...] = (2,)  # numbers of the blocks that pool
    separable: tuple[int, ...] = ()  # numbers of the blocks that see each channel alone, then mix
    activation: str = "ReLU"
    norm: bool = True
    dropout: float = 0.0
    dropout_everywhere: bool = False
    head: str = "GAP, FC"
    augment: Augment = MEDIUM
    learning_rate: float = 0.2
    weight_decay: float = 0.0
    batch_size: int = 64
    schedule: str = "settle 0.7"
    epochs: int = 15
    channels_last: bool = True

    @property
    def key(self) -> str:
        """Names the recipe's files; another recipe has another one."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


HEAD = "| | parameters | seeds | last five, % | lowest | loss | clean train, % |"
LAST = Recipe()
BARE = replace(LAST, augment=Augment(), schedule="constant", learning_rate=0.02)
# What each question is asked about, and the answers that were tried.
QUESTIONS: dict[str, dict[str, Recipe]] = {
    "Constant rate without batch norm, stage 1": {
        str(rate): replace(BARE, learning_rate=rate, norm=False) for rate in (0.02, 0.05, 0.1)
    },
    "Constant rate, stages 2 to 5": {str(rate): replace(BARE, learning_rate=rate) for rate in (0.02, 0.05, 0.1)},
    "Augmentation": {name: replace(LAST, augment=augment) for name, augment in AMOUNTS.items()},
    "Widths": {
        " ".join(map(str, widths)): replace(LAST, widths=widths)
        for widths in ((8, 8, 10, 12, 12, 14), (8, 8, 10, 12, 12, 16), (6, 8, 10, 12, 14, 14), (8, 8, 8, 10, 10, 12))
    },
    "Highest rate": {str(rate): replace(LAST, learning_rate=rate) for rate in (0.1, 0.2, 0.4)},
    "Schedule": {
        schedule: replace(LAST, schedule=schedule, learning_rate=0.05 if schedule == "constant" else 0.2)
        for schedule in HEIGHTS
    },
    "Dropout behind the last block": {str(rate): replace(LAST, dropout=rate) for rate in (0.0, 0.02, 0.05)},
}


def network(recipe: Recipe) -> nn.Sequential:
    """The network of a recipe, from the blocks that the notebooks use."""
    blocks, channels, side = [], 1, 28
    for number, width in enumerate(recipe.widths, 1):
        drops, pools = recipe.dropout_everywhere or number == len(recipe.widths), number in recipe.pooled
        padding = int(number in recipe.padded)
        block = conv_block(
            channels, width, norm=recipe.norm, dropout=recipe.dropout * drops, pool=pools, padding=padding
        )
        if number in recipe.separable:
            block = separated(channels, width, padding, block)
        blocks.append(activated(block, recipe.activation))
        channels, side = width, (side - 2 + 2 * padding) // (1 + pools)
    return nn.Sequential(*blocks, *HEADS[recipe.head](channels, side))


def separated(channels: int, width: int, padding: int, block: nn.Sequential) -> nn.Sequential:
    """A block that sees each channel alone and mixes them afterwards, in place of one that does both at once."""
    alone = nn.Conv2d(channels, channels, 3, padding=padding, groups=channels, bias=False)
    return nn.Sequential(
        alone, nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, width, 1, bias=False), *block[1:]
    )


def activated(block: nn.Sequential, name: str) -> nn.Sequential:
    """The block with another activation than ReLU."""
    layers = [ACTIVATIONS[name]() if isinstance(layer, nn.ReLU) else layer for layer in block]
    return nn.Sequential(*layers)


def train(recipe: Recipe, seed: int) -> None:
    """Make the run of a recipe on the validation split, and write its metrics file."""
    torch.set_num_threads(1)
    digits = load_digits("mnist", "validation")
    seed_everything(seed)
    net = network(recipe)
    if recipe.channels_last:
        net = net.to(memory_format=torch.channels_last)
    augment = recipe.augment if any(vars(recipe.augment).values()) else None
    train_loader = Batches(*digits.train, recipe.batch_size, seed, augment)
    clean_loader, held_out = (Batches(*half, 200) for half in (digits.train, digits.test))
    weights = net.parameters()
    decay = recipe.weight_decay
    optimizer = torch.optim.SGD(weights, recipe.learning_rate, 0.9, weight_decay=decay, nesterov=True, fused=True)
    steps, height = recipe.epochs * len(train_loader), HEIGHTS[recipe.schedule]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: height(step / steps))
    history = fit(net, train_loader, held_out, clean_loader, optimizer, recipe.epochs, scheduler)
    run = {
        "stage": recipe.key,
        "seed": seed,
        "dataset": digits.name,
        "split": "validation",
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        **environment(torch.device("cpu")),
        "images": {"train": len(digits.train[1]), "test": len(digits.test[1])},
        "hyperparameters": asdict(recipe),
        "seconds": sum(row["seconds"] for row in history),
        "history": history,
    }
    write_metrics(FOLDER, run)


def planned() -> list[tuple[Recipe, int]]:
    """All runs that the questions ask for, each once."""
    recipes = dict.fromkeys(recipe for answers in QUESTIONS.values() for recipe in answers.values())
    return [(recipe, seed) for seed in SEEDS for recipe in recipes]


def is_missing(recipe: Recipe, seed: int) -> bool:
    """Whether a run has no metrics file."""
    return not metrics_path(FOLDER, recipe.key, seed).exists()


def answer(jobs: int) -> str:
    """Make the runs that are missing, `jobs` at a time; write and return the tables."""
    missing = [(recipe, seed) for recipe, seed in planned() if is_missing(recipe, seed)]
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that are started now
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
        for future in [executor.submit(attempt, recipe, seed) for recipe, seed in missing]:
            future.result()
    text = tables()
    write_whole(FOLDER / "README.md", text)
    return text


def attempt(recipe: Recipe, seed: int) -> None:
    """Make a run, or say why there is none; the others go on."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the epochs of runs side by side would mix
            train(recipe, seed)
        ending = f"{load_runs(FOLDER, recipe.key).last_five:.3f} %"
    except DivergedError as error:
        ending = str(error)
    print(f"{recipe}, seed {seed}: {ending}", flush=True)


def tables() -> str:
    """A table a question, from the runs that are there."""
    there = [run for run in planned() if not is_missing(*run)]
    lines = [
        "# Choices",
        "",
        "Each is made on 10,000 images held out of the training set, with 50,000 to train on; the test set has no part"
        f" in it. {len(there)} of the {len(planned())} runs that were planned are there; `./run_all.sh --choices` makes"
        " the others, which takes hours, and brings these tables up to date.",
    ]
    for question, answers in QUESTIONS.items():
        rows = [row(name, runs) for name, recipe in answers.items() if (runs := load_runs(FOLDER, recipe.key))]
        if rows:
            lines += ["", f"## {question}", "", HEAD, "|---|---:|---:|---:|---:|---:|---:|", *rows]
    return "\n".join(lines) + "\n"


def row(name: str, runs: Runs) -> str:
    """An answer and how it came out."""
    low = min(min(last_five(run)) for run in runs)
    loss = runs.over(lambda run: mean(epoch["test_loss"] for epoch in run["history"][-5:]))
    figures = f"{runs.last_five:.3f} | {low:.2f} | {loss:.4f} | {runs.clean:.2f}"
    return f"| {name} | {runs.parameters:,} | {len(runs)} | {figures} |"


if __name__ == "__main__":
    print(answer(jobs=2))
