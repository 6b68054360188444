"""What is written of a folder of runs: its tables, its figures, and the ends of its notebooks."""

import json

import pytest
from helpers import make_run

from common import notebooks, summary
from common.runs import write_metrics

HOLDING = (98.0, 99.4, 99.41, 99.5, 99.45, 99.42)  # the target, in each of the last five epochs


@pytest.fixture
def folder(tmp_path):
    for stage in notebooks.SERIES[:2]:
        for seed in (0, 1):
            write_metrics(tmp_path, make_run(*HOLDING, stage=stage, seed=seed))
    return tmp_path


def test_a_folder_of_runs_gets_its_table_and_figures(folder):
    text = summary.summarise(folder)
    assert "01_skeleton" in text and "held by 2 of 2" in text
    assert "2 of 2" in (folder / "README.md").read_text()
    assert {path.name for path in (folder / "figures").iterdir()} == {"spread.png", "curves.png"}


def test_it_is_told_how_long_a_run_took_and_what_so_few_images_can_tell(folder):
    run = make_run(*HOLDING, stage="01_skeleton", seed=2)
    run["history"][0]["seconds"] = 7.0
    write_metrics(folder, run)
    summary.summarise(folder)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "Training took 12 to 17 seconds a run." in text
    images = run["images"]["test"]
    assert (
        f"of 99.44 % on {images:,} images, the standard error is {100 * (0.99436 * 0.00564 / images) ** 0.5:.2f} points"
        in text
    )


def test_shorter_runs_do_not_mix_with_longer_ones(folder):
    write_metrics(folder, make_run(50.0, stage="02_batchnorm", seed=7))
    assert [len(runs) for runs in summary.read_results(folder)] == [2, 2]


def test_the_stand_in_is_named_and_held_against_no_target(tmp_path):
    write_metrics(tmp_path, make_run(stage="01_skeleton", dataset="rendered digits, not MNIST"))
    for text in (summary.summarise(tmp_path), (tmp_path / "README.md").read_text()):
        assert "rendered digits, not MNIST" in text and "not applicable" in text and "held by" not in text


def test_the_last_cell_of_an_executed_copy_is_the_block_of_its_run(folder, monkeypatch):
    def notebook(code):
        maker = {"id": "a", "cell_type": "code", "metadata": {"tags": ["block"]}, "outputs": [1], "source": code}
        return json.dumps({"cells": [maker, {"id": "b", "cell_type": "markdown", "metadata": {}, "source": "old"}]})

    monkeypatch.setattr(notebooks, "NOTEBOOKS", folder / "notebooks")
    notebooks.NOTEBOOKS.mkdir()
    (notebooks.NOTEBOOKS / "01_skeleton.ipynb").write_text(notebook("block = run['stage'] + '!'"))
    copy = folder / "01_skeleton.ipynb"
    copy.write_text(notebook("block = 'words that were changed since'"))
    summary.summarise(folder)
    written = json.loads(copy.read_text())["cells"]
    assert "".join(written[-1]["source"]) == "01_skeleton!" and written[0]["outputs"] == []
