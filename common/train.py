"""The training loop and the evaluation that every notebook uses."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

Loader = Iterable[tuple[Tensor, Tensor]]


class DivergedError(RuntimeError):
    """The loss is no longer a finite number; the message names epoch and step."""


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
    """Train and evaluate for `epochs`; prints and returns a row of figures for each.

    `clean_loader` has the training images as they are; it is evaluated after the first, the last and every fifth epoch.
    `fresh_norms` tests twice: in the usual way, and with batch norm's statistics anew from 10,000 of these, in the
    last five epochs from all. `channels_last` is a layout that CPUs are faster with. A seed gives the same figures on
    one machine.
    """
    fresh_norms = fresh_norms and any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
    on_gpu = any(weight.is_cuda for weight in net.parameters())
    if channels_last and not on_gpu:
        net.to(memory_format=torch.channels_last)
    work = Captured(net, optimizer) if on_gpu else None
    history = []
    for epoch in range(1, epochs + 1):
        start, rate = time.perf_counter(), float(optimizer.param_groups[0]["lr"])
        progress = tqdm(train_loader, f"epoch {epoch}", leave=False, file=sys.stdout, disable=not is_interactive())
        try:
            train_loss, train_accuracy = train_epoch(net, progress, optimizer, scheduler, work)
            usual = {}
            if fresh_norms:
                loss, correct, _ = evaluate(net, test_loader)
                usual = {"usual_loss": loss, "usual_correct": correct}
                refresh_norms(net, clean_loader, None if epoch > epochs - 5 else 50)
            clean = evaluate(net, clean_loader)[2] if epoch in (1, epochs) or epoch % 5 == 0 else None
            test_loss, test_correct, test_accuracy = evaluate(net, test_loader)
        except DivergedError as error:
            raise DivergedError(f"epoch {epoch}, {error}: try a lower learning_rate") from None
        row = {"epoch": epoch, "lr": rate, "train_loss": train_loss, "train_accuracy": train_accuracy}
        row |= {"train_accuracy_clean": clean, **usual}
        row |= {"test_loss": test_loss, "test_correct": test_correct, "test_accuracy": test_accuracy}
        history.append(row | {"seconds": time.perf_counter() - start})
        log_epoch(history[-1], epochs)
    return history


def train_epoch(
    net: nn.Module,
    loader: Loader,
    optimizer: Optimizer,
    scheduler: LRScheduler | None = None,
    work: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> tuple[float, float]:
    """One pass over `loader`, `scheduler` stepping with every batch; mean loss and percentage right while training."""
    net.train()
    work = work or partial(backpropagate, net, optimizer)
    losses, correct, count = [], 0, 0
    for images, labels in loader:
        loss, right = work(images, labels)
        optimizer.step()
        if scheduler:
            scheduler.step()
        # Sums stay tensors on the device: reading one (`.item()`) would make every step wait for it.
        losses.append(loss)
        correct = correct + right
        count += len(labels)
    return mean_loss(losses, count), 100 * int(correct) / count


def backpropagate(net: nn.Module, optimizer: Optimizer, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Leave a batch's gradients in the weights; returns the sum of its losses, and how many are right."""
    logits = net(images)
    loss = F.cross_entropy(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    return loss.detach() * len(labels), (logits.detach().argmax(1) == labels).sum()


class Captured:
    """`backpropagate` as a CUDA graph: a GPU is faster than a program that launches its kernels one by one.

    A batch of another size than the first one goes kernel by kernel, and so do all where no graph can be made.
    """

    def __init__(self, net: nn.Module, optimizer: Optimizer) -> None:
        self.net, self.plain = net, partial(backpropagate, net, optimizer)
        self.graph = self.batch = None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.batch is None:
            self.batch = images.clone(), labels.clone()  # where the graph reads its input, every time
            try:
                self.capture()
            except RuntimeError as error:
                print(f"No CUDA graph ({' '.join(str(error).split())[:200]}): steps are launched kernel by kernel")
        if self.graph is None or images.shape != self.batch[0].shape:
            return self.plain(images, labels)
        self.batch[0].copy_(images)
        self.batch[1].copy_(labels)
        for weight, gradient in self.gradients:  # where the graph writes them; another batch has others
            weight.grad = gradient
        self.graph.replay()
        return self.found[0].clone(), self.found[1].clone()

    def capture(self) -> None:
        """Record the kernels of a step, after three that set up what CUDA needs, and that leave no trace."""
        before, aside, graph = deepcopy(self.net.state_dict()), torch.cuda.Stream(), torch.cuda.CUDAGraph()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside), torch.random.fork_rng([self.batch[0].device]):
            for _ in range(3):
                self.plain(*self.batch)
        torch.cuda.current_stream().wait_stream(aside)
        self.net.load_state_dict(before)
        with torch.cuda.graph(graph):
            self.found = self.plain(*self.batch)
        self.gradients = [(weight, weight.grad) for weight in self.net.parameters()]
        self.graph = graph


def mean_loss(losses: list[Tensor], count: int) -> float:
    """The mean over `count` images of summed batch losses; DivergedError where one of them is not finite."""
    sums = torch.stack(losses)
    if len(bad := (~sums.isfinite()).nonzero()):
        raise DivergedError(f"loss is {sums[bad[0]].item()} at step {int(bad[0]) + 1}")
    return sums.double().sum().item() / count


@torch.no_grad()
def refresh_norms(net: nn.Module, loader: Loader, batches: int | None = None) -> None:
    """Recompute batch norm's running statistics from `loader`, or its first `batches`, with the present weights.

    Those left by training are of augmented images and moving weights. As PyTorch's `update_bn`, but without dropout.
    """
    copy = deepcopy(net).eval()
    norms = [layer for layer in copy.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    for images, _ in islice(loader, batches):
        copy(images)
    net.load_state_dict(copy.state_dict())


@torch.no_grad()
def predict(net: nn.Module, loader: Loader) -> tuple[Tensor, Tensor]:
    """All logits and labels of `loader`, in eval mode; the model is left in the mode it was in."""
    was_training = net.training
    net.eval()
    logits, labels = zip(*[(net(images), labels) for images, labels in loader], strict=True)
    net.train(was_training)
    return torch.cat(logits), torch.cat(labels)


def evaluate(net: nn.Module, loader: Loader) -> tuple[float, int, float]:
    """Mean loss, number right and percentage right, in eval mode."""
    logits, labels = predict(net, loader)
    loss = F.cross_entropy(logits, labels).item()
    if not math.isfinite(loss):
        raise DivergedError(f"loss is {loss} after the last step")
    correct = int((logits.argmax(1) == labels).sum())
    return loss, correct, 100 * correct / len(labels)


def log_epoch(row: dict, epochs: int) -> None:
    """Print the figures of an epoch in a line, and append them to the file that SERIES_PROGRESS names."""
    clean = "" if row["train_accuracy_clean"] is None else f"clean {row['train_accuracy_clean']:.2f}%"
    print(
        f"epoch {row['epoch']:2}  loss {row['train_loss']:.4f}  train {row['train_accuracy']:.2f}%"
        f"  {clean:12}  test {row['test_accuracy']:.2f}%  {row['seconds']:.1f} s"
    )
    if path := os.environ.get("SERIES_PROGRESS"):
        with open(path, "a", encoding="utf-8") as file:
            print(json.dumps(row | {"epochs": epochs}), file=file)


def is_interactive() -> bool:
    """Whether a person watches, at a terminal or in Jupyter: a notebook that papermill runs takes no input."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell.kernel._allow_stdin if hasattr(shell, "kernel") else sys.stdout.isatty()


def measure_scales(net: nn.Sequential, images: Tensor, labels: Tensor) -> dict[str, list[float]]:
    """Standard deviation of each block's output and norm of its kernels' gradient, as in the first training step."""
    net, values, spreads = deepcopy(net).train(), images, []  # a copy, since batch norm keeps statistics
    blocks = [layer for layer in net if isinstance(layer, nn.Sequential)]
    for layer in net:
        values = layer(values)
        if layer in blocks:
            spreads.append(values.std().item())
    F.cross_entropy(values, labels).backward()
    return {"values": spreads, "gradients": [block[0].weight.grad.norm().item() for block in blocks]}
