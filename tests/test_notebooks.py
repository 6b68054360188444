"""The six notebooks as a reader finds them: their order, what they share, and the one change from each to the next."""

import difflib
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from helpers import network_of, parameters_of
from torch import nn

from common import REPOSITORY, choices, notebooks, runs, summary
from common.blocks import GlobalAveragePool
from common.receptive_field import receptive_field_table
from common.runs import load_runs, write_metrics
from series.execute import cleaned

ROOT = Path(__file__).resolve().parent.parent
STAGES = ["01_skeleton", "02_batchnorm", "03_dropout", "04_gap_fc", "05_augmentation", "06_lr_scheduler"]
PAIRS = list(pairwise(STAGES))
TRAINING = ("data", "net", "fit")  # the cells that make a run what it is, beside the parameters


def cells(path: Path) -> dict[str, dict]:
    return {cell["id"]: cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]}


def source(stage: str, cell: str) -> str:
    return "".join(cells(ROOT / "notebooks" / f"{stage}.ipynb")[cell]["source"])


def test_the_series_is_these_six():
    assert notebooks.SERIES == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebook_has_the_cells_of_the_series_in_their_order(stage):
    order = ["intro", "setup", "parameters", "check", "imports", "data-text", "data", "net-text", "net", "shape"]
    order += ["choices", *["scales-text", "scales"] * (stage < "03")]
    order += ["fit-text", "fit", "curves", "wrong-text", "wrong", "block-text", "save", "block", "recorded"]
    only_some = ("same", "inference-text", "inference")
    found = [name for name in cells(ROOT / "notebooks" / f"{stage}.ipynb") if name not in only_some]
    assert found == order


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebook_is_short_and_committed_without_outputs(stage):
    everything = cells(ROOT / "notebooks" / f"{stage}.ipynb").values()
    code = [cell for cell in everything if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    texts = ["".join(cell["source"]) for cell in code if cell["id"] != "block"]  # which is prose, in the main
    assert len([line for text in texts for line in text.splitlines() if line.strip()]) <= 120


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_says_its_own_name(stage):
    assert f'stage = "{stage}"' in source(stage, "imports")


@pytest.mark.parametrize("stage", STAGES[1:])
def test_all_begin_with_the_same_cell(stage):
    assert source(stage, "setup") == source(STAGES[0], "setup")


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebook_opens_with_the_strip_of_stages_and_links_in_all_directions(stage):
    strip, links, title = source(stage, "intro").split("\n\n")[:3]
    assert strip.count("**") == 2 and [name for name in STAGES if f"]({name}.ipynb)" not in strip] == [stage]
    assert links == notebooks.links(stage)
    assert title.startswith(f"# {int(stage[:2])} · ")


def test_the_address_of_the_repository_is_that_of_the_package():
    for path in [ROOT / "README.md", *sorted((ROOT / "notebooks").rglob("*.ipynb"))]:
        pattern = r"https://(?:colab\.research\.google\.com/)?github(?:\.com)?/[\w.-]+/[\w.-]+"
        for address in re.findall(pattern, path.read_text(encoding="utf-8")):
            assert address.endswith(REPOSITORY.removeprefix("https://github.com"))


@pytest.mark.parametrize("name", ["06_lr_scheduler.ipynb", "appendix/smaller_network.ipynb"])
def test_another_address_takes_the_place_of_the_one_that_stood_there(tmp_path, monkeypatch, name):
    path = tmp_path / Path(name).name
    path.write_bytes((ROOT / "notebooks" / name).read_bytes())
    monkeypatch.setattr(notebooks, "REPOSITORY", "https://github.com/somebody/six")
    monkeypatch.setattr(notebooks.tables, "COLAB", "https://colab.research.google.com/github/somebody/six")
    notebooks.point_to_repository(path)
    text = path.read_text(encoding="utf-8")
    assert REPOSITORY not in text and REPOSITORY.removeprefix("https://github.com/") not in text
    assert '"https://github.com/somebody/six\\"' in text  # where Colab gets it from
    assert f"(https://colab.research.google.com/github/somebody/six/blob/main/notebooks/{name})" in text


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_stage_keeps_every_parameter_of_the_one_before(before, after):
    names = [list(parameters_of(ROOT / "notebooks" / f"{stage}.ipynb")) for stage in (before, after)]
    assert [name for name in names[1] if name in names[0]] == names[0]


@pytest.mark.parametrize(("before", "after"), PAIRS[:-1])
def test_a_stage_keeps_every_value_of_the_one_before(before, after):
    values = [parameters_of(ROOT / "notebooks" / f"{stage}.ipynb") for stage in (before, after)]
    assert values[0].items() <= values[1].items()


def test_the_last_stage_changes_no_value_but_the_rate_that_it_schedules():
    values = [parameters_of(ROOT / "notebooks" / f"{stage}.ipynb") for stage in STAGES[-2:]]
    assert {name for name, value in values[0].items() if values[1][name] != value} <= {"learning_rate"}


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_neighbours_differ_in_few_lines_of_what_shapes_a_run(before, after):
    texts = [[line for cell in TRAINING for line in source(stage, cell).splitlines()] for stage in (before, after)]
    texts = [[line for line in text if '"""' not in line and "plots" not in line] for text in texts]
    changed = [line for line in difflib.unified_diff(*texts, n=0, lineterm="") if re.match(r"[+-](?![+-])", line)]
    assert 0 < len(changed) <= 14


@pytest.mark.parametrize("stage", STAGES)
def test_a_network_has_fewer_than_8000_parameters(stage):
    assert sum(weight.numel() for weight in network_of(stage).parameters()) < 8_000


@pytest.mark.parametrize("stage", STAGES)
def test_the_comments_in_a_network_are_its_receptive_fields(stage):
    rows = receptive_field_table(network_of(stage))
    fields = [int(number) for number in re.findall(r"field (\d+)", source(stage, "net"))]
    # A pooled block is one line and two rows: its comment gives the field behind the pooling.
    told = [row.r_out for i, row in enumerate(rows) if not (i + 1 < len(rows) and rows[i + 1].operation == "MaxPool2d")]
    assert fields == told[: len(fields)] and len(fields) >= len(told) - 1
    sides = [int(number) for number in re.findall(r"→ (\d+), field", source(stage, "net"))]
    assert sides == [row.n_out for row in rows if row.n_out != row.n_in and row.r_out in fields][: len(sides)]


def test_batch_norm_dropout_and_fc_come_in_with_their_stages():
    kinds = [{type(module) for module in network_of(stage).modules()} for stage in STAGES]
    for kind, first in ((nn.BatchNorm2d, 1), (nn.Dropout, 2), (nn.Linear, 3)):
        assert [kind in found for found in kinds] == [stage >= first for stage in range(6)]


def test_a_1x1_before_the_average_is_a_linear_layer_behind_it():
    """Both heads of stages 3 and 4 are one function, and have the same gradients."""
    torch.manual_seed(0)
    maps = torch.randn(32, 14, 4, 4, dtype=torch.float64)
    linear, conv = nn.Linear(14, 10).double(), nn.Conv2d(14, 10, 1).double()
    conv.weight.data, conv.bias.data = linear.weight.data[:, :, None, None].clone(), linear.bias.data.clone()
    results = []
    for weights, head in (
        (conv.parameters(), lambda x: GlobalAveragePool()(conv(x))),
        (linear.parameters(), lambda x: linear(GlobalAveragePool()(x))),
    ):
        entry = maps.clone().requires_grad_()
        scores = head(entry)
        scores.square().sum().backward()
        results.append([scores, entry.grad, *(weight.grad.flatten() for weight in weights)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_a_seed_gives_both_heads_the_same_first_weights():
    networks = []
    for stage in ("03_dropout", "04_gap_fc"):
        torch.manual_seed(0)
        networks.append(network_of(stage).eval())
    images = torch.randn(8, 1, 28, 28)
    torch.testing.assert_close(*(net(images) for net in networks))


def recorded() -> list[Path]:
    return sorted((ROOT / "outputs").glob("[0-9][0-9]_*.ipynb"))


def test_an_executed_copy_of_every_stage_is_recorded():
    assert [path.stem for path in recorded()] == STAGES


@pytest.mark.parametrize("path", recorded(), ids=lambda path: path.stem)
def test_a_recorded_copy_reads_well_anywhere(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert len(text) < 500_000
    assert '"stderr"' not in text and "application/vnd.jupyter.widget" not in text
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
    assert "papermill" not in notebook["metadata"] and "widgets" not in notebook["metadata"]


@pytest.mark.parametrize("path", recorded(), ids=lambda path: path.stem)
def test_a_recorded_copy_ran_the_code_that_stands_in_the_notebook(path):
    ran, written = cells(path), cells(ROOT / "notebooks" / path.name)
    kept = [name for name in written if name not in ("recorded", "block", "check")]
    assert [name for name in kept if ran[name]["source"] != written[name]["source"]] == []


@pytest.mark.parametrize("stage", STAGES)
def test_the_blocks_say_what_the_committed_metrics_say(stage):
    run = load_runs(ROOT / "outputs", stage)[0]
    text = notebooks.block_text(source(stage, "block"), ROOT / "outputs", run)
    assert source(stage, "recorded") == text
    assert "".join(cells(ROOT / "outputs" / f"{stage}.ipynb")["recorded"]["source"]) == text


@pytest.mark.parametrize("stage", STAGES)
def test_a_block_can_be_made_where_nothing_else_was_ever_run(stage, tmp_path, monkeypatch):
    run = load_runs(ROOT / "outputs", stage)[0]
    write_metrics(tmp_path, run)
    for module in (runs, notebooks.report):
        monkeypatch.setattr(module, "comparable", lambda folder, stage, run: load_runs(folder, stage, run))
    monkeypatch.setattr(choices, "FOLDER", tmp_path / "none")
    text = notebooks.block_text(source(stage, "block"), tmp_path, run)
    assert "**Analysis.**" in text and "is left out" in text


@pytest.mark.parametrize("stage", STAGES)
def test_recorded_runs_are_whole_and_on_mnist(stage):
    for run in load_runs(ROOT / "outputs", stage):
        assert (run["dataset"], run["split"], run["epochs"]) == ("MNIST", "test", 15)
        assert run["images"] == {"train": 60_000, "test": 10_000}
        assert [row["epoch"] for row in run["history"]] == list(range(1, 16))
        assert all(row["test_accuracy"] == row["test_correct"] / 100 for row in run["history"])
        assert len(run["wrong"]) == 10_000 - run["history"][-1]["test_correct"]
        assert run["parameters"] == sum(weight.numel() for weight in network_of(stage).parameters())
        asked = parameters_of(ROOT / "notebooks" / f"{stage}.ipynb")
        asked["shift_x"] = asked["shift_y"] = asked.get("shift")
        assert run["hyperparameters"].items() <= asked.items()


@pytest.mark.parametrize("stage", STAGES)
def test_the_choices_say_what_the_committed_runs_say(stage):
    text = notebooks.choices_text(stage)
    assert source(stage, "choices") == text
    assert "".join(cells(ROOT / "outputs" / f"{stage}.ipynb")["choices"]["source"]) == text


def test_the_written_tables_are_those_of_the_committed_metrics(tmp_path):
    results = summary.read_results(ROOT / "outputs")
    assert (ROOT / "outputs" / "README.md").read_text(encoding="utf-8") == summary.overview(results, True)
    copy = tmp_path / "README.md"
    copy.write_text((ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    summary.fill_readme(copy, ROOT / "outputs", results)
    assert copy.read_text(encoding="utf-8") == (ROOT / "README.md").read_text(encoding="utf-8")


def test_no_accuracy_stands_in_prose_unless_it_is_written_from_metrics():
    """The figures that may be written by hand are the target's and those of the published table."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"<!-- \w+: written by run_all.sh -->.*?<!-- end of \w+ -->", "", text, flags=re.S)
    assert set(re.findall(r"\d+\.\d+ ?%", text)) <= {"99.4 %", "99.4%"}
    for stage in STAGES:
        words = " ".join(source(stage, cell) for cell in ("intro", "data-text", "net-text", "fit-text"))
        goal = re.search(r"Target: ([\d.]+) %", words)[1]
        assert set(re.findall(r"(\d+\.\d+) ?%", words)) <= {"99.4", goal}
        assert f"runs, {goal}, target" in source(stage, "block")


def run_setup(folder: Path, colab: bool) -> list[list[str]]:
    """Run the first cell in `folder`, where fetching and installing only leave a note; the notes."""
    code = f"""
import json, subprocess, sys, types
if {colab}:
    sys.modules["google.colab"] = types.ModuleType("google.colab")
notes = []

def note(command, check):
    notes.append(command)
    if command[0] == "git":
        import shutil
        shutil.copytree({str(ROOT / "common")!r}, "series/common")
        shutil.copytree({str(ROOT / "notebooks")!r}, "series/notebooks")

subprocess.run = note
{source(STAGES[0], "setup")}
import common
print(json.dumps([notes, common.__file__]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    notes, place = json.loads(done.stdout)
    assert Path(place).exists()
    return notes


@pytest.mark.parametrize("folder", [ROOT, ROOT / "notebooks"], ids=["the root", "notebooks"])
def test_a_notebook_finds_the_package_from_either_folder_and_fetches_nothing(folder):
    assert run_setup(folder, colab=False) == []


def test_in_colab_the_repository_is_fetched_once_and_torch_is_never_installed(tmp_path):
    first = run_setup(tmp_path, colab=True)
    assert first[0] == ["git", "clone", "-q", "--depth", "1", REPOSITORY, "series"]
    assert all(command[:2] == ["pip", "install"] and command[-1] == "torchsummary" for command in first[1:])
    again = run_setup(tmp_path, colab=True)  # as after a restart of the runtime
    assert all(command[0] != "git" for command in again)


@pytest.fixture(scope="module")
def by_papermill(tmp_path_factory) -> list[Path]:
    """The folders of two equal runs by plain papermill, started in the root and in notebooks/."""
    outs = []
    for folder in (ROOT, ROOT / "notebooks"):
        outs.append(tmp_path_factory.mktemp("out"))
        notebook = (ROOT / "notebooks" / "03_dropout.ipynb").relative_to(folder)
        command = [sys.executable, "-m", "papermill", str(notebook), str(outs[-1] / "out.ipynb"), "-k", "python3"]
        parameters = {"epochs": "1", "seed": "5", "images": "50", "data": "rendered", "out": str(outs[-1])}
        command += [word for name, value in parameters.items() for word in ("-p", name, value)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return outs


@pytest.mark.chain
@pytest.mark.parametrize("number", [0, 1], ids=["the root", "notebooks"])
def test_plain_papermill_runs_a_notebook_from_either_folder(by_papermill, number):
    run = json.loads((by_papermill[number] / "metrics" / "03_dropout" / "seed-5.json").read_text(encoding="utf-8"))
    assert (run["epochs"], run["dataset"]) == (1, "rendered digits, not MNIST")


@pytest.mark.chain
def test_two_runs_of_a_seed_give_the_same_notebook_but_for_times(by_papermill):
    copies = [cleaned(json.loads((out / "out.ipynb").read_text(encoding="utf-8")), ROOT) for out in by_papermill]
    first, second = (re.sub(r" [\d.]+ s\\n", " 0 s\\\\n", copy) for copy in copies)
    assert first == second
    assert copies[0].count('"image/png"') > 2
