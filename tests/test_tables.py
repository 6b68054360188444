"""The tables over stages and seeds: what is counted, and what may be called a difference."""

import math
from statistics import mean

import pytest
from helpers import make_run

from common import intervals, tables
from common.runs import MissingRun, Runs, TooFewSeeds


def shifted(points: float, **other) -> dict:
    """A run at 99 % and so many points, from its first epoch to its last."""
    return make_run(*[99 + points] * 6, **other)


def test_the_difference_of_two_stages_is_paired_by_seed():
    """The seeds spread widely, but every one of them gains the same: the interval is narrow."""
    before = Runs("a", [shifted(points, seed=seed) for seed, points in enumerate((0.0, 0.2, 0.4))])
    after = Runs("b", [shifted(points + 0.1, seed=seed) for seed, points in enumerate((0.0, 0.2, 0.4))])
    difference, low, high = intervals.step(before, after)
    assert difference == pytest.approx(0.1) and high - low == pytest.approx(0, abs=1e-9)


def test_the_interval_is_students():
    before = Runs("a", [shifted(0, seed=seed) for seed in range(3)])
    after = Runs("b", [shifted(points, seed=seed) for seed, points in enumerate((0.0, 0.1, 0.2))])
    difference, low, high = intervals.step(before, after)
    assert (high - low) / 2 == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=1e-3)
    assert difference == pytest.approx(0.1)
    assert intervals.verdict(low, high) == "not distinguishable"


def test_seeds_that_only_one_stage_has_are_left_out_of_the_difference():
    before = Runs("a", [shifted(0, seed=0)])
    after = Runs("b", [shifted(0.1, seed=0), shifted(5, seed=1)])
    assert intervals.step(before, after)[0] == pytest.approx(0.1)


def test_a_single_seed_is_given_no_interval():
    results = [Runs(stage, [shifted(0, stage=stage)]) for stage in ("01_skeleton", "02_batchnorm")]
    assert "needs two seeds" in "\n".join(tables.steps(results))


def test_the_words_follow_the_interval():
    assert [intervals.verdict(*ends) for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))] == [
        "better",
        "worse",
        "not distinguishable",
    ]


def test_what_sets_apart_two_forms_of_one_function_is_called_chance():
    results = [
        Runs(stage, [shifted(points, seed=seed, stage=stage) for seed in range(3)])
        for stage, points in (("03_dropout", 0.1), ("04_gap_fc", 0.0), ("05_augmentation", 0.2))
    ]
    head, tail = tables.steps(results)[2:]
    assert head.endswith("| set apart by chance, as both are one function |") and tail.endswith("| better |")


def test_digits_that_every_seed_gets_wrong_are_counted(tmp_path):
    runs = Runs("06", [make_run(seed=seed, wrong=[1, 2, 3 + seed], taken_for=[5, 6 + seed, 7]) for seed in (0, 1)])
    text = tables.errors([runs], tmp_path / "none.png")[0]
    assert "3 to 3 of 10,000" in text
    assert "4 are wrong in at least one of the 2 seeds, 2 in all of them, and 1 of these" in text
    assert "99.98 % would be right" in text and "Look at" not in text


def test_figures_are_means_over_seeds():
    runs = Runs("06", [shifted(0.0, seed=0), shifted(0.2, seed=1)])
    assert runs.last_five == pytest.approx(mean((99.0, 99.2)))
    assert tables.plus_minus(runs.ends) == "99.100 ± 0.141"


def test_the_digits_that_every_seed_gets_wrong_are_told_with_what_they_are_taken_for():
    runs = Runs(
        "06", [{"seed": 0, "wrong": [3, 7], "taken_for": [1, 2]}, {"seed": 1, "wrong": [7, 9], "taken_for": [4, 5]}]
    )
    assert tables.always_wrong(runs) == {7: [2, 4]}


def test_a_difference_is_told_with_its_interval_or_why_there_is_none():
    assert intervals.in_words(0.1, 0.05, 0.15) == "+0.100 points, 95 % interval +0.050 to +0.150: better"
    assert "two seeds" in intervals.in_words(0.1, -math.inf, math.inf)
    assert intervals.in_words(math.nan, math.nan, math.nan) == "no seed in common"


def test_a_gain_on_several_stages_is_one_on_their_mean_seed_by_seed():
    def stage(name, *ends):
        return Runs(name, [make_run(end, stage=name, seed=seed) for seed, end in enumerate(ends)])

    third, fourth, after = stage("03", 99.0, 99.2), stage("04", 98.8, 99.0, 50.0), stage("05", 99.2, 99.3, 99.4)
    found = intervals.against([third, fourth], after)
    assert found == pytest.approx(intervals.of_mean([0.3, 0.2]))
    assert intervals.against([third], after)[1:] == pytest.approx(intervals.interval(third, after))
    with pytest.raises(MissingRun, match="02"):
        intervals.against([third, Runs("02", [])], after)
    with pytest.raises(TooFewSeeds):
        intervals.against([third, stage("04", 99.0)], after)
