"""Weights as plain numbers, to the last bit; and a drawn or photographed digit, made like MNIST's, and classified."""

import json
import shutil
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from common.blocks import GlobalAveragePool, conv_block
from common.config import ROOT, Config, InputError
from common.inference import as_mnist, classify_file, load_layers, restore, save_weights, show_answer


def network(width: int = 4) -> nn.Module:
    """A small network with all that the steps' blocks are made of, its statistics moved by a pass of training."""
    net = nn.Sequential(conv_block(1, width, pool=True, padding=1), conv_block(width, 5, dropout=0.1))
    net += nn.Sequential(GlobalAveragePool(), nn.Linear(5, 10))
    net(torch.randn(8, 1, 28, 28))
    return net.eval()


def stroke(height: int, width: int, top: int, left: int, tall: int, wide: int) -> torch.Tensor:
    """A page with an L of full ink on it."""
    ink = torch.zeros(height, width)
    ink[top : top + tall, left : left + wide // 4] = 1
    ink[top + tall - tall // 4 : top + tall, left : left + wide] = 1
    return ink


INK = stroke(200, 150, 30, 20, 120, 80)


def test_a_network_is_restored_exactly_from_layers_in_their_order(tmp_path):
    net, images, path = network(), torch.randn(3, 1, 28, 28), tmp_path / "weights" / "06_last" / "seed-3.json"
    save_weights(Config("06_last", {"seed": 3}, torch.device("cpu"), tmp_path), net)
    assert torch.equal(restore(network(), path)(images), net(images))
    kinds = "Conv2d MaxPool2d BatchNorm2d ReLU Conv2d BatchNorm2d ReLU Dropout GlobalAveragePool Linear"
    assert [layer["kind"] for layer in load_layers(path)] == kinds.split()
    assert load_layers(path)[0]["padding"] == [1, 1]
    assert load_layers(path)[0]["state"]["weight"]["shape"] == [4, 1, 3, 3]
    with pytest.raises(InputError, match=r"seed-3\.json holds no weights of this network: take the Net of"):
        restore(network(width=6), path)


@pytest.mark.parametrize(("text", "words"), [("[{", "can't be read"), ("[{}]", "no weights"), ("{}", "no weights")])
def test_a_file_without_weights_is_named_in_one_line(tmp_path, text, words):
    (tmp_path / "weights.json").write_text(text)
    with pytest.raises(InputError, match=rf"^[^\n]*weights\.json [^\n]*{words}[^\n]*$"):
        restore(network(), tmp_path / "weights.json")


@pytest.mark.parametrize("ink", [INK, stroke(400, 300, 60, 40, 240, 160), stroke(200, 150, 70, 60, 120, 80)])
def test_a_digit_of_any_size_anywhere_becomes_20_pixels_around_its_centre_of_mass(ink):
    digit, places = as_mnist(ink), torch.arange(28) + 0.5
    torch.testing.assert_close(digit, as_mnist(INK), atol=1e-4, rtol=0)
    centre = [float((places * digit.sum(axis)).sum() / digit.sum()) for axis in (0, 1)]
    assert centre == pytest.approx([14, 14], abs=0.05)  # pixels blur it a little
    rows = digit.sum(1).nonzero().flatten()
    assert 20 <= rows[-1] - rows[0] + 1 <= 21  # 20, that need not begin with a whole pixel
    assert float(digit.sum()) == pytest.approx(float(INK.sum()) * (20 / 120) ** 2, rel=1e-4), "no ink is lost"


def test_a_file_is_classified_alike_dark_on_light_light_on_dark_and_without_a_ground(tmp_path):
    net, ink = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), Image.fromarray((255 * INK).byte().numpy())
    clear = Image.new("RGBA", ink.size)
    clear.putalpha(ink)  # black ink, nothing around it
    results = []
    for image in (ink, ink.point(lambda value: 255 - value), clear):
        image.save(tmp_path / "digit.png")
        results.append(classify_file(net, tmp_path / "digit.png"))
    (digit, probabilities), *others = results
    assert digit.shape == (28, 28) and float(probabilities.sum()) == pytest.approx(1)
    for other in others:
        torch.testing.assert_close(other, (digit, probabilities))
    picture = show_answer(digit, probabilities, "rendered digits, not MNIST")
    assert f"Read as a {probabilities.argmax()}, with" in picture.alt and "not MNIST" in picture.alt


def test_what_shows_no_digit_or_is_no_image_is_refused_in_one_line(tmp_path):
    Image.new("L", (50, 50), 255).save(tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("no image")
    for name, words in ("blank", "shows no digit"), ("text", "can't be read as an image"), ("missing", "give a PNG"):
        with pytest.raises(InputError, match=rf"{name}\.png .*{words}"):
            classify_file(network(), tmp_path / f"{name}.png")


def test_the_three_lines_that_step_6_gives_for_colab_show_an_answer(tmp_path, monkeypatch):
    cells = json.loads((ROOT / "notebooks/06_lr_scheduler.ipynb").read_text(encoding="utf-8"))["cells"]
    [text] = ["".join(cell["source"]) for cell in cells if cell["id"] == "inference-text"]
    lines = text.partition("```python\n")[2].removesuffix("\n```").splitlines()
    shutil.copy(ROOT / "notebooks/drawn.png", tmp_path / "mine (1).png")  # where Colab puts what is uploaded
    colab = ModuleType("google.colab")
    colab.files = SimpleNamespace(upload=lambda: {"mine (1).png": b"its bytes"})
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.chdir(tmp_path)
    known = {
        "net": network(),
        "digits": SimpleNamespace(name="MNIST"),
        "classify_file": classify_file,
        "show_answer": show_answer,
    }
    exec("\n".join(lines[:2]), known)
    assert len(lines) == 3 and eval(lines[2], known).alt.startswith("Read as a ")
