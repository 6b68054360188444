"""Batches of images that lie in memory, and augmentation of a whole batch at a time."""

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from common.config import InputError

MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels


@dataclass(frozen=True)
class Augment:
    """How far an image may be changed: each amount is drawn uniformly from minus to plus the number given."""

    rotation: float = 0.0  # degrees
    shift_x: float = 0.0  # pixels
    shift_y: float = 0.0  # pixels
    scale: float = 0.0  # 0.1 is 90 % to 110 % of the size
    shear: float = 0.0  # degrees
    brightness: float = 0.0  # 0.1 multiplies the pixels by 0.9 to 1.1
    contrast: float = 0.0  # 0.1 does so with their distance to the image's mean, so that black may turn grey

    def __post_init__(self) -> None:
        for name, amount in vars(self).items():
            if not 0 <= amount < math.inf:
                raise InputError(f"augmentation {name} is {amount!r}: it must be 0 (off) or a positive number")
        if self.scale >= 1:
            raise InputError(f"augmentation scale is {self.scale!r}: it must be below 1, the whole size")

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random amounts for `count` images: a row each, in the order of the fields."""
        return (torch.rand(count, 7, generator=generator) * 2 - 1) * torch.tensor(astuple(self))

    def apply(self, images: Tensor, amounts: Tensor) -> Tensor:
        """`images` (0 is black, 1 is white), each changed by its row of `amounts`."""
        moved = F.grid_sample(images, sampling_grid(amounts[:, :5], images.shape[-1]), align_corners=False)
        if not (self.brightness or self.contrast):
            return moved
        brightness, contrast = (1 + amounts[:, 5:]).view(-1, 2, 1, 1, 1).unbind(1)
        mean = moved.mean((2, 3), keepdim=True)
        return ((moved - mean) * contrast + mean).mul(brightness).clamp(0, 1)


def sampling_grid(amounts: Tensor, side: int) -> Tensor:
    """Where each pixel of the moved images lies in the old ones, in grid_sample's coordinates from -1 to 1.

    As affine_grid, which multiplies matrices instead and so takes four times as long on a CPU.
    """
    rotation, shift_x, shift_y, scale, shear = (column.view(-1, 1, 1) for column in amounts.unbind(1))
    angle, slant = torch.deg2rad(rotation), torch.tan(torch.deg2rad(shear))
    cos, sin = torch.cos(angle) / (1 + scale), torch.sin(angle) / (1 + scale)
    x = (torch.arange(side, device=amounts.device) * 2 + 1) / side - 1  # pixel centres
    y = x.view(-1, 1)
    columns = cos * x + (cos * slant - sin) * y - shift_x * 2 / side
    rows = sin * x + (sin * slant + cos) * y - shift_y * 2 / side
    return torch.stack([columns, rows], dim=1).movedim(1, 3)  # this memory layout is written faster


class Batches:
    """Iterates like a DataLoader over images that lie on the device: `for images, labels in batches`, `len(batches)`.

    With a `seed`, every pass draws a new order and new amounts of augmentation, from a generator of its own on the CPU:
    the same on every device, whatever else draws random numbers.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, batch_size: int, seed: int | None = None, augment: Augment | None = None
    ) -> None:
        if batch_size < 1 or len(images) < 1 or len(images) != len(labels):
            sizes = f"{len(images)} images, {len(labels)} labels, batch_size {batch_size}"
            raise InputError(f"{sizes}: there must be as many labels as images, and at least one a batch")
        if augment and seed is None:
            raise InputError("augmentation needs a seed to draw from: give Batches a seed")
        self.images, self.labels, self.batch_size, self.augment = images, labels, batch_size, augment
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count, device = len(self.images), self.images.device
        order = torch.arange(count) if self.generator is None else torch.randperm(count, generator=self.generator)
        order = order.to(device)
        amounts = self.augment.draw(count, self.generator).to(device) if self.augment else None
        for start in range(0, count, self.batch_size):
            chosen = order[start : start + self.batch_size]
            images = self.images[chosen]
            if amounts is not None:
                images = self.augment.apply(images, amounts[start : start + self.batch_size])
            yield (images - MEAN) / STD, self.labels[chosen]
