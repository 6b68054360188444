"""The tables over stages and seeds: what is counted, and what may be called a difference."""

import json
import math
from statistics import mean

import pytest

from common import report, summary
from common.report import Runs


def make_run(stage="01_skeleton", seed=0, accuracies=(98.0, 99.4, 99.41, 99.5, 99.45, 99.42), dataset="MNIST"):
    history = [
        {
            "epoch": epoch,
            "lr": 0.1,
            "train_loss": 0.1,
            "train_accuracy": accuracy - 0.2,
            "train_accuracy_clean": accuracy + 0.3,
            "test_loss": 0.05,
            "test_correct": round(accuracy * 100),
            "test_accuracy": accuracy,
            "seconds": 1.0,
        }
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    return {
        "stage": stage,
        "seed": seed,
        "dataset": dataset,
        "split": "test",
        "parameters": 4166,
        "epochs": len(history),
        "device": "cpu",
        "versions": {"torch": "2"},
        "images": {"train": 60_000, "test": 10_000},
        "receptive_field": 22,
        "wrong": [1, 2, 3 + seed],
        "history": history,
    }


def shifted(points, **kwargs):
    return make_run(accuracies=[99 + points] * 6, **kwargs)


def test_a_seed_holds_the_target_only_in_all_of_its_last_five_epochs():
    assert report.holds(make_run(), 99.4)
    assert not report.holds(make_run(accuracies=(99.5, 99.39, 99.5, 99.5, 99.5)), 99.4)


def test_the_difference_of_two_stages_is_paired_by_seed():
    """The seeds spread widely, but every one of them gains the same: the interval is narrow."""
    before = Runs("a", [shifted(points, seed=seed) for seed, points in enumerate((0.0, 0.2, 0.4))])
    after = Runs("b", [shifted(points + 0.1, seed=seed) for seed, points in enumerate((0.0, 0.2, 0.4))])
    difference, low, high = summary.step(before, after)
    assert difference == pytest.approx(0.1) and high - low == pytest.approx(0, abs=1e-9)


def test_the_interval_is_students():
    before = Runs("a", [shifted(0, seed=seed) for seed in range(3)])
    after = Runs("b", [shifted(points, seed=seed) for seed, points in enumerate((0.0, 0.1, 0.2))])
    difference, low, high = summary.step(before, after)
    assert (high - low) / 2 == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=1e-3)
    assert difference == pytest.approx(0.1)
    assert summary.verdict(low, high) == "not distinguishable"


def test_seeds_that_only_one_stage_has_are_left_out_of_the_difference():
    before = Runs("a", [shifted(0, seed=0)])
    after = Runs("b", [shifted(0.1, seed=0), shifted(5, seed=1)])
    assert summary.step(before, after)[0] == pytest.approx(0.1)


def test_a_single_seed_is_given_no_interval():
    results = [Runs(stage, [shifted(0, stage=stage)]) for stage in ("01_skeleton", "02_batchnorm")]
    assert "needs two seeds" in "\n".join(summary.steps_table(results))


def test_the_words_follow_the_interval():
    assert [summary.verdict(*ends) for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))] == [
        "better",
        "worse",
        "not distinguishable",
    ]


@pytest.fixture
def folder(tmp_path):
    for stage in summary.SERIES[:2]:
        for seed in (0, 1):
            report.write_metrics(tmp_path, make_run(stage, seed))
    return tmp_path


def test_a_folder_of_runs_gets_its_table_and_figures(folder):
    text = summary.summarise(folder)
    assert "01_skeleton" in text and "held by 2 of 2" in text
    assert "2 of 2" in (folder / "README.md").read_text()
    assert {path.name for path in (folder / "figures").iterdir()} == {"spread.png", "curves.png"}


def test_shorter_runs_do_not_mix_with_longer_ones(folder):
    report.write_metrics(folder, make_run("02_batchnorm", 7, accuracies=(50.0,)))
    assert [len(runs) for runs in summary.read_results(folder)] == [2, 2]


def test_the_stand_in_is_named_and_held_against_no_target(tmp_path):
    report.write_metrics(tmp_path, make_run(dataset="rendered digits, not MNIST"))
    for text in (summary.summarise(tmp_path), (tmp_path / "README.md").read_text()):
        assert "rendered digits, not MNIST" in text and "not applicable" in text and "held by" not in text


def test_the_last_cell_of_an_executed_copy_is_the_block_of_its_run(folder, monkeypatch):
    def notebook(code):
        maker = {"id": "a", "cell_type": "code", "metadata": {"tags": ["block"]}, "outputs": [1], "source": code}
        return json.dumps({"cells": [maker, {"id": "b", "cell_type": "markdown", "metadata": {}, "source": "old"}]})

    monkeypatch.setattr(summary, "NOTEBOOKS", folder / "notebooks")
    summary.NOTEBOOKS.mkdir()
    (summary.NOTEBOOKS / "01_skeleton.ipynb").write_text(notebook("block = run['stage'] + '!'"))
    copy = folder / "01_skeleton.ipynb"
    copy.write_text(notebook("block = 'words that were changed since'"))
    summary.summarise(folder)
    written = json.loads(copy.read_text())["cells"]
    assert "".join(written[-1]["source"]) == "01_skeleton!" and written[0]["outputs"] == []


def test_digits_that_every_seed_gets_wrong_are_counted():
    runs = Runs("06", [make_run(seed=seed) for seed in (0, 1)])
    text = summary.errors([runs])[0]
    assert "3 to 3 of 10,000" in text and "; 2 of them are wrong in all 2 seeds" in text


def test_figures_are_means_over_seeds():
    runs = Runs("06", [shifted(0.0, seed=0), shifted(0.2, seed=1)])
    assert runs.last_five == pytest.approx(mean((99.0, 99.2)))
    assert summary.plus_minus(summary.means(runs)) == "99.100 ± 0.141"
