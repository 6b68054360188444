"""Metrics files, the figures taken from them, and the block that a notebook closes with."""

import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from common import InputError, report
from common.report import Runs, comparable, load_runs, write_metrics

STAND_IN = "rendered digits, not MNIST"


@pytest.fixture(autouse=True)
def nothing_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the repository has recorded is not part of these tests."""
    monkeypatch.setattr(report, "RECORDED", tmp_path / "recorded")


def make_run(*accuracies: float, clean: float = 99.9, running: float = 99.0, **other) -> dict:
    """A run with these test accuracies; five epochs of 99.0 unless told."""
    history = [
        {
            "epoch": epoch,
            "lr": 0.1,
            "train_loss": 0.02,
            "train_accuracy": running,
            "train_accuracy_clean": clean,
            "test_loss": 0.03,
            "test_correct": round(accuracy * 100),
            "test_accuracy": accuracy,
            "seconds": 2.0,
        }
        for epoch, accuracy in enumerate(accuracies or (99.0,) * 5, 1)
    ]
    run = {
        "stage": "02_batchnorm",
        "seed": 0,
        "dataset": "MNIST",
        "split": "test",
        "parameters": 7_900,
        "epochs": len(history),
        "batch_size": 64,
        "images": {"train": 60_000, "test": 10_000},
        "receptive_field": 22,
        "history": history,
    }
    return run | other


def make_block(run: dict, folder: Path, goal: float = 99.0, runs: Runs | None = None, **claims) -> str:
    """The block of a run, with no claims unless told."""
    runs = runs or Runs(run["stage"], [run])
    return report.block(folder, run, runs, goal, "The target.", claims.get("because", []), claims.get("analysis", []))


# Metrics files


def test_a_run_is_described_by_all_that_its_file_promises():
    history = make_run(99.0, 99.1)["history"]
    digits = SimpleNamespace(name=STAND_IN, train=(None, torch.zeros(2000)), test=(None, torch.zeros(500)))
    layers = [("Conv2d 3×3", 10, 80), ("Conv2d 1×1", 22, 15), ("GlobalAveragePool", 28, 0), ("Linear", 28, 5)]
    rows = [SimpleNamespace(operation=name, r_out=field, params=params) for name, field, params in layers]
    machine = {"device": "cpu", "versions": {"torch": "2"}, "commit": "abc"}
    run = report.describe(
        "01_skeleton",
        3,
        "validation",
        64,
        digits,
        rows,
        history,
        hyperparameters={"learning_rate": 0.1},
        wrong=[5, 9],
        environment=machine,
    )
    assert run == {
        "stage": "01_skeleton",
        "seed": 3,
        "dataset": STAND_IN,
        "split": "validation",
        "parameters": 100,
        "epochs": 2,
        "batch_size": 64,
        **machine,
        "images": {"train": 2000, "test": 500},
        "hyperparameters": {"learning_rate": 0.1},
        "receptive_field": 22,
        "seconds": 4.0,
        "wrong": [5, 9],
        "history": history,
    }


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


def test_the_folder_of_a_run_by_hand_is_the_repositorys_scratch_folder():
    assert report.output_folder("") == report.ROOT / "outputs" / "scratch" / "by-hand"
    assert report.output_folder("some/where") == report.ROOT / "some" / "where"
    elsewhere = os.path.abspath("elsewhere")
    assert str(report.output_folder(elsewhere)) == elsewhere


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


def test_a_stage_that_was_not_run_here_is_taken_from_what_is_recorded(tmp_path):
    write_metrics(report.RECORDED, make_run(98.0, seed=7))
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
        with pytest.raises(report.MissingRun, match="02_batchnorm"):
            getattr(empty, figure)
    with pytest.raises(report.MissingRun, match="02_batchnorm"):
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
    assert report.holds(run, 99.4) is held
    assert Runs("x", [run, run]).holding == 2 * held


# The block


def test_the_block_tells_target_result_and_analysis_in_this_order(tmp_path):
    text = make_block(
        make_run(),
        tmp_path,
        because=[lambda: ("a reason", True)],
        analysis=[lambda: ("a finding", True)],
    )
    parts = [
        "## Target / Result / Analysis: 02_batchnorm, seed 0",
        "**Target.** The target.",
        "- a reason",
        "**Result.**",
        "**Analysis.**",
        "- a finding",
    ]
    assert sorted(parts, key=text.index) == parts
    assert text.startswith(parts[0])


def test_the_result_has_parameters_last_five_accuracies_clean_accuracy_gap_and_verdict(tmp_path):
    text = make_block(make_run(97.0, 99.01, 99.02, 99.03, 99.04, 99.05, clean=99.8, running=98.5), tmp_path)
    for figure in ("7,900", "22 pixels", "99.01  99.02  99.03  99.04  99.05 %", "99.80 % clean", "98.50 % running"):
        assert figure in text
    assert "97.00" not in text
    assert "+0.75 points" in text
    assert "Target: met (lowest of the last five 99.01 %, asked 99.00 %)" in text


def test_a_run_on_held_out_images_does_not_speak_of_test_accuracy(tmp_path):
    text = make_block(make_run(split="validation"), tmp_path)
    assert "Validation accuracy" in text
    assert "Test accuracy" not in text


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (make_run(), "met (lowest of the last five 99.00 %, asked 99.00 %)"),
        (make_run(99.5, 99.5, 98.99, 99.5, 99.5), "missed (lowest of the last five 98.99 %, asked 99.00 %)"),
        (make_run(99.5), "not applicable (it takes five epochs, this run has 1)"),
        (make_run(dataset=STAND_IN), f"not applicable ({STAND_IN})"),
    ],
)
def test_a_target_is_met_missed_or_not_applicable(run, verdict, tmp_path):
    assert f"- Target: {verdict}." in make_block(run, tmp_path)


def test_what_is_said_of_the_stand_in_says_so_in_heading_table_and_verdict_and_of_no_target_as_held(tmp_path):
    runs = Runs("02_batchnorm", [make_run(seed=seed, dataset=STAND_IN) for seed in (0, 1)])
    for run in runs:
        write_metrics(tmp_path, run)
    lines = make_block(runs[0], tmp_path, runs=runs).splitlines()
    for start in ("## Target", "| stage", "- Target: not applicable"):
        (line,) = [line for line in lines if line.startswith(start)]
        assert STAND_IN in line
    assert "99.4" not in "".join(lines)
    assert "- Over 2 seeds: mean of the last five 99.000 ± 0.000 %, lowest epoch 99.00 %." in lines


def test_several_seeds_are_told_by_mean_deviation_minimum_and_how_many_hold_the_target(tmp_path):
    runs = Runs("x", [make_run(*(accuracy,) * 5, seed=seed) for seed, accuracy in enumerate((99.3, 99.4, 99.5))])
    text = make_block(runs[0], tmp_path, runs=runs)
    assert (
        "- Over 3 seeds: mean of the last five 99.400 ± 0.100 %, lowest epoch 99.30 %,"
        " 99.4 % held in 5 of 5 by 2 of 3." in text
    )
    assert "seeds:" not in make_block(runs[0], tmp_path)


def test_a_claim_that_the_run_bears_out_is_a_sentence(tmp_path):
    text = make_block(make_run(), tmp_path, analysis=[lambda: ("The gap is 0.9.", True)])
    assert text.endswith("**Analysis.**\n\n- The gap is 0.9.")


@pytest.mark.parametrize("part", ["because", "analysis"])
def test_a_claim_that_the_run_does_not_bear_out_is_shown_as_such(part, tmp_path):
    text = make_block(make_run(), tmp_path, **{part: [lambda: ("It got better.", False)]})
    assert "- **Not borne out here:** ~~It got better.~~" in text
    assert "- It got better." not in text


@pytest.mark.parametrize("part", ["because", "analysis"])
def test_claims_about_a_stage_without_runs_are_left_out_and_it_is_said_once(part, tmp_path):
    before = Runs("01_skeleton", [])
    claims = [lambda: (f"From {before.clean:.2f} %.", True), lambda: (f"By {before.gap:.2f}.", before.gap > 0)]
    text = make_block(make_run(), tmp_path, **{part: claims})
    assert text.count("- _A comparison with `01_skeleton` is left out: it has not been run alike._") == 1
    assert "From" not in text


def test_a_mistake_in_a_claim_is_not_hidden(tmp_path):
    with pytest.raises(ZeroDivisionError):
        make_block(make_run(), tmp_path, analysis=[lambda: (f"{1 / 0}", True)])


def rows(table: str) -> list[list[str]]:
    """The cells of a markdown table, without the line under its head."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "---" not in line]


def test_the_comparison_has_a_row_a_stage_up_to_this_one_as_means_over_their_seeds(tmp_path):
    write_metrics(report.RECORDED, make_run(stage="01_skeleton", clean=99.5))
    for seed, accuracy in ((0, 99.0), (1, 99.2)):
        write_metrics(tmp_path, make_run(*(accuracy,) * 4, accuracy + 0.1, seed=seed))
    write_metrics(tmp_path, make_run(stage="03_dropout"))
    write_metrics(tmp_path, make_run(98.0, stage="01_skeleton"))  # of another length
    head, *body = rows(report.comparison(tmp_path, make_run()))
    assert "MNIST" in head[0]
    assert body == [
        ["01_skeleton", "1", "7,900", "99.00", "0.00", "99.50", "+0.50"],
        ["02_batchnorm", "2", "7,900", "99.12", "0.10", "99.90", "+0.70"],
    ]
    assert {len(cells) for cells in (head, *body)} == {7}


def test_a_gap_the_other_way_round_has_its_sign(tmp_path):
    write_metrics(tmp_path, make_run(clean=98.8))
    (_, row) = rows(report.comparison(tmp_path, make_run()))
    assert row[-1] == "-0.20"
    assert "-0.20 points" in make_block(make_run(clean=98.8), tmp_path)
