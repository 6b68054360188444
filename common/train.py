"""The training loop and the evaluation that every stage uses."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Loader = Iterable[tuple[Tensor, Tensor]]


class DivergedError(RuntimeError):
    """The loss stopped being a number; the message names epoch and step."""


def train_epoch(
    model: nn.Module, loader: Loader, optimizer: Optimizer, scheduler: LRScheduler | None = None
) -> tuple[float, float]:
    """One pass over `loader`: the mean loss, and the percentage right while training (dropout, augmentation on)."""
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


def evaluate(model: nn.Module, loader: Loader) -> tuple[float, int, float]:
    """Mean loss, number right and percentage right, without dropout, and augmentation if the loader has none."""
    logits, labels = predict(model, loader)
    correct = int((logits.argmax(1) == labels).sum())
    return F.cross_entropy(logits, labels).item(), correct, 100 * correct / len(labels)


def fit(
    model: nn.Module,
    train_loader: Loader,
    test_loader: Loader,
    optimizer: Optimizer,
    epochs: int,
    scheduler: LRScheduler | None = None,
    clean_loader: Loader | None = None,
    report: Callable[[dict], None] = lambda row: None,
) -> list[dict]:
    """Train for `epochs`; a row of figures an epoch, each also handed to `report` as soon as it is there."""
    history = []
    for epoch in range(1, epochs + 1):
        started, rate = time.perf_counter(), optimizer.param_groups[0]["lr"]
        try:
            train_loss, train_accuracy = train_epoch(model, train_loader, optimizer, scheduler)
        except DivergedError as error:
            raise DivergedError(f"epoch {epoch}: {error}: try a lower learning_rate") from None
        clean = evaluate(model, clean_loader)[2] if clean_loader else None
        test_loss, test_correct, test_accuracy = evaluate(model, test_loader)
        history.append(
            {
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
        )
        report(history[-1])
    return history
