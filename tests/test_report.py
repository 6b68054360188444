"""What a notebook says of its run: the description that its metrics file holds, and the block that it closes with."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import make_run

from common import report
from common.runs import ROOT, Runs, write_metrics

STAND_IN = "rendered digits, not MNIST"
pytestmark = pytest.mark.usefixtures("recorded")


def rows(table: str) -> list[list[str]]:
    """The cells of a markdown table, without the line under its head."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "---" not in line]


def make_block(run: dict, folder: Path, goal: float = 99.0, runs: Runs | None = None, **claims) -> str:
    """The block of a run, with no claims unless told."""
    runs = runs or Runs(run["stage"], [run])
    return report.block(folder, run, runs, goal, "The target.", claims.get("because", []), claims.get("analysis", []))


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
        mistakes={"wrong": [5, 9], "taken_for": [3, 4]},
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
        "taken_for": [3, 4],
        "history": history,
    }


def test_the_folder_of_a_run_by_hand_is_the_repositorys_scratch_folder():
    assert report.output_folder("") == ROOT / "outputs" / "scratch" / "by-hand"
    assert report.output_folder("some/where") == ROOT / "some" / "where"
    elsewhere = os.path.abspath("elsewhere")
    assert str(report.output_folder(elsewhere)) == elsewhere


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
    assert "validation accuracy" in text
    assert "test accuracy" not in text


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
    assert "- All 2 seeds: mean of the last five 99.000 ± 0.000 %, lowest epoch 99.00 %." in lines


def test_several_seeds_are_told_by_mean_deviation_minimum_and_how_many_hold_the_target(tmp_path):
    seeds = (99.1, 99.3, 99.3, 99.3, 99.5), (99.4,) * 5, (99.5,) * 5
    runs = Runs("x", [make_run(*accuracies, seed=seed) for seed, accuracies in enumerate(seeds)])
    text = make_block(runs[0], tmp_path, runs=runs)
    assert (
        "- All 3 seeds: mean of the last five 99.400 ± 0.100 %, lowest epoch 99.10 %,"
        " 99.4 % held in 5 of 5 by 2 of 3." in text
    )
    assert " seeds" not in make_block(runs[0], tmp_path).replace("| seeds |", "")


def test_of_several_seeds_the_target_is_met_by_so_many_and_figures_are_said_to_be_means(tmp_path):
    runs = Runs("x", [make_run(*[accuracy] * 5, seed=seed) for seed, accuracy in enumerate((99.1, 98.9, 99.0))])
    text = make_block(runs[0], tmp_path, runs=runs)
    assert "means over all 3 seeds" in text
    assert (
        "- Target: met by 2 of 3 seeds (lowest epoch 98.90 %),"
        " and by this one (lowest of the last five 99.10 %, asked 99.00 %)." in text
    )
    assert ", not by this one (lowest of the last five 98.90 %" in make_block(runs[1], tmp_path, runs=runs)


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


def test_the_comparison_has_a_row_a_stage_up_to_this_one_as_means_over_their_seeds(tmp_path, recorded):
    write_metrics(recorded, make_run(stage="01_skeleton", clean=99.5))
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
