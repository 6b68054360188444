"""The images of a run: MNIST, or the rendered stand-in where MNIST can't be had, as two halves of tensors."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common import InputError, mnist, rendered

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "data"
SOURCES = ("auto", "mnist", "rendered")
SPLITS = ("test", "validation")


class Digits(NamedTuple):
    """A data set by name, and its two halves: images [N, 1, 28, 28] from 0 to 1, and labels [N]."""

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def load_digits(data: str = "auto", split: str = "test", images: int = 0, device: torch.device | str = "cpu") -> Digits:
    """The data on `device`. `split="validation"` holds 10,000 training images out and never touches the test set;
    `images` keeps only so many of the first ones (0: all)."""
    if split not in SPLITS:
        raise InputError(f"split {split!r} is unknown: choose one of {', '.join(SPLITS)}")
    if type(images) is not int or images < 0:
        raise InputError(f"images is {images!r}: it must be 0 (all of them) or a number of images to keep")
    name, arrays = read(data)
    train, test = arrays[:2], arrays[2:]
    if split == "validation":
        train, test = hold_out(*train)
    halves = ((pixels[: images or None], labels[: images or None]) for pixels, labels in (train, test))
    return Digits(name, *((to_float(pixels, device), labels.to(device)) for pixels, labels in halves))


def to_float(pixels: Tensor, device: torch.device | str) -> Tensor:
    """Bytes [N, 28, 28] as floats [N, 1, 28, 28] from 0 to 1 on `device`."""
    return pixels.to(device).unsqueeze(1).float().div_(255)


def hold_out(pixels: Tensor, labels: Tensor, fold: int = 0) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A fixed split of the training set: a sixth of each digit is held out. Choices are made on that of fold 0."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(60_000))
    by_digit = shuffled[labels[shuffled].argsort(stable=True)]
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[by_digit[fold::6]] = True
    return (pixels[~held], labels[~held]), (pixels[held], labels[held])


def prepare(data: str = "auto") -> str:
    """Leave `data` verified and cached, so that parallel runs neither download nor render; return its name."""
    return read(data)[0]


def read(data: str) -> tuple[str, tuple[Tensor, ...]]:
    """The data set's name and its four tensors of bytes: train images and labels, test images and labels.

    "auto" takes MNIST_DIR, then the cache, then a download, and only then the stand-in. What is found is never passed
    over in silence: a file that is not MNIST's is an error, also where something else would be at hand.
    """
    if data not in SOURCES:
        raise InputError(f"data {data!r} is unknown: choose one of {', '.join(SOURCES)}")
    try:
        return read_first(data)
    except OSError as error:
        raise InputError(f"{CACHE} can't be used ({error}): make it a folder that can be written") from None


def read_first(data: str) -> tuple[str, tuple[Tensor, ...]]:
    """The first data set that can be had."""
    if data != "rendered":
        try:
            return mnist.NAME, mnist.read_mnist(CACHE)
        except mnist.Unavailable as error:
            if data == "mnist":
                raise InputError(f"{error}: set MNIST_DIR to a folder with the four files") from None
            print(f"{error}. Going on with {rendered.NAME}.")
    return rendered.NAME, read_rendered()


def read_rendered() -> tuple[Tensor, ...]:
    """The stand-in, drawn once and cached."""
    path = CACHE / f"rendered-{rendered.VERSION}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
        try:
            np.savez(partial, *(tensor.numpy() for tensor in rendered.render_digits()))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            digits = tuple(torch.from_numpy(arrays[f"arr_{number}"]) for number in range(4))
    except Exception as error:  # a damaged archive fails in ways of numpy's, of zipfile's and of its own
        raise InputError(f"{path} can't be read ({one_line(error)}): delete it, it will be made again") from None
    if not all(map(is_half, digits[::2], digits[1::2])):
        raise InputError(f"{path} holds something else than images and labels: delete it, it will be made again")
    return digits


def is_half(pixels: Tensor, labels: Tensor) -> bool:
    """Whether these are images of bytes and the digits that they show."""
    return (
        len(labels) > 0
        and pixels.dtype == torch.uint8
        and labels.dtype == torch.int64
        and pixels.shape == (len(labels), 28, 28)
        and set(labels.unique().tolist()) <= set(range(10))
    )


def one_line(error: Exception) -> str:
    """What an error says, which may have several lines."""
    return " ".join(str(error).split())
