"""Where the images come from, in which order, and that nothing but MNIST passes for MNIST."""

import gzip
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from common import InputError, data, mnist, rendered
from common.data import load_digits

SHAPES = ((60, 28, 28), (60,), (12, 28, 28), (12,))
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def idx(shape: tuple[int, ...], seed: int) -> bytes:
    """A file of the format that MNIST comes in; labels, where it has one dimension only."""
    values = np.random.default_rng(seed).integers(256 if len(shape) == 3 else 10, size=shape, dtype=np.uint8)
    header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
    return header + values.tobytes()


CONTENTS = {file.name: idx(shape, seed) for seed, (file, shape) in enumerate(zip(mnist.FILES, SHAPES, strict=True))}
STAND_IN = rendered.RenderedDigits(
    torch.arange(60 * 784).byte().view(60, 28, 28),
    torch.arange(60) % 10,
    torch.arange(12 * 784).byte().view(12, 28, 28),
    torch.arange(12) % 10,
)


@pytest.fixture(autouse=True)
def small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An MNIST of 72 images, an empty cache, no MNIST_DIR, a mirror that nobody answers at, and a quick stand-in."""
    files = [
        mnist.IdxFile(name, len(content), hashlib.md5(content).hexdigest(), shape)
        for (name, content), shape in zip(CONTENTS.items(), SHAPES, strict=True)
    ]
    monkeypatch.setattr(mnist, "FILES", tuple(files))
    monkeypatch.setattr(mnist, "DOWNLOAD_SECONDS", 1.5)
    monkeypatch.setattr(mnist, "SILENCE_SECONDS", 0.7)
    monkeypatch.setattr(mnist.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(rendered, "render_digits", lambda: STAND_IN)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


def put(folder: Path, gzipped: bool = False, **replaced: bytes) -> Path:
    """Write the four files to `folder`; `replaced` gives some other content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in CONTENTS.items():
        content = replaced.get(name, content)
        path = folder / (f"{name}.gz" if gzipped else name)
        path.write_bytes(gzip.compress(content) if gzipped else content)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What MNIST_DIR points to: the four files, as they should be."""
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "given"))
    return put(tmp_path / "given")


def cached() -> Path:
    """Where a download is kept."""
    return data.CACHE / "MNIST" / "raw"


def assert_is_mnist(digits: data.Digits) -> None:
    """It has the pixels and labels that the four files were made with."""
    assert digits.name == "MNIST"
    for (images, labels), names in ((digits.train, (IMAGES, LABELS)), (digits.test, list(CONTENTS)[2:])):
        pixels, answers = (np.frombuffer(CONTENTS[name], np.uint8) for name in names)
        assert torch.equal(labels, torch.from_numpy(answers[8:].astype(np.int64)))
        assert torch.equal((images * 255).round().byte().flatten(), torch.tensor(pixels[16:]))


def refusal(kind: str = "auto") -> str:
    """The line by which the data is refused."""
    with pytest.raises(InputError) as caught:
        load_digits(kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# MNIST_DIR


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
def test_mnist_dir_is_a_folder_of_files_or_a_torchvision_root_gzipped_or_not(gzipped, below, tmp_path, monkeypatch):
    put(tmp_path / "given" / below, gzipped)
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "given"))
    assert_is_mnist(load_digits())


def test_gzipped_and_plain_files_may_be_mixed(folder):
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress((folder / IMAGES).read_bytes()))
    (folder / IMAGES).unlink()
    assert_is_mnist(load_digits())


def test_a_relative_mnist_dir_is_meant_from_where_one_stands_or_from_the_repository(tmp_path, monkeypatch):
    put(tmp_path / "given")
    elsewhere = tmp_path / "else" / "where"
    elsewhere.mkdir(parents=True)
    monkeypatch.setenv("MNIST_DIR", "given")
    assert_is_mnist(load_digits())
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(mnist, "ROOT", tmp_path)
    assert_is_mnist(load_digits())


def test_mnist_dir_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    put(tmp_path / "given")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MNIST_DIR", "~/given")
    assert_is_mnist(load_digits())


def test_mnist_dir_comes_before_the_cache_which_is_not_even_read(folder):
    put(cached(), **{IMAGES: b"broken"})
    assert_is_mnist(load_digits())


@pytest.mark.parametrize("given", ["empty", "missing", "~nobody-of-this-name/mnist", "x" * 5000])
def test_a_mnist_dir_without_the_files_is_refused_by_its_name(given, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    put(cached())  # that the files are here must not matter
    monkeypatch.setenv("MNIST_DIR", given)
    assert given in refusal()


def spoil(change: Callable[[bytes], bytes], path: Path) -> None:
    """Write a changed content."""
    path.write_bytes(change(path.read_bytes()))


def flip(content: bytes) -> bytes:
    """One bit of the content, the other way round."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = {
    "is empty": lambda content: b"",
    "is something else": lambda content: b"<html>404</html>" * 100,
    "is cut off": lambda content: content[:-1],
    "lacks its second half": lambda content: content[: len(content) // 2],
    "has one wrong bit": flip,
    "has a byte too many": lambda content: content + b"\1",
    "has another header": lambda content: content[:3] + b"\7" + content[4:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_is_refused_by_name_if_it(damage, name, folder):
    spoil(damage, folder / name)
    assert str(folder / name) in refusal()


@pytest.mark.parametrize("kind", ["is cut off", "lacks its second half", "has one wrong bit", "is something else"])
@pytest.mark.parametrize("outside", [True, False], ids=["compressed", "content"])
def test_a_gzipped_file_is_refused_by_name_if_it(kind, outside, folder):
    path = folder / f"{IMAGES}.gz"
    content = (folder / IMAGES).read_bytes()
    damage = DAMAGE[kind]
    path.write_bytes(damage(gzip.compress(content)) if outside else gzip.compress(damage(content)))
    (folder / IMAGES).unlink()
    assert str(path) in refusal()


def test_a_gzipped_file_that_is_none_behind_its_header_is_refused_by_name(folder):
    (folder / LABELS).unlink()
    (folder / f"{LABELS}.gz").write_bytes(gzip.compress(b"")[:10] + b"\xff" * 50)
    assert f"{LABELS}.gz" in refusal()


def test_two_files_swapped_are_refused(folder):
    (folder / "t10k-images-idx3-ubyte").rename(folder / "aside")
    (folder / IMAGES).rename(folder / "t10k-images-idx3-ubyte")
    (folder / "aside").rename(folder / IMAGES)
    assert IMAGES in refusal()


def test_a_gzip_bomb_is_not_unpacked(folder, monkeypatch):
    unpacked = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: unpacked.append(size) or read(self, size))
    (folder / LABELS).unlink()
    (folder / f"{LABELS}.gz").write_bytes(gzip.compress(b"\0" * 20_000_000))
    assert LABELS in refusal()
    assert all(0 < size <= 100_000 for size in unpacked)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_missing_file_is_named(name, folder):
    (folder / name).unlink()
    assert name in refusal()


def test_a_folder_in_place_of_a_file_is_named(folder):
    (folder / LABELS).unlink()
    (folder / LABELS).mkdir()
    assert LABELS in refusal()


def test_a_link_that_leads_to_itself_is_named(folder):
    (folder / LABELS).unlink()
    (folder / LABELS).symlink_to(LABELS)
    assert LABELS in refusal()


def test_a_mnist_dir_that_leads_to_itself_is_named(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setenv("MNIST_DIR", "loop")
    assert "loop" in refusal()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("closed", ["", LABELS])
def test_what_may_not_be_read_is_named(closed, folder):
    (folder / closed).chmod(0)
    try:
        assert str(folder / closed) in refusal()
    finally:
        (folder / closed).chmod(0o700)


@pytest.mark.parametrize("function", ["is_file", "open"])
def test_a_disk_that_fails_is_one_line_too(function, folder, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(*((Path, "is_file") if function == "is_file" else ("builtins.open",)), fail)
    assert str(folder) in refusal()


# The cache and the download


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """Call it with how each mirror answers; it gives the list of what they were asked for, as (mirror, file)."""
    servers, asked = [], []

    def start(*answers: Answer) -> list[tuple[int, str]]:
        mirrors = []
        for number, answer in enumerate(answers):
            handler = type("Handler", (Mirror,), {"number": number, "answer": answer, "asked": asked})
            servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=partial(servers[-1].serve_forever, 0.02), daemon=True).start()
            mirrors.append(f"http://127.0.0.1:{servers[-1].server_port}/mnist/")
        monkeypatch.setattr(mnist.MNIST, "mirrors", mirrors)
        return asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class Mirror(BaseHTTPRequestHandler):
    """Looks up what is asked for, and answers in its own way."""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/mnist/").removesuffix(".gz")
        self.asked.append((self.number, name))
        type(self).answer(self, gzip.compress(CONTENTS[name]))

    def log_message(self, *_) -> None:
        """Keep quiet."""


def send(mirror: Mirror, content: bytes, length: int | None = None, status: int = 200) -> None:
    """A common answer, which may promise more than it holds."""
    mirror.send_response(status)
    mirror.send_header("Content-Length", str(len(content) if length is None else length))
    mirror.end_headers()
    mirror.wfile.write(content)


def good(mirror: Mirror, content: bytes) -> None:
    send(mirror, content)


def send_chunk_and_drop(mirror: Mirror, content: bytes) -> None:
    mirror.send_response(200)
    mirror.send_header("Transfer-Encoding", "chunked")
    mirror.end_headers()
    mirror.wfile.write(b"ffff\r\n" + content[:100])


def send_endlessly(mirror: Mirror, content: bytes, pause: float = 0.0) -> None:
    mirror.send_response(200)
    mirror.end_headers()
    for _ in range(600):  # half a minute, with that pause
        try:
            mirror.wfile.write(b"\0" * (1 if pause else 65536))
        except OSError:  # the other side has heard enough
            return
        time.sleep(pause)


def drip_headers(mirror: Mirror, content: bytes) -> None:
    mirror.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
    for _ in range(600):  # half a minute, and never silent for long
        try:
            mirror.wfile.write(b".")
        except OSError:
            return
        time.sleep(0.05)


BAD = {
    "not found": lambda mirror, content: send(mirror, b"", status=404),
    "out of order": lambda mirror, content: send(mirror, content, status=503),
    "a page instead": lambda mirror, content: send(mirror, b"<html>please log in</html>"),
    "another file": lambda mirror, content: send(mirror, gzip.compress(b"\0" * 60)),
    "half of it": lambda mirror, content: send(mirror, content[: len(content) // 2], length=len(content)),
    "half a chunk": send_chunk_and_drop,
    "nothing": lambda mirror, content: None,
    "not even HTTP": lambda mirror, content: mirror.wfile.write(b"hello\r\n\r\n"),
    "silence": lambda mirror, content: time.sleep(60),
    "its headers byte by byte": drip_headers,
    "a byte now and then": partial(send_endlessly, pause=0.05),
    "no end": send_endlessly,
}


def test_what_is_nowhere_is_downloaded_verified_and_kept(serve):
    asked = serve(good)
    assert_is_mnist(load_digits())
    assert asked == [(0, name) for name in CONTENTS]
    assert_is_mnist(load_digits("mnist"))
    assert len(asked) == 4


@pytest.mark.parametrize("gzipped", [False, True])
def test_the_cache_comes_before_the_download(gzipped, serve):
    asked = serve(good)
    put(cached(), gzipped)
    assert_is_mnist(load_digits())
    assert not asked


def test_only_what_the_cache_lacks_is_downloaded(serve):
    asked = serve(good)
    (put(cached()) / LABELS).unlink()
    assert_is_mnist(load_digits())
    assert asked == [(0, LABELS)]


def test_a_broken_file_in_the_cache_is_named_and_neither_passed_over_nor_replaced(serve):
    asked = serve(good)
    spoil(flip, put(cached()) / LABELS)
    assert str(cached() / LABELS) in refusal()
    assert not asked


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_the_second_mirror_helps_where_the_first_one_sends(bad, serve):
    serve(bad, good)
    one = mnist.FILES[0]
    started = time.monotonic()
    mnist.download(one, cached())
    assert time.monotonic() - started < 20
    assert [path.name for path in cached().iterdir()] == [f"{IMAGES}.gz"]
    assert mnist.read_verified(cached() / f"{IMAGES}.gz", one) == CONTENTS[IMAGES]


def test_a_mirror_that_never_ends_fills_neither_disk_nor_memory(serve):
    serve(send_endlessly)
    with pytest.raises(OSError, match="too much"):
        mnist.fetch(f"{mnist.MNIST.mirrors[0]}{IMAGES}.gz", limit=100_000)


@pytest.mark.parametrize("bad", [BAD["not found"], BAD["half of it"], BAD["not even HTTP"], BAD["another file"]])
def test_where_every_mirror_fails_the_stand_in_takes_its_place_and_says_so(bad, serve, capsys):
    serve(bad, bad)
    assert load_digits().name == rendered.NAME
    notice = capsys.readouterr().out
    assert notice.count("\n") == 1
    assert "MNIST can't be downloaded" in notice
    assert rendered.NAME in notice
    assert not list(cached().iterdir())


def test_without_any_network_data_mnist_is_refused_and_names_the_way_out():
    assert "MNIST_DIR" in refusal("mnist")
    assert not list(data.CACHE.glob("*.npz"))


@pytest.mark.parametrize("kind", ["auto", "mnist", "rendered"])
def test_a_cache_that_cannot_be_written_is_named(kind, serve):
    serve(good)
    data.CACHE.write_text("a file where a folder should be")
    assert str(data.CACHE) in refusal(kind)


# The stand-in


def test_the_stand_in_is_drawn_once_and_read_again(monkeypatch):
    first = load_digits("rendered")
    monkeypatch.setattr(rendered, "render_digits", lambda: pytest.fail("drawn again"))
    again = load_digits("rendered")
    assert first.name == again.name == "rendered digits, not MNIST"
    for one, other in zip((*first.train, *first.test), (*again.train, *again.test), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(first.train[1], STAND_IN.train_labels)


def test_asked_for_the_stand_in_nothing_else_is_looked_at(serve, monkeypatch):
    asked = serve(good)
    monkeypatch.setenv("MNIST_DIR", "missing")
    assert load_digits("rendered").name == rendered.NAME
    assert not asked


def test_a_new_version_of_the_stand_in_is_drawn_anew(monkeypatch):
    load_digits("rendered")
    monkeypatch.setattr(rendered, "VERSION", rendered.VERSION + 1)
    monkeypatch.setattr(rendered, "render_digits", lambda: STAND_IN._replace(test_labels=torch.zeros(12).long()))
    assert load_digits("rendered").test[1].sum() == 0


def save_one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def save_too_few(path: Path) -> None:
    np.savez(path, np.zeros(3))


@pytest.mark.parametrize(
    "damage",
    [
        *(partial(spoil, DAMAGE[name]) for name in ("is empty", "is something else", "has one wrong bit")),
        *(partial(spoil, DAMAGE[name]) for name in ("is cut off", "lacks its second half")),
        save_one_array,
        save_too_few,
    ],
)
def test_a_broken_stand_in_is_named_and_not_drawn_over(damage):
    load_digits("rendered")
    (path,) = data.CACHE.glob("*.npz")
    damage(path)
    spoiled = path.read_bytes()
    assert str(path) in refusal("rendered")
    assert path.read_bytes() == spoiled


def test_a_drawing_that_is_interrupted_leaves_nothing(monkeypatch):
    def interrupted(file, *_):
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_digits("rendered")
    assert not list(data.CACHE.iterdir())


def test_preparing_leaves_the_data_cached_and_tells_its_name(serve):
    asked = serve(good)
    assert data.prepare("auto") == "MNIST"
    assert {path.name for path in cached().iterdir()} == {f"{name}.gz" for name in CONTENTS}
    assert data.prepare("rendered") == rendered.NAME
    assert len(list(data.CACHE.glob("*.npz"))) == 1
    assert len(asked) == 4


# The halves


def test_images_are_floats_from_0_to_1_with_a_channel_and_labels_whole_numbers(folder):
    digits = load_digits()
    for (images, labels), count in ((digits.train, 60), (digits.test, 12)):
        assert images.shape == (count, 1, 28, 28)
        assert images.dtype == torch.float32
        assert images.min() == 0
        assert images.max() == 1
        assert labels.shape == (count,)
        assert labels.dtype == torch.int64


def test_fewer_images_are_the_first_ones_of_each_half(folder):
    whole, part = load_digits(), load_digits(images=20)
    assert torch.equal(part.train[0], whole.train[0][:20])
    assert torch.equal(part.train[1], whole.train[1][:20])
    assert len(part.test[0]) == len(part.test[1]) == 12


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": "cifar"},
        {"split": "train"},
        {"images": -1},
        {"images": 2.5},
        {"images": "20"},
        {"images": True},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(wrong, folder):
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        load_digits(**wrong)


def made_like_mnist() -> tuple[torch.Tensor, torch.Tensor]:
    """60,000 labels, as uneven as MNIST's; the image of each is its number."""
    counts = torch.tensor([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])  # MNIST's own
    labels = torch.arange(10).repeat_interleave(counts)
    return torch.arange(60_000), labels[torch.randperm(60_000, generator=torch.Generator().manual_seed(1))]


def test_the_validation_split_is_50_000_to_10_000_with_no_image_in_both():
    images, labels = made_like_mnist()
    train, held = data.hold_out(images, labels)
    assert (len(train[0]), len(held[0])) == (50_000, 10_000)
    assert torch.equal(torch.cat([train[0], held[0]]).sort().values, images)
    for part_images, part_labels in (train, held):
        assert torch.equal(part_labels, labels[part_images])


def test_the_validation_split_has_its_share_of_every_digit():
    images, labels = made_like_mnist()
    _, (_, held) = data.hold_out(images, labels)
    assert ((held.bincount() - labels.bincount() / 6).abs() < 1).all()


def test_the_validation_split_is_always_the_same_and_no_simple_pattern():
    images, labels = made_like_mnist()
    torch.manual_seed(1)
    first = data.hold_out(images, labels)[1][0]
    torch.manual_seed(2)
    assert torch.equal(first, data.hold_out(images, labels)[1][0])
    assert hashlib.md5(first.numpy().tobytes()).hexdigest() == "b2fe9dcee895ece558758ea343f74036"
    assert first.diff().unique().numel() > 20


def test_the_validation_split_never_touches_the_test_set(folder):
    whole, held = load_digits(), load_digits(split="validation")
    assert (len(held.train[0]), len(held.test[0])) == (50, 10)
    parts = torch.cat([held.train[0], held.test[0]]).flatten(1)
    assert sorted(parts.sum(1).tolist()) == sorted(whole.train[0].flatten(1).sum(1).tolist())


@pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="MNIST_DIR is not set")
class TestMnistItself:
    """On the real files, where they are at hand."""

    @pytest.fixture(autouse=True)
    def real(self, small_world, monkeypatch):
        monkeypatch.setattr(mnist, "FILES", REAL_FILES)
        monkeypatch.setenv("MNIST_DIR", REAL_FOLDER)

    def test_it_has_its_shape_its_brightness_and_its_first_digits(self):
        digits = load_digits("mnist")
        assert digits.train[0].shape == (60_000, 1, 28, 28)
        assert digits.test[0].shape == (10_000, 1, 28, 28)
        assert digits.train[0].mean().item() == pytest.approx(0.1307, abs=1e-4)
        assert digits.train[0].std().item() == pytest.approx(0.3081, abs=1e-4)
        assert digits.train[1][:5].tolist() == [5, 0, 4, 1, 9]
        assert digits.test[1][:5].tolist() == [7, 2, 1, 0, 4]

    def test_it_is_split_into_50_000_and_10_000(self):
        digits = load_digits("mnist", split="validation")
        assert (len(digits.train[0]), len(digits.test[0])) == (50_000, 10_000)


REAL_FILES, REAL_FOLDER = mnist.FILES, str(Path(os.environ.get("MNIST_DIR", "")).absolute())
