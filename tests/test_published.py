"""The published systems: their networks and what was written of them, their runs, and the page that judges them."""

import itertools
import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from helpers import make_run, parameters_of
from torch import nn
from torch.nn import functional as F

from common import canvas, landscape, published, systems, verdicts
from common.blocks import GlobalAveragePool
from common.published import SYSTEMS
from common.receptive_field import receptive_field_table
from common.runs import ROOT, Runs, read_run

NOTEBOOK = ROOT / "notebooks" / "appendix" / "published_systems.ipynb"
PAGE = systems.FOLDER / "README.md"
RECORDED = sorted(systems.FOLDER.glob("*/seed-*.json"))


def source(cell: str) -> str:
    """The text of a cell of the appendix."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "".join(next(found["source"] for found in cells if found["id"] == cell))


def networks() -> dict:
    """The networks that stand in the notebook, by system."""
    from functools import partial

    names = {"nn": nn, "partial": partial, "GlobalAveragePool": GlobalAveragePool}
    for cell in ("layer", "a", "b", "c", "d"):
        exec(source(cell), names)
    exec(source("nets").partition("rows = ")[0], names)
    return names["NETS"]


NETS = networks()
PAGE_TEXT = " ".join(PAGE.read_text(encoding="utf-8").split())


def fields(name: str) -> tuple[int, ...]:
    """The receptive fields of a network, for the layers that its published table has."""
    rows = receptive_field_table(NETS[name]())
    return tuple(row.r_out for row in rows)[: len(published.PUBLISHED_FIELDS[name[0]])]


def listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


# The networks, and what was written of them


def test_every_system_has_its_network_and_its_count():
    counts = {"A-pad0": 8_470, "A-pad1": 8_470, "B1": 9_746, "B2": 9_914, "B3": 7_788, "C1": 3_816, "C2": 3_816}
    counts |= {"C3": 14_112, "D1": 13_160, "D2": 13_352}
    counts |= dict.fromkeys(("D3-128", "D3-64", "D4-64", "D4-32", "D5-0.02", "D5-0.2"), 9_752)
    assert {name: sum(weight.numel() for weight in make().parameters()) for name, make in NETS.items()} == counts
    assert {name: system.parameters for name, system in SYSTEMS.items()} == counts


def test_a_stated_count_is_met_by_all_but_a_and_d2():
    off = [name for name, system in SYSTEMS.items() if system.stated not in ("–", f"{system.parameters:,}")]
    assert off == ["A-pad0", "A-pad1", "D2"]


def test_a_says_6k_and_has_8120_weights_in_its_convolutions():
    convolutions = [layer for layer in NETS["A-pad0"]().modules() if isinstance(layer, nn.Conv2d)]
    assert sum(layer.weight.numel() for layer in convolutions) == 8_120
    assert "A says 6k, where the weights of its convolutions alone are 8,120" in PAGE_TEXT


def test_d2_is_d1_and_two_weights_a_channel_so_both_cannot_have_13160():
    norms = [layer for layer in NETS["D2"]().modules() if isinstance(layer, nn.BatchNorm2d)]
    added = sum(2 * layer.num_features for layer in norms)
    assert added == SYSTEMS["D2"].parameters - SYSTEMS["D1"].parameters == 192
    assert "ours have 13,160 and 13,352" in PAGE_TEXT


@pytest.mark.parametrize("name", ["A-pad0", "A-pad1"])
def test_the_fields_of_a_are_not_those_of_its_table(name):
    assert published.PUBLISHED_FIELDS["A"] != fields(name) == (3, 5, 6, 6, 10, 14, 18, 22)
    assert f"grows to {listed(published.PUBLISHED_FIELDS['A'])}. **In fact:** {listed(fields(name))}." in PAGE_TEXT


@pytest.mark.parametrize("name", ["C1", "C2"])
def test_the_fields_of_c_are_those_of_its_table(name):
    assert fields(name) == published.PUBLISHED_FIELDS["C"]
    assert f"C's table, {listed(fields(name))}, is right" in PAGE_TEXT


def test_c1_and_c2_are_one_function_with_the_same_gradients():
    pair = NETS["C1"]().double(), NETS["C2"]().double()
    for one, other in zip(*(net.parameters() for net in pair), strict=True):
        other.data.copy_(one)
    images, labels = torch.rand(8, 1, 28, 28, dtype=torch.float64), torch.arange(8)
    found = []
    for net in pair:
        scores = net(images)
        F.cross_entropy(scores, labels).backward()
        found.append([scores, *(weight.grad for weight in net.parameters())])
    torch.testing.assert_close(*found)


def test_c1_and_c2_start_alike_from_one_seed():
    pair = []
    for name in ("C1", "C2"):
        torch.manual_seed(0)
        pair.append(list(NETS[name]().parameters()))
    assert all(torch.equal(*weights) for weights in zip(*pair, strict=True))


def test_the_published_blocks_keep_their_order():
    kinds = {name: [type(layer).__name__ for layer in NETS[name]()[0]] for name in ("B1", "B2", "C3")}
    assert kinds["B1"] == ["Conv2d", "ReLU"]
    assert kinds["B2"] == ["Conv2d", "ReLU", "BatchNorm2d", "Dropout"]
    assert kinds["C3"] == ["Conv2d", "BatchNorm2d", "Dropout", "ReLU"]


# How they are trained


def test_a_trains_like_the_last_stage():
    asked = parameters_of(ROOT / "notebooks" / "06_lr_scheduler.ipynb")
    recipe = SYSTEMS["A-pad0"].recipe
    assert {name: asked[name] for name in ("batch_size", "epochs", "learning_rate")}.items() <= asdict(recipe).items()
    assert recipe.augment == {name: asked[name.partition("_")[0]] for name in recipe.augment}
    assert f"[0, {asked['warmup']}, {asked['settle']}, 1], [0.05, 1, 0.04, 0]" in source("fit")
    assert f'"norm relu drop", {asked["dropout"]}, ' in source("a")


def test_a_rate_that_is_not_given_is_that_of_the_first_stages_in_proportion_to_the_batch():
    asked = parameters_of(ROOT / "notebooks" / "02_batchnorm.ipynb")
    for name in ("B1", "B2", "C1", "C2", "C3"):
        recipe = SYSTEMS[name].recipe
        assert recipe.learning_rate / recipe.batch_size == asked["learning_rate"] / asked["batch_size"]


def test_the_notebook_begins_like_the_series():
    cells = json.loads((ROOT / "notebooks" / "01_skeleton.ipynb").read_text(encoding="utf-8"))["cells"]
    assert source("setup") == "".join(next(cell["source"] for cell in cells if cell["id"] == "setup"))


# What came of them


def seeds(*accuracies: float, **other) -> Runs:
    """Runs at these accuracies, a seed each."""
    return Runs("B1", [make_run(*[accuracy] * 15, seed=seed, **other) for seed, accuracy in enumerate(accuracies)])


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (seeds(), "not run yet"),
        (seeds(99.0, 99.1), "takes 3 seeds, 2 so far"),
        (seeds(99.0, 99.05, 99.1), "yes (98.80 to 99.30)"),
        (seeds(98.0, 98.05, 98.1), "no, published higher (97.80 to 98.30)"),
        (seeds(99.5, 99.55, 99.6), "no, published lower (99.30 to 99.80)"),
        (seeds(99.0, dataset="rendered digits"), "not applicable (rendered digits)"),
    ],
)
def test_a_figure_is_reproduced_if_one_more_seed_could_have_it(runs, words):
    assert verdicts.verdict(SYSTEMS["B1"], runs) == words


def test_the_reach_of_three_seeds_is_students_for_one_more():
    low, high = verdicts.reach([99.0, 99.1, 99.2])
    assert (low, high) == pytest.approx((99.1 - 4.303 * 0.1 * (4 / 3) ** 0.5, 99.1 + 4.303 * 0.1 * (4 / 3) ** 0.5))


def test_where_only_a_best_epoch_was_published_it_is_held_against_our_best():
    runs = [make_run(*[98.0] * 14, 99.2 + seed / 100, *[98.0] * 5, seed=seed) for seed in range(3)]
    assert verdicts.verdict(SYSTEMS["D1"], Runs("D1", runs)) == "yes (99.16 to 99.26)"


def test_a_is_held_against_what_it_says_of_the_target():
    assert verdicts.verdict(SYSTEMS["A-pad0"], seeds(99.5, 99.3, 99.4)) == "held by 2 of 3"


def test_no_verdict_is_given_on_what_was_published_without_a_figure():
    assert verdicts.verdict(SYSTEMS["C1"], seeds(99.0, 99.1, 99.2)) == "no figure published"


def test_a_row_has_both_sides_and_own_nets_are_marked():
    row = verdicts.verdict_row("B1", SYSTEMS["B1"], seeds(99.0, 99.05, 99.1))
    assert row[1:7] == ["9,746", "9,746", "99.25", "99.050 ± 0.050", "99.048", "99.050 ± 0.050"]
    assert row[0].startswith("[B1](B1.ipynb)")
    assert "†" in verdicts.verdict_row("D1", SYSTEMS["D1"], seeds())[0]
    assert all(SYSTEMS[name].own == name.startswith("D") for name in SYSTEMS)


def nothing() -> dict[str, Runs]:
    return {name: Runs(name, []) for name in SYSTEMS}


def test_both_kinds_of_train_accuracy_stand_beside_the_published_one():
    rows = verdicts.train(nothing() | {"B2": seeds(99.3, running=99.0, clean=99.9)})
    assert "| B2 | 99.11 | 99.40 | 99.00 | 99.90 | 99.30 |" in rows
    assert "| B3 | 98.71 | 99.45 | not run yet | not run yet | not run yet |" in rows


def test_the_heads_are_compared_by_seed():
    assert verdicts.heads(seeds(), seeds(99.0)) == ["C1 and C2: not run yet."]
    [line] = verdicts.heads(seeds(99.0, 99.1, 99.2), seeds(99.1, 99.0, 99.2))
    assert "+0.000 points" in line and "not distinguishable" in line


def test_epochs_at_the_target_are_counted_in_the_first_fifteen():
    assert verdicts.at_target(make_run(*[99.4] * 3, *[99.0] * 12, *[99.5] * 5)) == 3
    rows = verdicts.rates(nothing() | {"D5-0.2": seeds(99.4, 99.2)})
    assert rows[2:] == [
        "| published | 99.49 | – | 8 |",
        "| D5-0.02 | not run yet | not run yet | not run yet |",
        "| D5-0.2 | 99.300 ± 0.141 | 99.300 ± 0.141 | 15, 0 |",
    ]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (99.2, 99.4, "at most 0 from 0.02 and 15 from 0.2: that speaks for 0.2"),
        (99.4, 99.2, "at most 15 from 0.02 and 0 from 0.2: that speaks for 0.02"),
        (99.4, 99.4, "at most 15 from 0.02 and 15 from 0.2: that tells neither from the other"),
        (99.2, 99.2, "at most 0 from 0.02 and 0 from 0.2: that tells neither from the other"),
    ],
)
def test_a_rate_is_spoken_for_where_it_alone_has_as_many_epochs_at_the_target(low, high, words):
    assert words in verdicts.rates(nothing() | {"D5-0.02": seeds(low, 99.1), "D5-0.2": seeds(high, 99.1)})[-1]


def test_the_figure_has_everything_on_it(monkeypatch):
    monkeypatch.setattr(systems, "load_runs", lambda folder, stage: seeds(99.4))
    monkeypatch.setattr(systems.smaller, "read_runs", lambda folder: seeds(99.5))
    kinds = systems.points(nothing() | {"B1": seeds(99.0, 99.1), "D1": seeds(99.2)})
    assert [len(points) for points in kinds.values()] == [4, 6, 1, 1, 7]
    assert kinds["a published figure, one run"][0] == pytest.approx(landscape.Point("B1", 9_746, 99.048))
    axes = landscape.landscape(kinds).axes[0]
    assert {text.get_text() for text in axes.texts} >= {"B1", "B2", "B3", "C3", "D1", "1", "6", "smaller"}
    drawn = sum(len(line.get_xdata()) == 1 for line in axes.lines)
    assert drawn == 19


def test_points_of_one_count_lie_side_by_side():
    assert landscape.spread([5, 7, 5]) == [5 - landscape.WIDTH / 2, 7, 5 + landscape.WIDTH / 2]


def test_names_in_a_column_keep_their_order_and_the_room_they_take():
    heights = [100.0, 99.0, 98.0, 50.0]
    places = landscape.stacked(heights)
    assert places == sorted(places, reverse=True)
    assert all(high - low >= landscape.ROOM for high, low in itertools.pairwise(places))
    assert sum(places) == pytest.approx(sum(heights)) and landscape.stacked([7.0]) == [7.0]


def test_a_folder_that_is_not_the_recorded_one_gets_a_table_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(canvas, "save", lambda *_: pytest.fail("only the recorded runs have a figure"))
    path = tmp_path / "B1" / "seed-0.json"
    path.parent.mkdir()
    path.write_text(json.dumps(make_run(stage="B1", dataset="rendered digits", images={"train": 50, "test": 10})))
    assert "rendered digits" in systems.summarise(tmp_path)
    assert "not applicable (rendered digits)" in (tmp_path / "README.md").read_text(encoding="utf-8")


# What is committed


def test_the_committed_page_is_that_of_the_committed_runs(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    systems.fill(copy, systems.parts(systems.read_results(systems.FOLDER)))
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    assert (systems.FOLDER / "parameters.png").exists()
    assert "outputs/published/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_run_is_whole_on_mnist_and_by_its_recipe(path):
    run, system = read_run(path), SYSTEMS[path.parent.name]
    assert (run["stage"], run["parameters"], run["seed"]) == (path.parent.name, system.parameters, int(path.stem[5:]))
    assert (run["dataset"], run["split"], run["images"]["train"]) == ("MNIST", "test", 60_000)
    assert run["epochs"] == len(run["history"]) == system.recipe.epochs
    assert run["batch_size"] == system.recipe.batch_size
    assert run["hyperparameters"] == json.loads(json.dumps(asdict(system.recipe)))
    assert all(row["test_accuracy"] == row["test_correct"] / 100 for row in run["history"])


@pytest.mark.parametrize("path", sorted(systems.FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_an_executed_copy_ran_the_networks_and_the_training_of_the_notebook(path):
    text = path.read_text(encoding="utf-8")
    ran = {cell["id"]: "".join(cell["source"]) for cell in json.loads(text)["cells"]}
    for cell in ("layer", "a", "b", "c", "d", "nets", "fit"):
        assert ran[cell] == source(cell)
    assert len(text) < 500_000


# The whole, small


@pytest.mark.chain
def test_plain_papermill_runs_one_system(tmp_path):
    command = [sys.executable, "-m", "papermill", str(NOTEBOOK), str(tmp_path / "out.ipynb"), "-k", "python3"]
    parameters = {"system": "B3", "epochs": "1", "images": "50", "data": "rendered", "out": str(tmp_path)}
    command += [word for name, value in parameters.items() for word in ("-p", name, value)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    run = json.loads((tmp_path / "metrics" / "B3" / "seed-0.json").read_text(encoding="utf-8"))
    assert (run["parameters"], run["epochs"]) == (7_788, 1)
