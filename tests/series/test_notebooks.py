"""What is written into notebooks: their blocks, their links, and executed copies with today's words."""

import shutil
from pathlib import Path

import pytest
from nbformat import v4

from common.analysis import block
from common.config import InputError
from common.runs import OUTPUTS, recorded
from series.report import notebooks
from series.report.notebooks import NOTEBOOKS, SERIES, addressed, moved, network, read, tidied, title, updated

SETUP = 'import sys\n\nrepository = "https://github.com/"  # its address\n'


def notebook(*cells: tuple[str, str], **outputs: list):
    """A notebook of cells by id: code, or markdown where the id ends with `text`."""
    new = {True: v4.new_markdown_cell, False: v4.new_code_cell}
    made = [new[name.endswith("text")](source, id=name) for name, source in cells]
    for cell in made:
        cell.update({"outputs": outputs[cell.id]} if cell.id in outputs else {})
    return v4.new_notebook(cells=made)


@pytest.mark.parametrize("stage", SERIES)
def test_recorded_text_is_rendered_text_and_a_step_has_a_title_and_its_network(stage: str) -> None:
    text, name = block(recorded(stage)[0]), title(stage)
    assert read(NOTEBOOKS / f"{stage}.ipynb").cells[-1].source == text
    assert read(OUTPUTS / f"{stage}.ipynb").cells[-1].source == moved(text, OUTPUTS)
    assert name.startswith(f"{int(stage[:2])} · ") and len(name) < 30
    assert sum(weight.numel() for weight in network(stage).parameters()) == recorded(stage).parameters < 8_000


def test_the_address_is_written_and_taken_away_again(tmp_path: Path) -> None:
    for path in NOTEBOOKS.glob("0*.ipynb"):
        shutil.copy(path, tmp_path)
    notebooks.publish_links("", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    notebooks.publish_links("me/mine", tmp_path)
    text = "\n".join(cell.source for cell in read(tmp_path / "03_dropout.ipynb").cells)
    assert 'repository = "https://github.com/me/mine"' in text
    assert "colab.research.google.com/github/me/mine/blob/main/notebooks/03_dropout.ipynb" in text
    assert "https://github.com/me/mine/blob/main/README.md" in text and "(02_batchnorm.ipynb)" in text
    notebooks.publish_links("", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert b"colab.research" not in b"".join(before.values()) and b"Colab: *File" in before["03_dropout.ipynb"]


def test_links_to_notebooks_stay_beside_them() -> None:
    text = "[a](../docs/a.md#b) [n](../outputs/x.ipynb) [h](https://example.org/x) [s](02.ipynb)"
    there = addressed(text, "me/mine")
    assert there == text.replace("../docs", "https://github.com/me/mine/blob/main/docs")
    assert addressed(there, "") == text and addressed(there, "you/yours").count("you/yours") == 1


def test_links_lead_to_the_same_files_from_a_copy_elsewhere() -> None:
    text = "[a](../docs/a.md#b) [n](02_batchnorm.ipynb) [h](https://example.org/x) [i](#here)"
    assert moved(text, OUTPUTS) == text
    assert moved("[x](drawn.png)", OUTPUTS) == "[x](../notebooks/drawn.png)"
    deep = moved(text, OUTPUTS / "smaller")
    assert deep == text.replace("../docs", "../../docs").replace("(02", "(../02")


def test_an_executed_copy_gets_todays_words_and_keeps_its_outputs() -> None:
    log = [v4.new_output("stream", text="epoch 1\n")]
    conclude, code = ("conclude", "conclude(config)"), [("parameters", "seed = 0"), ("fit", "fit()")]
    source = notebook(("a-text", "new"), ("setup", SETUP), *code, ("b-text", "more"), conclude, ("c-text", "block"))
    old = [("a-text", "old"), ("setup", "old"), code[0], ("x", "seed = 3"), code[1], conclude, ("c-text", "old")]
    copy = notebook(*old, fit=log, conclude=log)
    source.cells[2].metadata.tags, copy.cells[3].metadata.tags = ["parameters"], ["injected-parameters"]
    cells = {cell.id: cell for cell in updated(copy, source, OUTPUTS).cells}
    assert [*cells] == ["a-text", "setup", "parameters", "x", "fit", "b-text", "conclude", "c-text"]
    assert (cells["a-text"].source, cells["setup"].source, cells["c-text"].source) == ("new", SETUP, "block")
    assert cells["fit"].outputs == log and cells["conclude"].outputs == []


def test_a_copy_of_other_code_gets_the_block_alone() -> None:
    source = notebook(("a-text", "new"), ("fit", "fit()"), ("c-text", "block"))
    copy = notebook(("a-text", "old"), ("other", "train()"), ("c-text", "old"))
    assert [cell.source for cell in updated(copy, source, OUTPUTS).cells] == ["old", "train()", "block"]


def test_papermills_notes_go_and_the_pieces_of_a_log_are_joined() -> None:
    pieces = [v4.new_output("stream", text=text) for text in ("epoch 1\n", "epoch 2\n")]
    found = notebook(("fit", "fit()"), fit=pieces)
    found.metadata.papermill = found.cells[0].metadata.papermill = found.cells[0].metadata.execution = {"x": 1}
    found = tidied(found)
    assert [output.text for output in found.cells[0].outputs] == ["epoch 1\nepoch 2\n"]
    assert "papermill" not in found.metadata and found.cells[0].metadata == {}


def test_what_is_no_notebook_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.ipynb").write_text('{"cells": [')
    for path in (tmp_path / "x.ipynb", tmp_path / "none.ipynb"):
        with pytest.raises(InputError, match="is no notebook") as caught:
            read(path)
        assert "\n" not in str(caught.value)
