"""Metrics files: written whole, read with suspicion, compared only with their like."""

import json
import math
from pathlib import Path

import pytest
from runs_for_tests import content, make

from common.config import InputError, write_whole
from common.runs import OUTPUTS, MissingRuns, Run, Runs, recorded


def test_what_the_runner_keeps_beside_metrics_is_no_run(tmp_path: Path) -> None:
    make().save(tmp_path / "here/rate")
    for place in (".done", "failed"):
        write_whole(tmp_path / "here" / place / "rate/seed-0.json", "{}")
    assert len(Runs.read(tmp_path)) == len(Runs.read(tmp_path / "here")) == 1


def test_a_saved_run_is_read_as_it_was(tmp_path: Path) -> None:
    run = make(wrong=[3, 7], taken_for=[1, 2], scales={"values": [0.5], "gradients": [0.1]}, receptive_field=22)
    assert run.save(tmp_path) == tmp_path / "metrics" / "02_batchnorm" / "seed-0.json"
    assert Run.read(run.save(tmp_path)) == run


def test_figures_are_of_the_last_five_epochs() -> None:
    run = make(10.0, 99.1, 99.2, 99.3, 99.4, 99.5)
    assert run.last_five == [99.1, 99.2, 99.3, 99.4, 99.5]
    found = run.end, run.lowest, run.best, run.first, run.swing, run.gap
    assert found == pytest.approx((99.3, 99.1, 99.5, 10.0, 0.4, 99.9 - 99.5))


def test_the_goal_is_held_in_all_of_the_last_five_epochs_or_not_at_all() -> None:
    assert make(*[99.4] * 5).holds() and make(90.0, *[99.4] * 5).holds()
    assert not make(99.6, 99.6, 99.39, 99.6, 99.6).holds() and not make(*[99.9] * 4).holds()  # too short


def test_a_figure_of_several_runs_is_their_mean() -> None:
    runs = Runs([make(99.0, 99.2, seed=1), make(99.4, 99.4, seed=0)])
    assert [run.seed for run in runs] == [0, 1]
    assert runs.end == pytest.approx(99.25) and runs.swing == pytest.approx(0.1)
    with pytest.raises(AttributeError):
        _ = runs.beauty
    with pytest.raises(MissingRuns, match="no run of step"):
        _ = Runs(name="step").end


EPOCH = content()["history"][0]
BAD = {
    "stage": ["../evil", 3, ""],
    "seed": [-1, 1.5, True, "0", 1],  # 1: in the file of seed 0
    "dataset": ["<script>", None],
    "versions": [{"torch": "<b>"}, {"<b>": "2"}, []],
    "images": [{"train": 1}, {"train": -1, "test": 1}],
    "history": [[], [{}], "x", None, [EPOCH] * 5],
    "wrong": [[-1], ["0"], [10_000], 5],
    "taken_for": [[10], [1, 2, 3]],
    "scales": [{"values": ["x"]}, []],
    "epochs": [4],
    "hyperparameters": ["rate"],
    "more": [1],
}
BAD_EPOCH = {"test_accuracy": 101.0, "test_loss": math.nan, "epoch": 4, "train_accuracy_clean": None, "lr": "0"}
FOUR = content()["history"][:4]
WRONG = [content(wrong=[1], taken_for=[2]) | {name: value} for name, values in BAD.items() for value in values]
WRONG += [content(history=[*FOUR, EPOCH | {"epoch": 5, name: value}]) for name, value in BAD_EPOCH.items()]
WRONG += [{name: value for name, value in content().items() if name != "commit"}]


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", *map(json.dumps, WRONG)])
def test_a_metrics_file_that_is_damaged_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "seed-0.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"^[^\n]* is no metrics file of ours [^\n]*: delete it[^\n]*$"):
        Run.read(path)


def test_a_run_in_the_folder_of_another_stage_is_refused(tmp_path: Path) -> None:
    path = make().save(tmp_path)
    other = tmp_path / "metrics" / "03_dropout" / path.name
    other.parent.mkdir()
    path.rename(other)
    with pytest.raises(InputError, match="of another stage"):
        Run.read(other)


@pytest.mark.parametrize(
    ("smaller", "refused"),
    [
        ({"epochs": 4}, True),
        ({"images": {"train": 100, "test": 10_000}}, True),
        ({"dataset": "rendered digits, not MNIST"}, True),
        ({"epochs": 6, "images": {"train": 100, "test": 10_000}}, True),  # longer, on fewer images
        ({"epochs": 6}, False),
        ({"hyperparameters": {"learning_rate": 0.2}}, False),
    ],
)
def test_no_run_replaces_a_larger_one(tmp_path: Path, smaller: dict, refused: bool) -> None:
    path = make().save(tmp_path)
    run = make(**smaller)
    if refused:
        with pytest.raises(InputError, match="holds a larger run"):
            run.save(tmp_path)
    else:
        run.save(tmp_path)
    assert Run.read(path) == (make() if refused else run)


def test_runs_are_compared_with_those_on_the_same_data_of_the_nearest_recipe(tmp_path: Path) -> None:
    faster = {"hyperparameters": {"learning_rate": 0.3}}
    moved, older = ({"hyperparameters": {"learning_rate": 0.5, name: 1.5}} for name in ("shift", "shift_x"))
    made = [{}, older, faster, {"split": "validation"}, {"epochs": 6}, {"parameters": 5_000}]
    for seed, other in enumerate(made):
        make(seed=seed, **other).save(tmp_path)
    stand_in = {"dataset": "rendered digits, not MNIST"}
    for like, seeds in ({}, [0]), (moved, [1]), (faster, [2]), (stand_in, []):
        found = Runs.read(tmp_path / "metrics" / "02_batchnorm", make(**like))
        assert [run.seed for run in found] == seeds


def test_every_recorded_metrics_file_is_sound() -> None:
    files = [path for path in OUTPUTS.rglob("seed-*.json") if not {"weights", "scratch"} & set(path.parts)]
    assert len(files) > 300
    assert all(Run.read(path).history for path in files)
    assert len(recorded("06_lr_scheduler")) >= 10


def test_a_run_can_be_told_as_tested_in_another_way():
    run = make(99.5, 99.4)
    for row, correct in zip(run.history, (9900, 9910), strict=True):
        row |= {"usual_correct": correct, "usual_loss": 0.5}
    usual = Runs([run]).tested("usual")
    assert (usual.end, usual.loss, run.end) == (pytest.approx(99.05), 0.5, pytest.approx(99.45))
    with pytest.raises(MissingRuns, match="seed 0 was not tested in the few way"):
        run.tested("few")
