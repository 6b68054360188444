"""Bad parameters are refused in one clear line before any training; the corners that make sense are run."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from helpers import parameters_of

from common import InputError, data, parameters, runs

ROOT = Path(parameters.__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))
LAST = NOTEBOOKS[-1]

WRONG_TYPES = [None, True, "", "1", "nan", [1], {"a": 1}, b"1", 1j, (0.1, 0.2), "a b", "é\n; rm -rf /", object]
NO_NUMBERS = [math.nan, math.inf, -math.inf, -1, -0.001, -(2**63), 10**300, 2**64]
FRACTIONS = [0.5, 2.0, 1e-9]
BAD = {
    "seed": [*WRONG_TYPES, *NO_NUMBERS, *FRACTIONS],
    "epochs": [*WRONG_TYPES, *NO_NUMBERS, *FRACTIONS, 0, 10_001],
    "batch_size": [*WRONG_TYPES, *NO_NUMBERS, *FRACTIONS, 0],
    "images": [*WRONG_TYPES, *NO_NUMBERS, *FRACTIONS],
    "learning_rate": [*WRONG_TYPES, *NO_NUMBERS, 0, 0.0, 1e4],
    "weight_decay": [*WRONG_TYPES, *NO_NUMBERS],
    "dropout": [*WRONG_TYPES, *NO_NUMBERS, 1, 1.0, 20],
    "rotation": [*WRONG_TYPES, *NO_NUMBERS],
    "shift": [*WRONG_TYPES, *NO_NUMBERS],
    "scale": [*WRONG_TYPES, *NO_NUMBERS, 1.0, 12],
    "shear": [*WRONG_TYPES, *NO_NUMBERS, 90],
    "brightness": [*WRONG_TYPES, *NO_NUMBERS],
    "contrast": [*WRONG_TYPES, *NO_NUMBERS],
    "warmup": [*WRONG_TYPES, *NO_NUMBERS, 1.01, 0.71],
    "settle": [*WRONG_TYPES, *NO_NUMBERS, 1.01, 0.09],
    "device": [*WRONG_TYPES, *NO_NUMBERS, "tpu", "CPU", "cuda:99", "auto "],
    "data": [*WRONG_TYPES, *NO_NUMBERS, "cifar", "MNIST", "/etc/passwd", "rendered\n"],
    "split": [*WRONG_TYPES, *NO_NUMBERS, "train", "Test", "test,validation"],
    "out": [
        *(wrong for wrong in WRONG_TYPES if not isinstance(wrong, str)),
        *NO_NUMBERS,
        "a\0b",
        "x" * 5000,
        __file__,
        f"{__file__}/below",
    ],
}
CASES = [
    pytest.param(notebook, name, id=f"{notebook.stem}-{name}")
    for notebook in NOTEBOOKS
    for name in parameters_of(notebook)
]
CORNERS = {
    "one image": {"images": 1},
    "batches larger than the set": {"images": 5, "batch_size": 2**31 - 1},
    "batches of one": {"images": 3, "batch_size": 1},
    "a last batch of one": {"images": 9, "batch_size": 8},
    "seed 2**31": {"images": 5, "seed": 2**31},
    "the highest seed": {"images": 5, "seed": 2**32 - 1},
    "whole numbers for decimals": {"images": 5, "dropout": 0, "learning_rate": 1, "rotation": 10},
    "nothing augmented": {"images": 5, **dict.fromkeys(("rotation", "shift", "scale", "shear"), 0.0)},
    "a schedule without a rise": {"images": 5, "warmup": 0.0},
    "a schedule that only rises": {"images": 5, "warmup": 1.0, "settle": 1.0},
    "a rate that is almost nothing": {"images": 5, "learning_rate": 1e-30},
}


def code_of(notebook: Path) -> dict[str, str]:
    """The code cells of a notebook, by their ids."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}


def run_cells(notebook: Path, last: str, **given: Any) -> dict[str, Any]:
    """Run a notebook as it stands up to the cell called `last`, with parameters as papermill would give them."""
    names: dict[str, Any] = {"In": [], "root": ROOT}
    for cell, code in code_of(notebook).items():
        if cell != "setup":
            exec(compile(code, f"{notebook.stem}, {cell}", "exec"), names)
            names["In"].append(code)
        if cell == "parameters":
            names |= given
        if cell == last:
            break
    plt.close("all")
    return names


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sixty random images in place of any data, no GPU, and nothing recorded to compare with."""
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.randint(256, (60, 28, 28), generator=draw).byte(), torch.arange(60) % 10
    monkeypatch.setattr(data, "read_first", lambda source: ("rendered digits, not MNIST", (images, labels) * 2))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(runs, "RECORDED", tmp_path / "recorded")


def assert_refused(name: str, caught: pytest.ExceptionInfo) -> None:
    """The parameter is named, in one line."""
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


# In a notebook


@pytest.mark.parametrize(("notebook", "name"), CASES)
def test_a_notebook_refuses_every_bad_value_of_every_parameter_before_it_trains(notebook, name):
    for value in BAD[name]:
        with pytest.raises(InputError) as caught:
            run_cells(notebook, "data", **{name: value})
            pytest.fail(f"{name}={value!r} was let in")
        assert_refused(name, caught)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_parameter_without_bad_values_here(notebook):
    assert parameters_of(notebook).keys() <= BAD.keys()


@pytest.mark.parametrize("corner", CORNERS.values(), ids=CORNERS.keys())
def test_a_corner_that_makes_sense_runs_to_its_end(corner, tmp_path):
    names = run_cells(LAST, "block", epochs=1, out=str(tmp_path), **corner)
    assert names["run"] == runs.read_run(tmp_path / "metrics" / LAST.stem / f"seed-{names['seed']}.json")
    assert math.isfinite(names["history"][0]["train_loss"])


@pytest.mark.parametrize("injected", ["learning_speed = 3", "epochs = 1\nRotation = 3", "root = 3", "images_ = nan()"])
def test_a_name_that_is_no_parameter_is_refused(injected):
    executed = ["root = next(iter('ab'))", code_of(LAST)["parameters"], f"# Parameters\n{injected}\n"]
    with pytest.raises(InputError, match=r"there is no parameter '[lRri].*', only seed, epochs"):
        parameters.check({"In": executed})


def test_names_that_are_parameters_pass_whatever_else_was_run_before():
    executed = ["%slip of somebody's", code_of(LAST)["parameters"], "# Parameters\nepochs = 1\nout = ''\n", "x = 1"]
    parameters.check({"In": executed, "epochs": 1})
    parameters.check({"In": executed * 2})
    parameters.check({})


@pytest.mark.chain
def test_plain_papermill_stops_at_an_unknown_name_before_anything_is_trained(tmp_path):
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS[0]), str(tmp_path / "out.ipynb"), "-k", "python3"]
    told = subprocess.run([*command, "-p", "learning_speed", "3"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode != 0
    assert "InputError: there is no parameter 'learning_speed', only seed, epochs" in told.stderr
    assert "epoch  1" not in (tmp_path / "out.ipynb").read_text()
