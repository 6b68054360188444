import io

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from PIL import Image

from common import canvas, plots
from common.batches import Augment
from common.standin import NAME as STAND_IN
from common.standin import TRAIN_FONTS, draw_half

PIXELS, LABELS = draw_half(TRAIN_FONTS, 40, seed=0)
IMAGES = PIXELS.unsqueeze(1) / 255
RIGHT = torch.eye(10)[LABELS]


def make_history(epochs=15, clean_epochs=(), first=60.0):
    rows = []
    for epoch in range(1, epochs + 1):
        accuracy = 99.5 - (99.5 - first) / epoch**2
        rows.append(
            {
                "epoch": epoch,
                "lr": 0.1 / epoch,
                "train_loss": 1.2 / epoch,
                "train_accuracy": accuracy - 0.3,
                "train_accuracy_clean": accuracy + 0.1 if epoch in clean_epochs else None,
                "test_loss": 1 / epoch,
                "test_accuracy": accuracy,
            }
        )
    return rows


def draw_all(dataset):
    """One figure of every kind, by name."""
    history, augment = make_history(), Augment(rotation=10, shift_x=2)
    results = {"01_skeleton": [[99.3, 99.4], [99.2, 99.3]], "02_batchnorm": [[99.4, 99.5]]}
    histories = {"01_skeleton": [history, history], "02_batchnorm": [history]}
    return {
        "sample_grid": plots.sample_grid(IMAGES, LABELS, dataset),
        "augmented_grid": plots.augmented_grid(IMAGES, augment, dataset),
        "curves": plots.curves(history, dataset),
        "learning_rates": plots.learning_rates(history, dataset),
        "scales": plots.scales({"values": [0.4, 0.2, 0.04], "gradients": [0.002, 0.005, 0.01]}, dataset),
        "always_wrong": plots.always_wrong(IMAGES, [(0, 1, [2, 2, 3]), (5, 4, [9, 9, 9])], 3, dataset),
        "confusion": plots.confusion(LABELS, LABELS.roll(1), dataset),
        "misclassified": plots.misclassified(IMAGES, LABELS, RIGHT.roll(1, 0), dataset),
        "stage_spread": plots.stage_spread(results, dataset),
        "stage_curves": plots.stage_curves(histories, dataset),
    }


@pytest.fixture(scope="module")
def mnist_figures():
    return draw_all("MNIST")


@pytest.fixture(scope="module")
def pictures(mnist_figures):
    return {name: canvas.to_png(figure) for name, figure in mnist_figures.items()}


@pytest.fixture(scope="module")
def stand_in_figures():
    return draw_all(STAND_IN)


def title(figure):
    return figure.get_suptitle()


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def legend(figure):
    return [text.get_text() for entries in figure.legends for text in entries.get_texts()]


def line(figure, panel, label):
    return next(line for line in figure.axes[panel].lines if line.get_label() == label)


def test_every_figure_of_the_stand_in_names_it_in_its_title(stand_in_figures):
    for figure in stand_in_figures.values():
        assert title(figure).endswith(STAND_IN)


def test_the_target_is_drawn_on_mnist_alone(mnist_figures, stand_in_figures):
    with_target = {name for name, figure in mnist_figures.items() if "goal of the series, 99.4 %" in legend(figure)}
    assert with_target == {"curves", "stage_spread", "stage_curves"}
    assert not any("target" in label for figure in stand_in_figures.values() for label in legend(figure))


def test_plotted_axes_say_what_they_show(mnist_figures):
    for name in "curves", "learning_rates", "confusion":
        for axes in mnist_figures[name].axes:
            assert axes.get_xlabel() and axes.get_ylabel()
    for name in "stage_spread", "stage_curves":  # panels share their outer labels; the stages name themselves
        assert mnist_figures[name].axes[0].get_ylabel()


def test_every_figure_has_an_opaque_white_face_and_githubs_width(pictures):
    for content in pictures.values():
        picture = Image.open(io.BytesIO(content)).convert("RGBA")
        assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
        assert picture.getchannel("A").getextrema() == (255, 255)
        assert picture.width == 850


def test_no_figure_stays_open_in_pyplot(mnist_figures):
    assert pyplot.get_fignums() == []


def test_the_sample_grid_has_a_column_a_digit_and_leaves_out_what_is_not_there():
    figure = plots.sample_grid(torch.ones(3, 1, 28, 28), torch.tensor([3, 3, 7]), "MNIST", rows=2)
    inked = figure.axes[0].images[0].get_array().reshape(2, 32, 10, 32).max(axis=(1, 3))
    assert np.argwhere(inked).tolist() == [[0, 3], [0, 7], [1, 3]]


def test_the_augmented_grid_shows_the_original_first_and_is_the_same_for_the_same_seed():
    def picture(seed):
        figure = plots.augmented_grid(IMAGES, Augment(rotation=20), "MNIST", seed=seed, rows=2)
        return figure.axes[0].images[0].get_array()

    assert np.array_equal(picture(0)[2:30, 2:30], IMAGES[0, 0])
    assert np.array_equal(picture(0), picture(0))
    assert not np.array_equal(picture(0), picture(1))


def test_clean_accuracy_is_drawn_only_where_it_was_measured():
    figure = plots.curves(make_history(clean_epochs=(5, 10, 15)), "MNIST")
    assert list(line(figure, 1, "train, clean").get_xdata()) == [5, 10, 15]
    assert "train, clean" not in legend(plots.curves(make_history(), "MNIST"))


def test_accuracies_far_apart_are_all_in_view_and_the_target_named():
    figure = plots.curves(make_history(first=11), "MNIST")
    canvas.to_png(figure)
    low, high = figure.axes[1].get_ylim()
    assert low < 10.7 and 99.5 < high < 100
    assert "99.4 %" in [label.get_text() for label in figure.axes[1].get_yticklabels()]


def test_a_perfect_accuracy_can_be_drawn():
    history = make_history(epochs=2)
    history[1]["test_accuracy"] = 100.0
    figure = plots.curves(history, "MNIST")
    canvas.to_png(figure)
    assert figure.axes[1].get_ylim()[1] >= 100


def test_the_last_five_epochs_are_shaded_where_there_are_more():
    assert "last 5 epochs" in legend(plots.curves(make_history(6), "MNIST"))
    assert "last 5 epochs" not in legend(plots.curves(make_history(1), "MNIST"))


def test_the_learning_rate_of_every_step_ends_with_the_last_epoch():
    figure = plots.learning_rates(make_history(3), "MNIST", steps=[0.1] * 30)
    steps = line(figure, 0, "every step").get_xdata()
    assert (steps[0], len(steps)) == (0, 30) and 2.9 <= steps[-1] <= 3


def test_confusion_counts_true_digits_by_row_and_errors_in_the_title():
    labels, predictions = torch.tensor([4, 4, 4, 9]), torch.tensor([4, 9, 9, 9])
    figure = plots.confusion(labels, predictions, "MNIST")
    cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert cells == {(4, 4): "1", (9, 4): "2", (9, 9): "1"}
    assert title(figure).startswith("2 of 4 digits")


def test_the_colours_of_the_confusion_are_those_of_the_errors_alone():
    errors = plots.confusion(LABELS, LABELS.roll(1), "MNIST").axes[0].images[0].get_array()
    assert errors.mask.diagonal().all() and errors.mask.sum() == 10


def test_the_surest_mistakes_come_first():
    labels = torch.tensor([5, 2, 0, 7])
    probabilities = torch.eye(10)[labels] * 0.1
    for index, (guess, confidence) in enumerate([(6, 0.6), (1, 0.8), (2, 0.7), (7, 0.9)]):
        probabilities[index, guess] = confidence
    figure = plots.misclassified(IMAGES[:4], labels, probabilities, "MNIST", count=2)
    assert texts(figure) == ["2 → 1\n80.0 %", "0 → 2\n70.0 %"]
    assert title(figure).startswith("2 of 3 mistakes")


def test_a_network_without_a_mistake_has_a_figure_too():
    figure = plots.misclassified(IMAGES, LABELS, RIGHT, "MNIST")
    assert title(figure).startswith("No mistake among 40 digits") and texts(figure) == []


def test_a_stages_spread_has_a_dot_and_a_range_for_every_seed():
    runs = [[99.1, 99.2, 99.3, 99.4, 99.5], [99.0, 99.0, 99.0, 99.0, 99.0]]
    axes = plots.stage_spread({"02_batchnorm": runs}, "MNIST").axes[0]
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([99.3, 99.0])
    ranges = [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()]
    assert ranges == [[99.1, 99.5], [99.0, 99.0]]
    assert axes.get_xticklabels()[0].get_text() == "02_batchnorm\nmean 99.15\nseeds: 2"


def test_a_single_seed_stands_above_its_stage():
    axes = plots.stage_spread({"a": [[99.0] * 5], "b": [[99.1] * 5]}, "MNIST").axes[0]
    assert [dots.get_xdata().tolist() for dots in axes.lines[:2]] == [[0], [1]]


def test_stage_curves_show_the_mean_and_the_stage_before():
    low, high = make_history(2, first=50), make_history(2, first=70)
    figure = plots.stage_curves({"a": [low, high], "b": [high]}, "MNIST")
    assert line(figure, 0, "mean of the seeds").get_ydata()[0] == pytest.approx(60)
    assert line(figure, 1, "the stage before").get_ydata()[0] == pytest.approx(60)
    assert [axes.get_visible() for axes in figure.axes] == [True, True, False]


def test_figures_are_small_enough_for_seven_in_a_notebook(pictures):
    assert sum(len(content) for content in pictures.values()) < 300_000
