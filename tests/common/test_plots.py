"""Pictures: what they say, that they can be read, and that they show themselves."""

import base64
import io

import pytest
import torch
from matplotlib import pyplot
from PIL import Image
from torch import nn

from common import plots
from common.augmentation import Augment
from common.blocks import GlobalAveragePool, conv_block
from common.receptive_field import receptive_field_table

STAND_IN = "rendered digits, not MNIST"
IMAGES = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 10
RIGHT = torch.eye(10)[LABELS]
HISTORY = [
    {"epoch": n, "test_accuracy": 99 + n / 50, "train_accuracy": 98.5 + n / 50, "test_loss": 1 / n, "train_loss": 2 / n}
    | {"train_accuracy_clean": 99.5 if n % 5 == 0 else None}
    for n in range(1, 16)
]
NET = nn.Sequential(conv_block(1, 8), conv_block(8, 16, pool=True), GlobalAveragePool(), nn.Linear(16, 10))


def draw_all(dataset: str) -> dict[str, plots.Picture]:
    """The pictures of a data set, by name."""
    return {
        "samples": plots.samples(IMAGES, LABELS, dataset),
        "augmented": plots.augmented(IMAGES, Augment(rotation=10), dataset),
        "curves": plots.curves(HISTORY, dataset),
        "confusion": plots.confusion(LABELS, LABELS.roll(1), dataset),
        "misclassified": plots.misclassified(IMAGES, LABELS, RIGHT.roll(1, 0), dataset),
    }


def draw_others() -> dict[str, plots.Picture]:
    """The pictures that need no data set."""
    measured = {"values": [0.4, 0.2, 0.04], "gradients": [0.002, 0.005, 0.01]}
    return {
        "scales": plots.scales(measured, measured),
        "dropped": plots.dropped(torch.rand(4, 4, 4) + 0.1, 0.5),
        "both_orders": plots.both_orders(torch.ones(10), torch.ones(10)),
        "schedule": plots.schedule([0.01 * n for n in range(60)], 15, 0.02),
        "architecture": plots.architecture(receptive_field_table(NET), IMAGES[0, 0]),
    }


@pytest.fixture(scope="module")
def pictures() -> dict[str, plots.Picture]:
    return draw_all("MNIST") | draw_others()


def test_a_picture_shows_itself_sharp_small_and_opaque_with_a_text_in_its_place(pictures: dict) -> None:
    for name, picture in pictures.items():
        content, metadata = picture._repr_mimebundle_()
        assert picture.alt and content["text/plain"] == metadata["image/png"]["alt"] == picture.alt, name
        assert metadata["image/png"]["width"] == 850
        png = base64.b64decode(content["image/png"])
        assert name != "dropped" or picture.png() == png, "no date in it"
        pixels = Image.open(io.BytesIO(png)).convert("RGBA")
        assert pixels.width == 1700 and len(png) < 100_000, name
        assert pixels.getchannel("A").getextrema() == (255, 255) and pixels.getpixel((0, 0))[:3] == (255, 255, 255)
    assert pyplot.get_fignums() == []


def test_pictures_of_the_stand_in_say_so_and_draw_no_goal() -> None:
    drawn = draw_all(STAND_IN)
    assert all(picture.get_suptitle().endswith(STAND_IN) for picture in drawn.values())
    assert "goal" not in str([line.get_label() for line in drawn["curves"].axes[1].lines])


def test_titles_state_what_is_found(pictures: dict) -> None:
    assert pictures["curves"].get_suptitle() == "Last epoch: 99.30% of the test images right"
    assert pictures["confusion"].get_suptitle().startswith("20 of 20 are misread, most often a 0 as a 9")
    assert "fade" in plots.scales({"values": [1, 0.1], "gradients": [1, 1]}).get_suptitle()
    assert "keep their size" in plots.scales({"values": [1, 0.9], "gradients": [1, 1]}).get_suptitle()
    assert f"{sum(row.params for row in receptive_field_table(NET)):,} parameters" in pictures["architecture"].alt


def test_curves_show_what_was_measured(pictures: dict) -> None:
    accuracy = pictures["curves"].axes[1]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in accuracy.lines}
    assert drawn["test"] == [[row["epoch"], row["test_accuracy"]] for row in HISTORY]
    assert [x for x, _ in drawn["train, clean"]] == [5, 10, 15]
    assert "goal, 99.4%" in drawn


def test_dropped_values_are_those_that_are_crossed_out() -> None:
    torch.manual_seed(0)
    picture = plots.dropped(torch.ones(4, 4, 4), 0.5)
    crosses = sum(len(axes.lines[0].get_xdata()) for axes in picture.axes)
    assert f"{crosses} of 64" in picture.get_suptitle() and 0 < crosses < 64


def test_the_surest_mistakes_come_first() -> None:
    probabilities = torch.full((20, 10), 0.01)
    probabilities[range(20), LABELS] = 0.9
    probabilities[[3, 7], LABELS[[3, 7]]] = 0.0
    probabilities[3, 5], probabilities[7, 1] = 0.6, 0.8
    picture = plots.misclassified(IMAGES, LABELS, probabilities, "MNIST")
    assert [text.get_text() for text in picture.axes[0].texts] == ["7 → 1\n80.0%", "3 → 5\n60.0%"]
