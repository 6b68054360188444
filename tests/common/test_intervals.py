"""Intervals: against tables from textbooks, and against counting."""

import math
import random
from statistics import mean, stdev

import pytest
from runs_for_tests import make

from common.intervals import Gain, markdown_table, of_mean, of_share, pooled_deviation, signed, student_t
from common.runs import MissingRuns, Runs

TABLE = {(0.95, 1): 12.7062, (0.95, 9): 2.2622, (0.99, 9): 3.2498, (0.95, 115): 1.9808, (0.90, 3): 2.3534}
SHARES = {(10, 10): (0.6915, 1.0), (57, 60): (0.8608, 0.9896), (0, 5): (0.0, 0.5218)}


@pytest.mark.parametrize(("freedom", "t"), TABLE.items())
def test_students_t_is_that_of_the_tables(freedom: tuple, t: float) -> None:
    assert student_t(*freedom) == pytest.approx(t, abs=1e-4)


@pytest.mark.parametrize(("share", "ends"), SHARES.items())
def test_the_interval_of_a_share_is_clopper_and_pearsons(share: tuple, ends: tuple) -> None:
    assert of_share(*share) == pytest.approx(ends, abs=1e-4)


def test_the_interval_of_a_mean_holds_as_often_as_it_says() -> None:
    draw = random.Random(0)
    samples = [[draw.gauss(0, 1) for _ in range(5)] for _ in range(2000)]
    held = sum(low <= 0 <= high for _, low, high in map(of_mean, samples))
    assert held / 2000 == pytest.approx(0.95, abs=0.015)
    assert of_mean([3.0]) == (3.0, -math.inf, math.inf)


def test_a_deviation_is_pooled_within_groups() -> None:
    assert pooled_deviation([[1, 3], [10, 12], [], [7]]) == (pytest.approx(math.sqrt(2)), 2)
    assert pooled_deviation([[1, 2, 4]]) == (pytest.approx(stdev([1, 2, 4])), 2)


def runs_of(*ends: float, split: str = "test") -> Runs:
    """A run a figure, with seeds from 0."""
    return Runs([make(*[end] * 5, seed=seed, split=split) for seed, end in enumerate(ends)], "step")


def test_a_gain_is_paired_by_seed_and_fold() -> None:
    before, after = runs_of(99.0, 98.0, 99.1), runs_of(99.1, 98.2, 99.2)
    gain = Gain.of(before, after)
    assert gain.mean == pytest.approx(mean([0.1, 0.2, 0.1])) and gain.pairs == 3
    assert (gain.low, gain.high) == of_mean([run.end - other.end for run, other in zip(after, before, strict=True)])[1:]
    wider = Gain.of(before, after, comparisons=5)
    assert wider.low < gain.low < gain.high < wider.high
    with pytest.raises(MissingRuns, match="two seeds"):
        Gain.of(runs_of(99.0, 99.0, split="fold-1"), after)


def test_a_verdict_is_what_the_interval_shows() -> None:
    before, found = runs_of(99.0, 99.0, 99.0), []
    for gains in (0.1, 0.11, 0.12), (-0.1, -0.11, -0.12), (-0.1, 0.0, 0.11):
        found.append(Gain.of(before, runs_of(*(99 + gain for gain in gains))).verdict)
    assert found == ["helps", "hurts", "too close to call"]


def test_figures_are_written_for_readers() -> None:
    assert signed(-0.104) == "\N{MINUS SIGN}0.10" and signed(0.1, 3) == "+0.100"
    gain = Gain(0.145, -0.1, 0.2, 10)
    assert f"{gain}" == "+0.145 points (\N{MINUS SIGN}0.100 to +0.200)" and f"{gain:.2f}" == "+0.14"
    assert markdown_table(["a", "b"], [["x|y", 1]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"
