"""Sweeps as a whole: the intervals and the figure."""

import pytest

from common import sweep
from common.effects import LINES, Effect, effects
from common.intervals import of_mean


def test_the_interval_of_a_mean_is_students():
    middle, low, high = of_mean([99.0, 99.2, 99.4])
    assert middle == pytest.approx(99.2)
    assert (high - low) / 2 == pytest.approx(4.303 * 0.2 / 3**0.5)
    assert of_mean([99.0])[1:] == (-float("inf"), float("inf"))


def test_the_figure_has_a_line_for_every_way_to_choose_the_other_parameters():
    rows = [
        sweep.Row(stage, {"dropout": dropout, "rate": rate}, [99.0, 99.1], 2)
        for stage in ("01_first", "02_second")
        for dropout in (0.0, 0.1)
        for rate in (0.1, 0.2, 0.4)
    ]
    axes = sweep.draw(rows, ["dropout", "rate"], "MNIST, validation split").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "0.2", "0.4"]
    labels = [line.get_label() for line in axes.get_lines()]
    assert labels == [f"dropout {dropout}, {stage}" for stage in ("01_first", "02_second") for dropout in (0.0, 0.1)]
    assert len(axes.collections) == len(rows), "an interval each"
    assert axes.get_title() == "" and "2 runs a point" in axes.figure.get_suptitle()


def test_the_figure_says_of_how_many_runs_a_point_is_where_they_differ_and_which_lines_it_leaves_out():
    lines = {f"line {n}": [Effect(0, 90.0 + n, 89.0, 91.0, 1 + n % 2)] for n in range(LINES + 2)}
    figure = effects(lines, "rate", ["0.1"], "MNIST")
    assert f"the best {LINES} of {LINES + 2} lines" in figure.get_suptitle()
    labels = {line.get_label() for line in figure.axes[0].get_lines()}
    assert not labels & {"line 0", "line 1"} and "line 2" in labels
    assert {text.get_text() for text in figure.axes[0].texts} == {"n=1", "n=2"}
