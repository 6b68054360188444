"""Metrics files, which of them are compared, and the figures taken from them."""

import json
import math
from pathlib import Path

import pytest
from helpers import make_run

from common import InputError
from common.runs import MissingRun, Runs, comparable, holds, load_runs, write_metrics

STAND_IN = "rendered digits, not MNIST"
pytestmark = pytest.mark.usefixtures("recorded")


# Metrics files


def test_a_run_is_one_file_named_by_stage_and_seed_and_reads_as_it_was_written(tmp_path):
    run = make_run(seed=3)
    path = write_metrics(tmp_path / "new", run)
    assert path == tmp_path / "new" / "metrics" / "02_batchnorm" / "seed-3.json"
    assert json.loads(path.read_text()) == run
    assert load_runs(tmp_path / "new", "02_batchnorm") == [run]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_metrics(tmp_path, make_run())
    before = path.read_text()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_metrics(tmp_path, make_run(99.5, 99.5, 99.5, 99.5, 99.5))
    assert path.read_text() == before
    assert len(load_runs(tmp_path, "02_batchnorm")) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_not_written(value, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_metrics(tmp_path, make_run(clean=value))
    assert not list(tmp_path.rglob("*.json"))


LARGE = {"epochs": 15, "images": {"train": 60_000, "test": 10_000}}


def test_more_epochs_on_fewer_images_do_not_replace_a_run_either(tmp_path):
    write_metrics(tmp_path, make_run(**LARGE))
    with pytest.raises(InputError, match="larger run"):
        write_metrics(tmp_path, make_run(**LARGE | {"epochs": 16, "images": {"train": 100, "test": 10_000}}))


@pytest.mark.parametrize(
    "smaller",
    [
        {"epochs": 14},
        {"images": {"train": 2000, "test": 2000}},
        {"images": {"train": 50_000, "test": 10_000}, "split": "validation"},
        {"dataset": STAND_IN},
        {"dataset": STAND_IN, "epochs": 20},
    ],
)
def test_a_smaller_run_does_not_replace_a_larger_one_but_the_other_way_round_it_does(smaller, tmp_path):
    path = write_metrics(tmp_path, make_run(**LARGE))
    before = path.read_text()
    with pytest.raises(InputError, match="larger run") as caught:
        write_metrics(tmp_path, make_run(**LARGE | smaller))
    assert str(path) in str(caught.value)
    assert path.read_text() == before
    write_metrics(tmp_path / "other", make_run(**LARGE | smaller))
    write_metrics(tmp_path / "other", make_run(**LARGE))


def test_a_run_of_the_same_size_replaces_the_one_before(tmp_path):
    write_metrics(tmp_path, make_run(98.0))
    path = write_metrics(tmp_path, make_run(99.0))
    assert json.loads(path.read_text())["history"][0]["test_accuracy"] == 99.0


def test_a_broken_file_is_named(tmp_path):
    path = write_metrics(tmp_path, make_run())
    path.write_text(path.read_text()[:50])
    for use in (lambda: load_runs(tmp_path, "02_batchnorm"), lambda: write_metrics(tmp_path, make_run())):
        with pytest.raises(InputError) as caught:
            use()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stage", ["", "a|b", "<b>bold</b>", "../outside", "a/b", "two words", "a\nb", "`x`"])
def test_a_stage_has_a_name_that_harms_no_path_table_or_heading(stage, tmp_path):
    with pytest.raises(InputError, match="stage"):
        write_metrics(tmp_path / "out", make_run(stage=stage))
    assert not list(tmp_path.iterdir())


# Which runs are compared


def test_runs_come_by_seed_as_numbers(tmp_path):
    for seed in (10, 9, 100):
        write_metrics(tmp_path, make_run(seed=seed))
    assert [run["seed"] for run in load_runs(tmp_path, "02_batchnorm")] == [9, 10, 100]


@pytest.mark.parametrize(
    "unlike",
    [
        {"dataset": STAND_IN},
        {"split": "validation"},
        {"epochs": 4},
        {"images": {"train": 2000, "test": 2000}},
        {"images": {"train": 60_000, "test": 2000}},
    ],
)
def test_only_runs_on_the_same_data_for_as_many_epochs_are_compared(unlike, tmp_path):
    write_metrics(tmp_path, make_run(seed=1))
    write_metrics(tmp_path, make_run(seed=2, **unlike))
    assert [run["seed"] for run in load_runs(tmp_path, "02_batchnorm", make_run())] == [1]
    assert [run["seed"] for run in comparable(tmp_path, "02_batchnorm", make_run())] == [1]


@pytest.mark.parametrize(
    "unlike", [{"hyperparameters": {"learning_rate": 0.5}}, {"batch_size": 128}, {"parameters": 5_000}]
)
def test_a_run_by_another_recipe_is_no_other_seed(unlike, tmp_path):
    write_metrics(tmp_path, make_run(98.0, seed=1, **unlike))
    write_metrics(tmp_path, make_run(99.0, seed=2))
    write_metrics(tmp_path, make_run(99.0, seed=3))
    assert [run["seed"] for run in comparable(tmp_path, "02_batchnorm", make_run(99.0))] == [2, 3]
    assert [run["seed"] for run in comparable(tmp_path, "02_batchnorm", make_run(99.0, **unlike))] == [1]


def test_of_a_stage_before_the_runs_of_one_recipe_are_taken_the_nearest(tmp_path):
    for seed, rate in enumerate((0.5, 0.1, 0.5, 0.1)):
        write_metrics(tmp_path, make_run(seed=seed, hyperparameters={"learning_rate": rate}))
    after = make_run(stage="03_dropout", hyperparameters={"learning_rate": 0.1, "dropout": 0.02})
    assert [run["seed"] for run in comparable(tmp_path, "02_batchnorm", after)] == [1, 3]
    neither = make_run(stage="06_lr_scheduler", hyperparameters={"learning_rate": 0.2})
    assert [run["seed"] for run in comparable(tmp_path, "02_batchnorm", neither)] == [0, 2]


def test_a_stage_that_was_not_run_here_is_taken_from_what_is_recorded(tmp_path, recorded):
    write_metrics(recorded, make_run(98.0, seed=7))
    assert comparable(tmp_path, "02_batchnorm", make_run(99.0))[0]["seed"] == 7
    assert not comparable(tmp_path, "02_batchnorm", make_run(99.0, dataset=STAND_IN))
    write_metrics(tmp_path, make_run(99.0))
    assert [run["seed"] for run in comparable(tmp_path, "02_batchnorm", make_run(99.0))] == [0]


def test_a_stage_that_was_run_nowhere_has_no_runs(tmp_path):
    assert comparable(tmp_path, "02_batchnorm", make_run()) == []


# Figures


def test_figures_are_means_over_the_seeds():
    one = make_run(90.0, 95.0, 96.0, 97.0, 98.0, 99.0, clean=99.8, running=99.0)
    other = make_run(92.0, 97.0, 97.0, 97.0, 97.0, 97.0, clean=99.6, running=98.0, seed=1)
    runs = Runs("02_batchnorm", [other, one])
    assert [run["seed"] for run in runs] == [0, 1]
    assert runs.last_five == pytest.approx(97.0)
    assert runs.swing == pytest.approx((4 + 0) / 2)
    assert runs.clean == pytest.approx(99.7)
    assert runs.running == pytest.approx(98.5)
    assert runs.test(1) == pytest.approx(91.0)
    assert runs.test(2) == pytest.approx(96.0)
    assert runs.test(-1) == pytest.approx(98.0)
    assert runs.gap == pytest.approx(99.7 - 98.0)
    assert runs.parameters == 7900


def test_the_gain_on_another_stage_is_the_difference_of_their_last_five_epochs():
    before = Runs("x", [make_run(90.0, 97.0, 97.0, 97.0, 97.0, 97.0)])
    assert Runs("y", [make_run(98.0), make_run(99.0, seed=1)]).gain(before) == pytest.approx(1.5)
    assert before.gain(Runs("y", [make_run(98.0)])) == pytest.approx(-1.0)


def test_of_a_shorter_run_the_last_epoch_stands_for_later_ones():
    assert Runs("x", [make_run(90.0, 95.0)]).test(5) == 95.0


def test_figures_of_a_stage_without_runs_are_missing_by_name():
    empty = Runs("02_batchnorm", [])
    for figure in ("last_five", "swing", "clean", "running", "gap", "parameters"):
        with pytest.raises(MissingRun, match="02_batchnorm"):
            getattr(empty, figure)
    with pytest.raises(MissingRun, match="02_batchnorm"):
        Runs("x", [make_run()]).gain(empty)


@pytest.mark.parametrize(
    ("accuracies", "held"),
    [
        ((99.4,) * 5, True),
        ((100 * 9940 / 10_000,) * 5, True),
        ((90.0, *(99.4,) * 5), True),
        ((99.4, 99.4, 99.39, 99.5, 99.9), False),
        ((99.39, 99.5, 99.5, 99.5, 99.5), False),
        ((99.5, 99.5, 99.5, 99.5, 99.39), False),
        ((99.9,) * 4, False),
    ],
)
def test_a_target_is_held_by_each_of_the_last_five_epochs_or_not_at_all(accuracies, held):
    run = make_run(*accuracies)
    assert holds(run, 99.4) is held
    assert Runs("x", [run, run]).holding == 2 * held
