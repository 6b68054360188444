"""What is timed: a stage as its notebook sets it up, and the same training the way tutorials write it."""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from common.batches import MEAN, STD
from common.data import ROOT, read
from common.train import train_epoch

CELLS = "parameters", "imports", "data", "net", "fit"
WARM_UP = 20  # batches before the clock runs: buffers are laid out, and kernels chosen, in the first ones


def in_bfloat16(net: nn.Module) -> nn.Module:
    """A network that multiplies in 16 bits; its weights keep their 32."""
    net.forward = torch.autocast("cpu", torch.bfloat16)(net.forward)
    return net


@dataclass(frozen=True)
class Form:
    """How a stage is trained: what differs from its parameters, and what is made of its network."""

    parameters: dict[str, Any] = field(default_factory=dict)
    net: Callable[[nn.Module], nn.Module] = lambda net: net


FORMS = {
    "as recorded": Form(),
    "with jitter": Form({"brightness": 0.1, "contrast": 0.1}),
    # These are said to make steps faster. The series does without: for what they gain, see the README.
    "compiled": Form(net=partial(torch.compile, dynamic=False)),
    "in bfloat16": Form(net=in_bfloat16),
    "in batches of 256": Form({"batch_size": 256}),
}


def set_up(stage: str, **parameters: Any) -> dict[str, Any]:
    """The names that a notebook has when it is about to train: its net, its optimizer, its loaders."""
    notebook = json.loads((ROOT / "notebooks" / f"{stage}.ipynb").read_text(encoding="utf-8"))
    code = {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"}
    names: dict[str, Any] = {"__name__": stage}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in CELLS:
            exec(compile(code[cell], f"{stage}, {cell}", "exec"), names)
            if cell == "parameters":
                names |= parameters
            if cell == "imports":
                names |= {"plots": Undrawn(), "train": names["fit"], "fit": lambda *given: []}
    return names


class Undrawn:
    """In place of `plots`: takes every figure, and draws none."""

    def __getattr__(self, figure: str) -> Callable[..., None]:
        return lambda *given: None


def our_pass(names: dict[str, Any], batches: int | None = None) -> None:
    """One epoch of a stage, or its first batches."""
    loader = islice(names["train_loader"], batches)
    train_epoch(names["net"], loader, names["optimizer"], names.get("scheduler"))


def conventional_loader(names: dict[str, Any], num_workers: int) -> DataLoader:
    """The same images, batch size and amounts of augmentation, through PIL and a DataLoader."""
    pixels, labels = read(names["data"])[1][:2]
    shift = names["shift"] / pixels.shape[-1]
    transform = transforms.Compose(
        [
            transforms.RandomAffine(
                names["rotation"],
                translate=(shift, shift),
                scale=(1 - names["scale"], 1 + names["scale"]),
                shear=names["shear"],
                interpolation=transforms.InterpolationMode.BILINEAR,
            ),
            transforms.ColorJitter(names["brightness"], names["contrast"]),
            transforms.ToTensor(),
            transforms.Normalize((MEAN,), (STD,)),
        ]
    )
    dataset = InMemory(pixels[: names["images"]], labels[: names["images"]], transform)
    # Workers stay from pass to pass, in favour of this side: starting them is not timed.
    stay = num_workers > 0
    return DataLoader(dataset, names["batch_size"], shuffle=True, num_workers=num_workers, persistent_workers=stay)


class InMemory(datasets.MNIST):
    """torchvision's MNIST, its `__getitem__` and all, on images that need not lie in its folder."""

    def __init__(self, pixels: torch.Tensor, labels: torch.Tensor, transform: transforms.Compose) -> None:
        datasets.VisionDataset.__init__(self, "", transform=transform)
        self.data, self.targets = pixels, labels


def conventional_training(names: dict[str, Any]) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The same net and optimizer as PyTorch makes them by default."""
    net = names["Net"](names["dropout"])
    return net, torch.optim.SGD(net.parameters(), names["learning_rate"], momentum=0.9, nesterov=True)


def conventional_pass(
    net: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader, batches: int | None = None
) -> float:
    """One epoch, or its first batches, the way a tutorial has it; the mean loss."""
    net.train()
    running_loss = 0.0
    for images, labels in islice(loader, batches):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    return running_loss / len(loader)
