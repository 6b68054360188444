"""Augmentation: how images are turned, moved, scaled and sheared, a whole batch at a time."""

import math
from dataclasses import astuple, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from common.config import InputError


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
