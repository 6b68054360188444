"""Two questions asked before the protocol, on the five sixths of the training images that no choice was made by.

`python -m common.held_out JOBS` makes the runs that are missing; outputs/held_out/README.md says how they are judged.
"""

import contextlib
import io
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from common.batches import Batches
from common.choices import make_optimizer
from common.data import hold_out, read, to_float
from common.files import write_whole
from common.recipes import HEIGHTS, LAST, SMALLER, Recipe, network
from common.runs import RECORDED
from common.runtime import environment, seed_everything
from common.train import evaluate, refresh_norms, train_epoch

FOLDER = RECORDED / "held_out"
HEIGHTS["linear"] = lambda done: np.interp(done, [0, 0.1, 1], [0.05, 1, 0])
ANSWERS = {
    "last_step/settle": LAST,
    "last_step/cosine": replace(LAST, schedule="cosine"),
    "last_step/third_block_padded": replace(LAST, padded=(3,)),
    "last_step/widths_8_8_12_14_16_18": replace(LAST, widths=(8, 8, 12, 14, 16, 18)),
    "smaller/sgd": replace(SMALLER, kernels=0.0),
    "smaller/muon": SMALLER,
}
FOLDS, SEEDS = (1, 2, 3, 4, 5), (0, 1)


def path_of(answer: str, fold: int, seed: int) -> Path:
    """Where the metrics of a run lie."""
    return FOLDER / answer / f"fold-{fold}" / f"seed-{seed}.json"


def train(recipe: Recipe, fold: int, seed: int) -> dict:
    """Train on five sixths of the training images, and evaluate in three ways after each epoch on the other sixth."""
    torch.set_num_threads(1)
    name, arrays = read("mnist")
    train, test = ((to_float(pixels, "cpu"), labels) for pixels, labels in hold_out(*arrays[:2], fold))
    seed_everything(seed)
    net = network(recipe).to(memory_format=torch.channels_last)
    loader = Batches(*train, recipe.batch_size, seed, recipe.augment)
    clean_loader, test_loader = Batches(*train, 200), Batches(*test, 200)
    optimizer = make_optimizer(net, recipe)
    steps, height = recipe.epochs * len(loader), HEIGHTS[recipe.schedule]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: height(step / steps))
    history = []
    for epoch in range(1, recipe.epochs + 1):
        rate = optimizer.param_groups[-1]["lr"]
        loss, accuracy = train_epoch(net, loader, optimizer, scheduler)
        row = {"epoch": epoch, "lr": rate, "train_loss": loss, "train_accuracy": accuracy}
        # The statistics of batch norm that training leaves; taken anew from 10,000 images; from all.
        row["usual_loss"], row["usual_correct"], _ = evaluate(net, test_loader)
        refresh_norms(net, clean_loader, 50)
        row["few_loss"], row["few_correct"], _ = evaluate(net, test_loader)
        if epoch > recipe.epochs - 5:
            refresh_norms(net, clean_loader, len(clean_loader))
        row["train_accuracy_clean"] = evaluate(net, clean_loader)[2] if epoch == recipe.epochs else None
        row["test_loss"], row["test_correct"], row["test_accuracy"] = evaluate(net, test_loader)
        history.append(row)
    return {
        "fold": fold,
        "seed": seed,
        "dataset": name,
        "split": f"fold-{fold}",
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        **environment(torch.device("cpu")),
        "images": {"train": len(train[1]), "test": len(test[1])},
        "hyperparameters": asdict(recipe),
        "history": history,
    }


def make(answer: str, fold: int, seed: int) -> str:
    """Make a run and write its metrics; a line that tells of it."""
    with contextlib.redirect_stdout(io.StringIO()):
        run = train(ANSWERS[answer], fold, seed) | {"stage": answer}
    write_whole(path_of(answer, fold, seed), json.dumps(run, indent=1, allow_nan=False) + "\n")
    five = " ".join(f"{row['test_accuracy']:.2f}" for row in run["history"][-5:])
    return f"{answer}, fold {fold}, seed {seed}: {five}"


def main(jobs: int) -> None:
    """Make the runs that are missing, `jobs` at a time: seed by seed and fold by fold through the answers."""
    runs = [(answer, fold, seed) for seed, fold, answer in product(SEEDS, FOLDS, ANSWERS)]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as executor:
        futures = [executor.submit(make, *run) for run in runs if not path_of(*run).exists()]
        for future in as_completed(futures):
            print(future.result(), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
