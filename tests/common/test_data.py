"""Where the images come from, in which order, and that nothing but MNIST passes for MNIST."""

import contextlib
import gzip
import hashlib
import os
import random
import time
import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from common import data, standin
from common.config import ROOT, SPLITS, InputError
from common.data import Source, hold_out, load_digits, prepare, read

REAL = os.environ.get("MNIST_DIR") and str(Path(os.environ["MNIST_DIR"]).absolute())

# An MNIST of 72 images, by the names of its files, and a stand-in of other images.
SHAPES = (60, 28, 28), (60,), (12, 28, 28), (12,)
DRAW = np.random.default_rng(0)
ARRAYS = [DRAW.integers(256 if shape[1:] else 10, size=shape, dtype=np.uint8) for shape in SHAPES]
HEADERS = [bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes() for shape in SHAPES]
CONTENTS = {name: HEADERS[n] + ARRAYS[n].tobytes() for n, name in enumerate(data.FILES)}
IMAGES, LABELS, OTHER_IMAGES, OTHER_LABELS = CONTENTS
STAND_IN = [255 - array if array.ndim == 3 else np.arange(len(array)) % 10 for array in ARRAYS]


@pytest.fixture(autouse=True)
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """An empty cache, a mirror that nobody answers at, and no MNIST_DIR."""
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    files = {name: hashlib.md5(content).hexdigest() for name, content in CONTENTS.items()}
    return Source(tmp_path / "cache", ["http://127.0.0.1:9/"], seconds=0.5, files=files)


def put(folder: Path, gzipped: Iterable[str] = ()) -> Path:
    """Write the four files to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in CONTENTS.items():
        path, content = (f"{name}.gz", gzip.compress(content)) if name in gzipped else (name, content)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that MNIST_DIR names, with the four files as they should be."""
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "given"))
    return put(tmp_path / "given")


@pytest.fixture
def drawn(source: Source) -> Path:
    """A small stand-in in the cache."""
    path = source.cache / f"rendered-{standin.VERSION}.npz"
    path.parent.mkdir()
    np.savez(path, *STAND_IN)
    return path


def assert_is_mnist(source: Source) -> None:
    """What is read is what the four files were made of."""
    name, arrays = read("auto", source)
    assert name == "MNIST" and all(map(np.array_equal, arrays, ARRAYS))


def refusal(source: Source, kind: str = "auto") -> str:
    """The line by which the data is refused."""
    with pytest.raises(InputError) as caught:
        read(kind, source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_refused_when_damaged(path: Path, load: Callable, right: np.ndarray) -> None:
    """However the file is changed, it is refused by name and left alone, or what is read is still right."""
    content, draw, refused = path.read_bytes(), random.Random(0), 0
    damaged = [b"", b"<html>404</html>" * 9, content[:-1], content[: len(content) // 2], content[:3] + content[4:]]
    for _ in range(50):
        start, end = sorted(draw.sample(range(len(content)), 2))
        flipped = bytes([content[start] ^ 1 << draw.randrange(8)]) + content[start + 1 : end]
        damaged.append(content[:start] + draw.choice([b"", content[start:end] * 2, flipped]) + content[end:])
    for one in damaged:
        path.write_bytes(one)
        try:
            assert np.array_equal(load(), right)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error) and path.read_bytes() == one
            refused += 1
    assert refused > 35


# MNIST_DIR


@pytest.mark.parametrize("gzipped", [[], CONTENTS, [LABELS]], ids=["plain", "gzipped", "mixed"])
@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
def test_mnist_dir_is_a_folder_of_files_or_a_torchvision_root(source, gzipped, below, tmp_path, monkeypatch):
    put(tmp_path / "some" / below, gzipped)
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "some"))
    assert_is_mnist(source)


def test_mnist_dir_is_meant_from_the_working_folder_the_home_folder_or_the_repository(source, given, monkeypatch):
    elsewhere = given / "a/folder/deeper/than/that/of/the/repository"
    elsewhere.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(given.parent))
    for form, working in ("given", given.parent), ("~/given", elsewhere), (os.path.relpath(given, ROOT), elsewhere):
        monkeypatch.setenv("MNIST_DIR", form)
        monkeypatch.chdir(working)
        assert_is_mnist(source)


def test_mnist_dir_comes_before_the_cache_and_what_is_broken_is_not_passed_over_for_it(source, given):
    (put(source.downloads) / IMAGES).write_bytes(b"broken")
    assert_is_mnist(source)
    put(source.downloads)
    (given / IMAGES).write_bytes(b"broken")
    assert str(given / IMAGES) in refusal(source)


@pytest.mark.parametrize("wrong", ["empty", "missing", "~nobody-of-this-name/mnist", "x" * 5000, "loop"])
def test_a_mnist_dir_without_the_files_is_refused_by_its_name(wrong, source, drawn, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    put(source.downloads)  # that the files are here must not matter
    monkeypatch.setenv("MNIST_DIR", wrong)
    assert wrong in refusal(source)


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("number", range(4))
def test_a_damaged_file_is_refused_by_name(end, number, source, tmp_path):
    name, md5 = list(source.files.items())[number]
    path = put(tmp_path, [name] if end else []) / f"{name}{end}"
    assert_refused_when_damaged(path, lambda: data.read_file(path, md5), ARRAYS[number])


INSTEAD = {
    "nothing": lambda path: None,
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "another file": lambda path: path.write_bytes(CONTENTS[OTHER_IMAGES]),
}


@pytest.mark.parametrize("instead", INSTEAD.values(), ids=INSTEAD)
def test_a_file_is_named_in_whose_place_is(instead, source, given):
    (given / IMAGES).unlink()
    instead(given / IMAGES)
    assert IMAGES in refusal(source)


def test_a_gzip_bomb_is_not_unpacked(source, given):
    (given / LABELS).write_bytes(gzip.compress(bytes(2**28), 1))
    tracemalloc.start()
    assert LABELS in refusal(source) and tracemalloc.get_traced_memory()[1] < 2**27
    tracemalloc.stop()


# The cache and the download


SPOIL = {
    "not there": lambda path, content: None,
    "a page instead": lambda path, content: path.write_bytes(b"<html>please log in</html>"),
    "another file": lambda path, content: path.write_bytes(gzip.compress(bytes(60))),
    "half of it": lambda path, content: path.write_bytes(content[: len(content) // 2]),
    "never answering": lambda path, content: os.mkfifo(path),
    "without end": lambda path, content: path.symlink_to("/dev/zero"),
}


@pytest.fixture
def serve(source: Source, tmp_path: Path) -> Callable[..., Source]:
    """Call it with what is wrong with the files of each mirror, if anything; it gives a source with these mirrors."""

    def make(*kinds: str) -> Source:
        folders = [tmp_path / f"mirror-{number}" for number in range(len(kinds))]
        for folder, kind in zip(folders, kinds, strict=True):
            folder.mkdir()
            for name, content in CONTENTS.items():
                SPOIL.get(kind, Path.write_bytes)(folder / f"{name}.gz", gzip.compress(content))
        return source._replace(mirrors=[f"{folder.as_uri()}/" for folder in folders])

    return make


def test_what_the_cache_lacks_is_downloaded_verified_and_kept_but_what_is_broken_is_not_replaced(serve, tmp_path):
    source = serve("")
    assert prepare("auto", source) == "MNIST"
    assert {path.name for path in source.downloads.iterdir()} == {f"{name}.gz" for name in CONTENTS}
    labels = source.downloads / f"{LABELS}.gz"
    labels.unlink()
    (tmp_path / "mirror-0" / f"{IMAGES}.gz").unlink()  # these are in the cache
    assert_is_mnist(source)
    labels.write_bytes(b"broken")
    assert str(labels) in refusal(source)


class Web(SimpleHTTPRequestHandler):
    """Serves a folder; what lies below /slow/ a byte now and then."""

    def do_GET(self) -> None:
        if self.path.startswith("/slow/"):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # nobody waits for long
                for _ in range(50):
                    self.wfile.write(b"1")
                    time.sleep(0.1)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def test_files_come_over_http_from_the_first_mirror_that_is_fast_enough(serve, tmp_path):
    source = serve("")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Web, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        data.download(IMAGES, source._replace(mirrors=[f"{address}/slow/", f"{address}/mirror-0/"], seconds=1))
        server.shutdown()
    assert gzip.decompress((source.downloads / f"{IMAGES}.gz").read_bytes()) == CONTENTS[IMAGES]


@pytest.mark.parametrize("kind", SPOIL)
def test_the_second_mirror_helps_where_the_files_of_the_first_one_are(kind, serve):
    source, started = serve(kind, ""), time.monotonic()
    data.download(IMAGES, source)
    assert time.monotonic() - started < 5
    assert [path.name for path in source.downloads.iterdir()] == [f"{IMAGES}.gz"]
    assert gzip.decompress((source.downloads / f"{IMAGES}.gz").read_bytes()) == CONTENTS[IMAGES]


def test_a_mirror_that_never_ends_does_not_fill_the_memory(serve):
    assert len(data.fetch(f"{serve('without end').mirrors[0]}{IMAGES}.gz")) == data.LARGEST


@pytest.mark.parametrize("kind", ["not there", "half of it"])
def test_where_every_mirror_fails_the_stand_in_takes_its_place_unless_mnist_is_asked_for(kind, serve, drawn, capsys):
    source = serve(kind, kind)
    assert prepare("auto", source) == standin.NAME
    notice = capsys.readouterr().out
    assert notice.count("\n") == 1 and "MNIST can't be downloaded" in notice and standin.NAME in notice
    assert all(f"mirror-{number}/: " in notice for number in (0, 1)) and not source.downloads.exists()
    assert "MNIST_DIR" in refusal(source, "mnist")


def test_a_cache_that_cannot_be_written_is_named(serve):
    source = serve("")
    source.cache.write_text("a file where a folder should be")
    assert str(source.cache) in refusal(source)


# The stand-in


def test_the_stand_in_is_drawn_once_and_read_again_whatever_mnist_dir_is(rendered, monkeypatch):
    cache, drawn = rendered
    monkeypatch.setenv("MNIST_DIR", "missing")
    (path,), before = cache.iterdir(), [path.stat().st_mtime_ns for path in cache.iterdir()]
    name, arrays = read("rendered", Source(cache))
    assert all(map(torch.equal, arrays, drawn)) and [path.stat().st_mtime_ns] == before
    assert (name, path.name) == ("rendered digits, not MNIST", f"rendered-{standin.VERSION}.npz")


def test_a_damaged_stand_in_is_refused_by_name(source, drawn):
    assert_refused_when_damaged(drawn, lambda: read("rendered", source)[1][0], STAND_IN[0])
    np.savez(drawn, *STAND_IN[:3])
    assert str(drawn) in refusal(source, "rendered")


# The halves


def test_images_are_floats_from_0_to_1_with_a_channel_and_a_limit_keeps_the_first(source, given):
    whole, part = load_digits(source=source), load_digits(limit=20, source=source)
    for (images, labels), first, count in ((whole.train, part.train, 60), (whole.test, part.test, 12)):
        assert images.shape == (count, 1, 28, 28) and images.dtype == torch.float32
        assert labels.shape == (count,) and labels.dtype == torch.int64
        assert (images.min(), images.max()) == (0, 1)
        assert torch.equal(first[0], images[:20]) and torch.equal(first[1], labels[:20])


@pytest.mark.parametrize("wrong", [{"data": "cifar"}, {"split": "train"}, {"limit": -1}, {"limit": 2.5}])
def test_a_request_that_makes_no_sense_is_refused(wrong, source, given):
    with pytest.raises(InputError, match=str(*wrong.values())):
        load_digits(**wrong, source=source)


def test_the_six_parts_held_out_are_fixed_and_alike_and_together_the_training_set():
    counts = torch.tensor([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])  # MNIST's own
    shuffled = torch.randperm(60_000, generator=torch.Generator().manual_seed(1))
    labels, numbers, parts = torch.arange(10).repeat_interleave(counts)[shuffled], torch.arange(60_000), []
    for fold in range(6):
        torch.manual_seed(fold)
        train, held = hold_out(numbers, labels, fold)
        assert torch.equal(torch.cat([train[0], held[0]]).sort().values, numbers) and len(held[0]) == 10_000
        assert torch.equal(train[1], labels[train[0]]) and torch.equal(held[1], labels[held[0]])
        assert ((held[1].bincount() - counts / 6).abs() < 1).all()
        assert held[0].diff().unique().numel() > 20  # no simple pattern
        parts.append(held[0])
    assert torch.equal(torch.cat(parts).sort().values, numbers)
    assert hashlib.md5(parts[0].numpy().tobytes()).hexdigest() == "b2fe9dcee895ece558758ea343f74036"


@pytest.mark.parametrize("split", SPLITS[1:])
def test_a_split_is_one_of_the_training_images_and_never_touches_the_test_set(split, source, given):
    expected = hold_out(*load_digits(source=source).train, SPLITS.index(split) - 1)
    for half, (images, labels) in zip(load_digits(split=split, source=source)[1:], expected, strict=True):
        assert torch.equal(half[0], images) and torch.equal(half[1], labels)


@pytest.mark.skipif(not REAL, reason="MNIST_DIR is not set")
def test_mnist_itself_has_its_sizes_its_brightness_and_its_first_digits(monkeypatch):
    monkeypatch.setenv("MNIST_DIR", REAL)
    digits = load_digits("mnist")
    assert digits.train[0].shape == (60_000, 1, 28, 28) and digits.test[0].shape == (10_000, 1, 28, 28)
    assert digits.train[0].mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert digits.train[0].std().item() == pytest.approx(0.3081, abs=1e-4)
    assert digits.train[1][:5].tolist() == [5, 0, 4, 1, 9] and digits.test[1][:5].tolist() == [7, 2, 1, 0, 4]
