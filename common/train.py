"""The training loop and the evaluation that every stage uses."""

import json
import math
import os
import sys
import time
from collections.abc import Iterable
from copy import deepcopy
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

Loader = Iterable[tuple[Tensor, Tensor]]


class DivergedError(RuntimeError):
    """The loss stopped being a number; the message names epoch and step."""


def train_epoch(
    model: nn.Module, loader: Loader, optimizer: Optimizer, scheduler: LRScheduler | None = None
) -> tuple[float, float]:
    """One pass over `loader`: the mean loss, and the percentage right as the training sees it.

    `scheduler` is told of every batch, not of every epoch: it counts `epochs * len(loader)` steps.
    """
    model.train()
    losses, correct, count = [], 0, 0
    for images, labels in loader:
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
        # Sums stay tensors on the device: reading one (`.item()`) would make every step wait for it.
        losses.append(loss.detach() * len(labels))
        correct = correct + (logits.detach().argmax(1) == labels).sum()
        count += len(labels)
    return mean_loss(losses, count), 100 * int(correct) / count


def mean_loss(losses: list[Tensor], count: int) -> float:
    """The mean of summed batch losses; DivergedError where one of them is not finite."""
    sums = torch.stack(losses)
    bad = (~sums.isfinite()).nonzero()
    if len(bad):
        raise DivergedError(f"loss is {sums[bad[0]].item()} at step {int(bad[0]) + 1}")
    return sums.double().sum().item() / count


@torch.no_grad()
def predict(model: nn.Module, loader: Loader) -> tuple[Tensor, Tensor]:
    """All logits and labels of `loader`, the model in eval mode; it is left in the mode it was in."""
    was_training = model.training
    model.eval()
    batches = [(model(images), labels) for images, labels in loader]
    model.train(was_training)
    logits, labels = zip(*batches, strict=True)
    return torch.cat(logits), torch.cat(labels)


@torch.no_grad()
def refresh_norms(model: nn.Module, loader: Loader, batches: int = 50) -> None:
    """Take the running statistics of batch norm anew, from images as they are and the weights as they are now.

    It reads so many `batches` of `loader`, from the first one on: 50 of 200 images in the notebooks, which is plenty.
    The ones that training leaves behind are of its last few batches, of weights that were still moving, and of images
    that augmentation had changed; no image that is evaluated is.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        return
    was_training, momenta = model.training, [norm.momentum for norm in norms]
    model.eval()  # for dropout
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    for images, _ in islice(loader, batches):
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


def evaluate(model: nn.Module, loader: Loader) -> tuple[float, int, float]:
    """Mean loss, number right, percentage right: no dropout, and running statistics in batch norm."""
    logits, labels = predict(model, loader)
    loss = F.cross_entropy(logits, labels).item()
    if not math.isfinite(loss):
        raise DivergedError(f"loss is {loss} after the last step")
    correct = int((logits.argmax(1) == labels).sum())
    return loss, correct, 100 * correct / len(labels)


def fit(
    net: nn.Module,
    train_loader: Loader,
    test_loader: Loader,
    clean_loader: Loader,
    optimizer: Optimizer,
    epochs: int,
    scheduler: LRScheduler | None = None,
    fresh_norms: bool = True,
    channels_last: bool = True,
) -> list[dict]:
    """Train for `epochs`; returns a row of figures an epoch and prints each as soon as it is there.

    `clean_loader` has the training images as they are. All of it is read after the first, every fifth and the last
    epoch: after every epoch it would make a run a good quarter longer. For batch norm, its first batches are read after
    every epoch. `channels_last` is a layout of the weights in memory, in which a step is faster.
    """
    if channels_last:
        net.to(memory_format=torch.channels_last)
    history = []
    for epoch in range(1, epochs + 1):
        started, rate = time.perf_counter(), float(optimizer.param_groups[0]["lr"])
        bar = tqdm(train_loader, f"epoch {epoch}", leave=False, file=sys.stdout, disable=not someone_watches())
        try:
            train_loss, train_accuracy = train_epoch(net, bar, optimizer, scheduler)
            if fresh_norms:
                refresh_norms(net, clean_loader)
            clean = evaluate(net, clean_loader)[2] if epoch in (1, epochs) or epoch % 5 == 0 else None
            test_loss, test_correct, test_accuracy = evaluate(net, test_loader)
        except DivergedError as error:
            raise DivergedError(f"epoch {epoch}, {error}: try a lower learning_rate") from None
        row = {
            "epoch": epoch,
            "lr": rate,
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "train_accuracy_clean": clean,
            "test_loss": test_loss,
            "test_correct": test_correct,
            "test_accuracy": test_accuracy,
            "seconds": time.perf_counter() - started,
        }
        history.append(row)
        tell(row, epochs)
    return history


def tell(row: dict, epochs: int) -> None:
    """Print an epoch in a line; tell the runner, too, if there is one."""
    clean = row["train_accuracy_clean"]
    print(
        f"epoch {row['epoch']:2}  loss {row['train_loss']:.4f}  train {row['train_accuracy']:.2f}%"
        f"  {'' if clean is None else f'clean {clean:.2f}%':12}  test {row['test_accuracy']:.2f}%"
        f"  {row['seconds']:.1f} s"
    )
    if path := os.environ.get("SERIES_PROGRESS"):
        with open(path, "a", encoding="utf-8") as file:
            print(
                json.dumps({"epoch": row["epoch"], "epochs": epochs, "test_accuracy": row["test_accuracy"]}), file=file
            )


def someone_watches() -> bool:
    """Whether a person looks on, at a terminal or in Jupyter; a front end that runs headless takes no input."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell.kernel._allow_stdin if hasattr(shell, "kernel") else sys.stdout.isatty()


def measure_scales(net: nn.Sequential, images: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """The spread of the values after each block, and the size of the gradient of each convolution's weights.

    In training mode, as the first step sees it, and on a copy: batch norm's running statistics stay as they were.
    """
    copy, values, spreads = deepcopy(net).train(), images, []
    for block in copy:
        values = block(values)
        if isinstance(block, nn.Sequential):
            spreads.append(values.std().item())
    F.cross_entropy(values, labels).backward()
    convolutions = [layer for layer in copy.modules() if isinstance(layer, nn.Conv2d)]
    gradients = [layer.weight.grad.norm().item() for layer in convolutions[: len(spreads)]]
    return {"values": spreads, "gradients": gradients}
