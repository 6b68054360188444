"""The appendices build the networks that were recorded: the playground those of all steps and choices."""

import ast
import json
from typing import Any

import pytest
import torch
from torch import nn

from common import InputError
from common.config import ROOT, literals
from common.receptive_field import receptive_field_table
from common.runs import OUTPUTS, Runs, recorded

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

SYSTEMS = tomllib.loads((ROOT / "notebooks" / "published_systems.toml").read_text(encoding="utf-8"))
SYSTEMS = {name: table for name, table in SYSTEMS.items() if "recipe" in table}
CHOICES = sorted({path.parent for path in (OUTPUTS / "choices").rglob("seed-*.json")})
SMALLER = {"widths": "8 8 10 12 13 15", "padded": "3", "dropout": 0.0}


def sources(notebook: str) -> dict[str, str]:
    """The code of a notebook by the id of the cell."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}


def names_of(notebook: str, *cells: str, **settings: Any) -> dict[str, Any]:
    """What some cells of a notebook define, run with other settings; nothing is loaded, shown or trained."""
    source = sources(notebook)
    names = literals(source["parameters"]) | {"device": "cpu"} | settings | {"In": [source["parameters"]]}
    exec(source["imports"], names)
    for code in (source[cell] for cell in cells):
        kept = [node for node in ast.parse(code).body if not isinstance(node, ast.Expr)]
        if cells[-1] in ("data", "fit", "idea"):
            kept = [node for node in kept if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        exec(compile(ast.Module(kept, []), notebook, "exec"), names)
    return names


def playground(**settings: Any) -> nn.Module:
    """The network of the playground, with the first weights of seed 0."""
    names = names_of("appendix_playground", "block", "net", **settings)
    torch.manual_seed(0)
    return names["Net"]().train()


@pytest.mark.parametrize(
    ("notebook", "settings"),
    [
        ("01_skeleton", {"norm": False, "head": "conv_gap", "dropout": 0.0}),
        ("02_batchnorm", {"head": "conv_gap", "dropout": 0.0}),
        ("03_dropout", {"head": "conv_gap"}),
        ("06_lr_scheduler", {}),
        ("appendix_smaller", SMALLER),
    ],
)
def test_the_playground_has_the_networks_of_the_steps(notebook: str, settings: dict) -> None:
    names, outputs, images = names_of(notebook, "net"), [], torch.rand(4, 1, 28, 28)
    torch.manual_seed(0)
    written = names["Net"](*([names["dropout"]] if settings.get("dropout") != 0 else [])).train()
    for net in (written, playground(**settings)):
        torch.manual_seed(1)  # the same values drop out
        outputs.append(net(images))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("folder", CHOICES, ids=lambda path: path.relative_to(OUTPUTS / "choices").as_posix())
def test_the_playground_has_the_network_of_every_choice(folder) -> None:
    run = Runs.read(folder)[0]
    net = playground(**run.hyperparameters)
    assert sum(weight.numel() for weight in net.parameters()) == run.parameters
    kinds, activation = {type(layer) for layer in net.modules()}, run.hyperparameters["activation"]
    assert (nn.SiLU in kinds, nn.LeakyReLU in kinds) == (activation == "silu", activation == "leaky_relu")


def test_a_residual_block_adds_the_middle_of_its_input_and_nothing_to_new_channels_before_its_one_relu() -> None:
    make_block = names_of("appendix_playground", "block", residual="4", separable="4")["make_block"]
    block, maps = make_block(4, 6, 8, 0.0).eval(), torch.rand(2, 6, 9, 9)
    plain = nn.Sequential(*block[0])(maps)
    plain[:, :6] += maps[:, :, 1:-1, 1:-1]
    assert torch.equal(block(maps), plain.relu()) and (plain < 0).any()
    assert sum(isinstance(layer, nn.ReLU) for layer in block.modules()) == 1


def test_hes_weights_are_as_large_as_they_must_be() -> None:
    weights = [layer.weight for layer in playground(init="he", norm=False).modules() if isinstance(layer, nn.Conv2d)]
    for weight in weights[2:]:
        assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.1)


@pytest.mark.parametrize("schedule", ["settle", "constant", "steps", "cosine", "one_cycle", "linear"])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.7])
def test_a_schedule_stays_between_nothing_and_its_highest_rate(schedule: str, warmup: float) -> None:
    height = names_of("appendix_playground", "fit", schedule=schedule, warmup=warmup)["height"]
    heights = [height(step / 1000) for step in range(1001)]
    assert all(0 <= one <= 1 for one in heights) and max(heights) > (0.2 if schedule == "cosine" else 0.99)
    assert schedule in ("constant", "steps") or heights[-1] == pytest.approx(0)
    if schedule == "settle":
        step = names_of("06_lr_scheduler", "idea", warmup=warmup)["height"]
        assert heights[::100] == [step(n / 10) for n in range(11)]


def test_half_of_the_images_are_mirrored() -> None:
    augment = names_of("appendix_playground", "data")["Mirrored"]()
    images = torch.rand(200, 1, 28, 28)
    changed = augment.apply(images, augment.draw(200, torch.Generator().manual_seed(0)))
    mirrored, kept = ((changed - old).abs().amax((1, 2, 3)) < 1e-5 for old in (images.flip(3), images))
    assert 70 < mirrored.sum() < 130 and mirrored.sum() + kept.sum() == 200


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_published_system_has_its_parameters_and_its_runs_their_recipe(system: str) -> None:
    cells = "layer", "a", "b", "c", "d", "nets"
    names, runs = names_of("appendix_published", *cells, system=system), recorded(system)
    rows = receptive_field_table(names["make"]())
    assert sum(row.params for row in rows) == SYSTEMS[system]["parameters"] == runs.parameters
    assert [run.seed for run in runs] == [0, 1, 2]
    recipe = names["recipe"]
    for run in runs:
        assert (run.hyperparameters, run.epochs, run.batch_size) == (recipe, recipe["epochs"], recipe["batch_size"])
        assert (run.dataset, run.split, run.images["train"]) == ("MNIST", "test", 60_000)


def test_a_system_that_nobody_published_is_refused() -> None:
    with pytest.raises(InputError, match=r"^system 'E9' is unknown: choose one of A-pad0, .*D5-0.2$"):
        names_of("appendix_published", system="E9")


def test_the_smaller_network_is_step_6_but_for_the_network() -> None:
    step, small = sources("06_lr_scheduler"), sources("appendix_smaller")
    before, after = literals(step["parameters"]), literals(small["parameters"])
    assert after == {name: value for name, value in before.items() if name != "dropout"}
    same = "setup", "data", "shape", "curves", "mistakes", "conclude"
    assert all(small[cell].replace("Net()", "Net(dropout)") == step[cell] for cell in same)
