"""A thousand random changes to each of the data's files: one is read only if its content is still what it should be."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_data import CONTENTS, IMAGES, LABELS, STAND_IN, cached, folder, put, refusal, small_world  # noqa: F401

from common import InputError, data, mnist, rendered
from common.data import load_digits

MUTATIONS = 1000


def flip(content: bytes, draw: random.Random) -> bytes:
    """Some bits the other way round."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 100])):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    """Without its end, or its beginning, or something in between."""
    start, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return draw.choice([content[:start], content[start:], content[:start] + content[end:]])


def grow(content: bytes, draw: random.Random) -> bytes:
    """With something more, anywhere: zeros, noise, or its own content again."""
    place = draw.choice([0, len(content), draw.randrange(len(content))])
    size = draw.choice([1, 2, 8, 1000])
    more = draw.choice([bytes(size), draw.randbytes(size), content[:size], content])
    return content[:place] + more + content[place:]


def swap(content: bytes, draw: random.Random) -> bytes:
    """With two stretches in each other's place, or one over another."""
    size = min(draw.choice([1, 4, 8, 50]), len(content) // 2)
    one, other = (draw.randrange(len(content) - size) for _ in range(2))
    changed = bytearray(content)
    changed[one : one + size] = content[other : other + size]
    if draw.random() < 0.5:
        changed[other : other + size] = content[one : one + size]
    return bytes(changed)


def reshape(content: bytes, draw: random.Random) -> bytes:
    """With another number in the header."""
    place = draw.randrange(16)
    return content[:place] + draw.randbytes(draw.choice([1, 4])) + content[place + 1 :]


CHANGES: list[Callable[[bytes, random.Random], bytes]] = [flip, cut, grow, swap, reshape]


def mutations(content: bytes) -> list[bytes]:
    """The content, changed in a thousand ways that are always the same ones."""
    draw = random.Random(0)
    return [draw.choice(CHANGES)(content, draw) for _ in range(MUTATIONS)]


@pytest.mark.parametrize("gzipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("file", range(4), ids=list(CONTENTS))
def test_a_changed_file_of_mnist_is_refused_by_name_unless_its_content_is_the_same(file, gzipped, tmp_path):
    one = mnist.FILES[file]
    path, content = tmp_path / (f"{one.name}.gz" if gzipped else one.name), CONTENTS[one.name]
    refused = 0
    for changed in mutations(gzip.compress(content, mtime=0) if gzipped else content):
        path.write_bytes(changed)
        try:
            assert mnist.read_verified(path, one) == content
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > MUTATIONS / 2


def test_a_changed_archive_of_the_stand_in_is_refused_by_name_unless_its_content_is_the_same():
    load_digits("rendered")
    (path,) = data.CACHE.glob("*.npz")
    refused = 0
    for changed in mutations(path.read_bytes()):
        path.write_bytes(changed)
        try:
            there = data.read_rendered()
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert all(torch.equal(one, other) for one, other in zip(there, STAND_IN, strict=True))
    assert refused > MUTATIONS / 2


@pytest.mark.parametrize(
    "arrays",
    [
        STAND_IN[::-1],
        (STAND_IN[0], STAND_IN[3], STAND_IN[2], STAND_IN[1]),
        (STAND_IN[0].float(), *STAND_IN[1:]),
        (STAND_IN[0], STAND_IN[1] + 5, *STAND_IN[2:]),
        (STAND_IN[0], STAND_IN[1].float(), *STAND_IN[2:]),
        (STAND_IN[0][:, :14], *STAND_IN[1:]),
        (STAND_IN[0][:0], STAND_IN[1][:0], *STAND_IN[2:]),
    ],
    ids=["in another order", "labels swapped", "floats", "labels above 9", "labels that are floats", "small", "none"],
)
def test_an_archive_of_other_arrays_does_not_pass_for_the_stand_in(arrays):
    data.CACHE.mkdir()
    path = data.CACHE / f"rendered-{rendered.VERSION}.npz"
    np.savez(path, *(tensor.numpy() for tensor in arrays))
    assert str(path) in refusal("rendered")


def test_images_and_labels_in_each_others_place_are_refused(folder: Path):  # noqa: F811
    images, labels = ((folder / name).read_bytes() for name in (IMAGES, LABELS))
    (folder / IMAGES).write_bytes(labels)
    (folder / LABELS).write_bytes(images)
    assert IMAGES in refusal()


def test_what_is_broken_is_never_passed_over_for_other_data(tmp_path, monkeypatch):
    """MNIST_DIR is broken, the cache is sound, and the stand-in is at hand."""
    put(cached())
    put(tmp_path / "given", **{LABELS: b"broken"})
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "given"))
    assert str(tmp_path / "given" / LABELS) in refusal()
