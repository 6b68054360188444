"""The images of a run, and batches of them: MNIST, verified wherever it comes from, or a stand-in."""

import hashlib
import io
import math
import os
import urllib.request
import zlib
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from common import standin
from common.augmentation import Augment
from common.config import ROOT, SPLITS, InputError, refuse_bad, write_whole
from common.runs import MNIST

CACHE = ROOT / "data"
MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels
FILES = {  # MNIST's, and the md5 of their content, uncompressed
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
AT_ONCE = {"cuda": 64}  # batches prepared together: a GPU is faster than a program that launches its kernels
LARGEST = 48_000_000  # bytes: more than any of them has, and the most that is read or unpacked


class Digits(NamedTuple):
    """A data set by name, and its two halves: images [N, 1, 28, 28] from 0 to 1, and labels [N]."""

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


class Source(NamedTuple):
    """Where the data is looked for, and what MNIST's files must be."""

    cache: Path = CACHE
    mirrors: Sequence[str] = tuple(datasets.MNIST.mirrors)
    seconds: float = 60  # for one file from one mirror; then the next mirror is asked
    files: Mapping[str, str] = FILES

    @property
    def downloads(self) -> Path:
        """The folder that downloaded files are kept in, laid out as torchvision does."""
        return self.cache / "MNIST" / "raw"


HERE = Source()


def load_digits(
    data: str = "auto",
    split: str = "test",
    limit: int = 0,
    device: torch.device | str = "cpu",
    source: Source = HERE,
) -> Digits:
    """The data on `device`; `limit` keeps only so many of the first images of each half (0: all).

    Any split but "test" holds a sixth of the training images out to test on, and never touches the test set.
    """
    refuse_bad({"split": split, "limit": limit})
    name, arrays = read(data, source)
    train, test = arrays[:2], arrays[2:]
    if split != "test":
        train, test = hold_out(*train, fold=SPLITS.index(split) - 1)
    halves = ([tensor[: limit or None].to(device) for tensor in half] for half in (train, test))
    return Digits(name, *((images.unsqueeze(1).float().div_(255), labels) for images, labels in halves))


def hold_out(images: Tensor, labels: Tensor, fold: int = 0) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A fixed split of the training set: one sixth of each digit is held out, another one for each `fold` (0 to 5)."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(60_000))
    by_digit = shuffled[labels[shuffled].argsort(stable=True)]
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[by_digit[fold::6]] = True
    return (images[~held], labels[~held]), (images[held], labels[held])


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
        several = self.batch_size * AT_ONCE.get(device.type, 1)
        for start in range(0, count, several):
            chosen = order[start : start + several]
            images = self.images[chosen]
            if amounts is not None:
                images = self.augment.apply(images, amounts[start : start + several])
            images, labels = (images - MEAN) / STD, self.labels[chosen]
            yield from zip(images.split(self.batch_size), labels.split(self.batch_size), strict=True)


def prepare(data: str = "auto", source: Source = HERE) -> str:
    """Leave `data` verified and cached, so that parallel runs neither download nor draw it; return its name."""
    return read(data, source)[0]


def read(data: str, source: Source = HERE) -> tuple[str, tuple[Tensor, ...]]:
    """The data set's name and its four tensors of bytes: train images and labels, test images and labels.

    "auto" takes MNIST_DIR, then the cache, then a download, and only then the stand-in. A file that is there but is not
    MNIST's is an error, also where something else would be at hand.
    """
    refuse_bad({"data": data})
    try:
        if data != "rendered":
            try:
                return MNIST, read_mnist(source)
            except ConnectionError as error:
                if data == "mnist":
                    raise InputError(f"{error}: set MNIST_DIR to a folder with the four files") from None
                print(f"{error}. Going on with {standin.NAME}.")
        return standin.NAME, read_standin(source.cache)
    except OSError as error:
        raise InputError(f"{source.cache} or MNIST_DIR can't be used ({error}): mend that, or name another") from None


def read_standin(cache: Path) -> tuple[Tensor, ...]:
    """The stand-in, drawn once and cached."""
    path = cache / f"rendered-{standin.VERSION}.npz"
    if not path.exists():
        packed = io.BytesIO()
        np.savez(packed, *(tensor.numpy() for tensor in standin.draw_digits()))
        write_whole(path, packed.getvalue())
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return tuple(torch.from_numpy(arrays[f"arr_{number}"]) for number in range(4))
    except Exception as error:  # a damaged archive fails in ways of numpy's, of zipfile's and of its own
        raise InputError(f"{path} can't be used ({one_line(error)}): delete it, it will be made again") from None


def read_mnist(source: Source) -> tuple[Tensor, ...]:
    """MNIST from the folder MNIST_DIR, else from the cache, into which what it lacks is downloaded."""
    if given := os.environ.get("MNIST_DIR"):
        folder = find_folder(given, source)
    else:
        folder = source.downloads
        for name in source.files:
            if not locate(folder, name):
                download(name, source)
    return tuple(read_file(locate(folder, name), md5) for name, md5 in source.files.items())


def find_folder(given: str, source: Source) -> Path:
    """The folder that MNIST_DIR means: with the four files, or a torchvision root above them."""
    # A relative path may be meant from the repository's root, wherever the notebook runs.
    bases = (Path(os.path.expanduser(given)), ROOT / given)
    for folder in (base / below for base in bases for below in ("", "raw", "MNIST/raw")):
        missing = [name for name in source.files if not locate(folder, name)]
        if not missing:
            return folder
        if len(missing) < len(source.files):
            raise InputError(f"MNIST_DIR={given}: {missing[0]} is missing: put all four files there, gzipped or not")
    raise InputError(f"MNIST_DIR={given}: no MNIST file is there: set it to the folder with the four files")


def locate(folder: Path, name: str) -> Path | None:
    """Where the file called `name` lies in `folder`, gzipped or not."""
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if path.is_file()), None)


def read_file(path: Path, md5: str) -> Tensor:
    """The tensor in one of MNIST's files: images as bytes, or labels as whole numbers."""
    try:
        with path.open("rb") as stream:
            content = unpack(stream.read(LARGEST), md5)
    except (OSError, ValueError, zlib.error) as error:
        raise InputError(f"{path} can't be used ({one_line(error)}): replace it with a fresh copy") from None
    if "images" in path.name:
        return torch.frombuffer(content, dtype=torch.uint8, offset=16).view(-1, 28, 28)
    return torch.frombuffer(content, dtype=torch.uint8, offset=8).long()


def unpack(content: bytes, md5: str) -> bytearray:
    """The content, unpacked if it is gzipped, once it is known to be the right one to the last bit."""
    if content.startswith(b"\x1f\x8b"):
        content = zlib.decompressobj(31).decompress(content, LARGEST)  # no more: a bomb must not fill the memory
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise ValueError("its content is not MNIST's")
    return bytearray(content)


def download(name: str, source: Source) -> None:
    """Fetch a file from the mirrors in turn; only verified content reaches the cache."""
    reasons = []
    for mirror in source.mirrors:
        try:
            with ThreadPool(1) as pool:  # a thread can be left behind: some waits on a network have no timeout
                packed = pool.apply_async(fetch, (f"{mirror}{name}.gz",)).get(source.seconds)
            unpack(packed, source.files[name])
        except Exception as error:  # networks fail in many ways
            reasons.append(f"{mirror}: {one_line(error)}")
        else:
            return write_whole(source.downloads / f"{name}.gz", packed)
    raise ConnectionError(f"MNIST can't be downloaded ({'; '.join(reasons)})")


def fetch(url: str) -> bytes:
    """What `url` serves, but no more than one of MNIST's files can have."""
    with urllib.request.urlopen(url, timeout=10) as response:  # seconds of silence
        return response.read(LARGEST)


def one_line(error: Exception) -> str:
    """What an error says, which may have several lines or none."""
    return " ".join(str(error).split()) or type(error).__name__
