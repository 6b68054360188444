"""MNIST's four files: found in a folder, verified by content, or downloaded."""

import gzip
import hashlib
import os
import time
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import MNIST

from common import InputError

ROOT = Path(__file__).resolve().parent.parent
NAME = "MNIST"
DOWNLOAD_SECONDS = 60  # for one file from one mirror; then the next mirror is asked
SILENCE_SECONDS = 10  # of a mirror, before it is given up


class IdxFile(NamedTuple):
    """One of MNIST's four files: its size and the md5 of its content, both uncompressed."""

    name: str
    size: int
    md5: str
    shape: tuple[int, ...]


FILES = (
    IdxFile("train-images-idx3-ubyte", 47_040_016, "6bbc9ace898e44ae57da46a324031adb", (60_000, 28, 28)),
    IdxFile("train-labels-idx1-ubyte", 60_008, "a25bea736e30d166cdddb491f175f624", (60_000,)),
    IdxFile("t10k-images-idx3-ubyte", 7_840_016, "2646ac647ad5339dbf082846283269ea", (10_000, 28, 28)),
    IdxFile("t10k-labels-idx1-ubyte", 10_008, "27ae3e4e09519cfbb04c329615203637", (10_000,)),
)


class Unavailable(Exception):
    """MNIST can't be downloaded here and now; where it lies it is never this, but an InputError."""


def read_mnist(cache: Path) -> tuple[Tensor, ...]:
    """Train images and labels, test images and labels: from MNIST_DIR, else `cache`, else a mirror; always verified."""
    if given := os.environ.get("MNIST_DIR"):
        folder = find_folder(given)
    else:
        folder = cache / "MNIST" / "raw"  # as torchvision lays it out
        for file in FILES:
            if not locate(folder, file):
                download(file, folder)
    return tuple(parse(read_verified(locate(folder, file), file), file) for file in FILES)


def is_at_hand(cache: Path) -> bool:
    """Whether MNIST would be read from this machine, with no download."""
    return bool(os.environ.get("MNIST_DIR")) or all(locate(cache / "MNIST" / "raw", file) for file in FILES)


def find_folder(given: str) -> Path:
    """The folder that MNIST_DIR means: with the four files, or a torchvision root above them."""
    # A relative path may be meant from the repository's root, wherever the notebook runs.
    bases = (Path(os.path.expanduser(given)), ROOT / given)
    folders = [base / below for base in bases for below in ("", "raw", "MNIST/raw")]
    found = [folder for folder in folders if any(locate(folder, file) for file in FILES)]
    if not found:
        raise InputError(
            f"MNIST_DIR={given}: no MNIST file can be read there: point it to the folder with the four files"
        )
    missing = [file.name for file in FILES if not locate(found[0], file)]
    if missing:
        raise InputError(f"MNIST_DIR={given}: {missing[0]} is missing: put all four files there, gzipped or not")
    return found[0]


def locate(folder: Path, file: IdxFile) -> Path | None:
    """Where `file` lies in `folder`, gzipped or not."""
    places = (folder / file.name, folder / f"{file.name}.gz")
    try:
        return next((place for place in places if place.is_file()), None)
    except OSError as error:
        raise InputError(f"{folder} can't be read ({error.strerror}): mend its permissions, or name another") from None


def read_verified(path: Path, file: IdxFile) -> bytes:
    """The uncompressed content of `path`, if it is `file`'s to the last bit."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            content = stream.read(file.size + 1)  # no more: a gzip bomb must not fill the memory
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} can't be read ({error}): replace it with a fresh copy") from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != file.md5:
        raise InputError(f"{path} is not MNIST's {file.name} (its content differs): replace it with a fresh copy")
    return content


def parse(content: bytes, file: IdxFile) -> Tensor:
    """The tensor in an IDX file whose content is verified, and with it the header that is skipped here."""
    header = 4 + 4 * len(file.shape)
    array = np.frombuffer(content, np.uint8, offset=header).reshape(file.shape)
    tensor = torch.from_numpy(array.copy())
    return tensor if tensor.dim() == 3 else tensor.long()


def download(file: IdxFile, folder: Path) -> None:
    """Fetch `file` from torchvision's mirrors in turn; only verified content reaches `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{file.name}.{os.getpid()}.part.gz"
    reasons = []
    for mirror in MNIST.mirrors:
        try:
            fetch(f"{mirror}{file.name}.gz", partial, limit=2 * file.size)
            read_verified(partial, file)
            partial.replace(folder / f"{file.name}.gz")
            return
        except InputError:
            reasons.append(f"{mirror} sends something else")
        except (OSError, HTTPException) as error:
            reasons.append(f"{mirror}: {' '.join(str(error).split())}")
        finally:
            partial.unlink(missing_ok=True)
    raise Unavailable(f"MNIST can't be downloaded ({'; '.join(reasons)})")


def fetch(url: str, path: Path, limit: int) -> None:
    """Write what `url` serves to `path`, within DOWNLOAD_SECONDS and `limit` bytes."""
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    with urllib.request.urlopen(url, timeout=SILENCE_SECONDS) as response, path.open("wb") as stream:
        while block := response.read1(1 << 16):  # what is there, so that the clock is looked at now and then
            stream.write(block)
            if time.monotonic() > deadline or stream.tell() > limit:
                raise OSError("the mirror is too slow, or sends too much")
