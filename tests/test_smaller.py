"""The smaller network beside the series: its notebook, its runs, and what is said of them."""

import json
import re

import pytest
from helpers import make_run, network_of, parameters_of
from torch import nn

from common import choices, notebooks, smaller
from common.intervals import interval
from common.receptive_field import receptive_field_table
from common.runs import RECORDED, ROOT, Runs, load_runs, read_run

NOTEBOOK = ROOT / smaller.NOTEBOOK
LAST = ROOT / "notebooks" / "06_lr_scheduler.ipynb"


def cells(path) -> dict[str, str]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in found}


SOURCE, OF_LAST = cells(NOTEBOOK), cells(LAST)


@pytest.fixture
def net() -> nn.Module:
    """The network that stands in the notebook."""
    return network_of(NOTEBOOK.stem)


# The notebook


def test_it_has_fewer_than_6000_parameters_and_the_fields_of_its_comments(net):
    assert sum(weight.numel() for weight in net.parameters()) == 5_899
    told = [int(number) for number in re.findall(r"field (\d+)", SOURCE["net"])]
    rows = receptive_field_table(net)
    pooled = [row.operation for row in rows].index("MaxPool2d") - 1  # a block that pools is two rows, and one comment
    assert told == [row.r_out for place, row in enumerate(rows) if place != pooled][: len(told)] and len(told) == 7


def test_it_is_the_last_stage_but_for_network_optimizer_and_dropout():
    values = [parameters_of(path) for path in (LAST, NOTEBOOK)]
    assert {name: value for name, value in values[0].items() if name != "dropout"} == values[1]
    same = ("setup", "check", "data", "curves", "wrong")
    assert {name: SOURCE[name] for name in same} == {name: OF_LAST[name] for name in same}
    changed = set(SOURCE["fit"].splitlines()) ^ set(OF_LAST["fit"].replace("Net(dropout)", "Net()").splitlines())
    assert all(re.search(r"optimizer|kernels|net\.parameters|^\)$", line) for line in changed)


def test_its_words_have_no_accuracy_but_the_target():
    words = " ".join(SOURCE[cell] for cell in ("intro", "data-text", "net-text", "fit-text"))
    assert set(re.findall(r"(\d+\.\d+) ?%", words)) <= {"99.4"}
    last = load_runs(RECORDED, "06_lr_scheduler")
    assert f"with {last.parameters:,} parameters" in words and "has 5,899 parameters" in words


# Its runs


def test_what_is_said_of_it_comes_from_its_runs(monkeypatch):
    runs = Runs("smaller_network", [make_run(*[99.5] * 5, seed=seed, parameters=5_899) for seed in (0, 1)])
    last = Runs("06_lr_scheduler", [make_run(*[99.4 + seed / 100] * 5, seed=seed) for seed in (0, 1)])
    monkeypatch.setattr(smaller, "read_runs", lambda folder: runs)
    text = smaller.told(last, "../")[0]
    assert text.startswith("[A smaller network](../notebooks/appendix/smaller_network.ipynb) ([executed](../outputs/")
    assert "has 5,899 parameters" in text and "average 99.500 ± 0.000 % over 2 seeds" in text
    assert "the lowest epoch 99.50 %; 99.4 % is held in 5 of 5 by 2 of 2" in text and "+0.095 points" in text
    monkeypatch.setattr(smaller, "read_runs", lambda folder: Runs("smaller_network", []))
    assert smaller.told(last) == ["Not run yet: `./run_all.sh --smaller`."]


def test_a_folder_without_runs_has_none_and_is_left_alone(tmp_path):
    assert smaller.read_runs(tmp_path) == [] and "not run yet" in smaller.summarise(tmp_path)
    assert list(tmp_path.iterdir()) == []


# What is committed


def test_the_recorded_runs_are_whole_on_mnist_and_of_this_notebook(net):
    runs = load_runs(smaller.FOLDER, smaller.STAGE)
    assert [run["seed"] for run in runs] == list(range(10))
    for run in runs:
        assert (run["dataset"], run["split"], run["epochs"]) == ("MNIST", "test", 15)
        assert run["images"] == {"train": 60_000, "test": 10_000}
        assert run["parameters"] == sum(weight.numel() for weight in net.parameters())
        assert all(row["test_accuracy"] == row["test_correct"] / 100 for row in run["history"])
        asked = parameters_of(NOTEBOOK)
        asked |= dict.fromkeys(("shift_x", "shift_y"), asked["shift"])
        asked |= {"optimizer": "Muon", "kernels": 0.3 * asked["learning_rate"]}
        assert run["hyperparameters"].items() <= asked.items()


def test_the_block_and_the_choices_say_what_the_committed_metrics_say():
    run = smaller.read_runs(smaller.FOLDER)[0]
    executed = cells(smaller.FOLDER / NOTEBOOK.name)
    text = notebooks.block_text(SOURCE["block"], smaller.FOLDER, run)
    assert SOURCE["recorded"] == executed["recorded"] == text
    assert SOURCE["choices"] == executed["choices"] == notebooks.choices_text(smaller.STAGE)
    assert "not borne out" not in text.lower()


def test_what_four_seeds_show_of_optimizer_and_size_is_what_the_readme_says():
    tried = choices.tried("smaller_network", "How small, third block padded, orthogonal steps")
    taken, plain, tiny = (tried[name] for name in ("8 8 10 12 13 15", "8 8 10 12 13 15, plain SGD", "8 8 8 10 10 12"))
    assert [len(runs) for runs in (taken, plain, tiny)] == [4, 4, 4] and tiny.parameters == 4166
    assert interval(plain, taken)[0] <= 0
    words = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "four seeds don't show that plain SGD would do worse." in words
    assert "4,166 came to 99.392 ± 0.022 %" in words and smaller.fewer() in words


def test_no_run_on_the_test_set_has_so_few_parameters():
    places = [*RECORDED.glob("metrics/*/*.json"), *RECORDED.glob("smaller/metrics/*/*.json")]
    places += (RECORDED / "earlier").rglob("*.json")
    assert len(places) > 70
    assert min(read_run(place)["parameters"] for place in places) > smaller.LIMIT


def test_nothing_is_said_of_sizes_that_were_not_tried(monkeypatch, tmp_path):
    monkeypatch.setattr(choices, "FOLDER", tmp_path)
    assert smaller.fewer() == ""


def test_the_executed_copy_ran_the_code_of_the_notebook():
    executed = cells(smaller.FOLDER / NOTEBOOK.name)
    assert [name for name in SOURCE if name != "recorded" and executed[name] != SOURCE[name]] == []
