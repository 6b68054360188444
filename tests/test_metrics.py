"""A metrics file may come from anybody: what is no run is refused in a line, and nothing in it is shown as markup."""

import copy
import json
import math
import random
from typing import Any

import pytest
from helpers import make_run

from common import InputError, tables
from common.metrics import complaint
from common.runs import Runs, load_runs, stages, write_metrics

MUTATIONS = 3000
JUNK = [None, True, -1, 0, 1, 2**70, 1e400, -1e400, 0.5, "", "x", "<script>alert(1)</script>", "a|b", "![](x)", [], {}]
JUNK += [[[]], {"a": {}}, "\x00", "\n# Heading", "é" * 1000, [None], {"train": "60000"}, "NaN"]
MARKUP = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![](https://example.org/seen.png)",
    "MNIST | 99.9 |\n| 06",
    "`code`",
    "MNIST\n# Heading",
    "&lt;b&gt;",
    "**bold**",
    "$x$",
]

pytestmark = pytest.mark.usefixtures("recorded")


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The ways to every value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(way for key, part in inner for way in places(part, (*path, key)))]


def mutated(run: dict, draw: random.Random) -> Any:
    """A run in which something was replaced or taken away."""
    way = draw.choice(places(run))
    if not way:
        return draw.choice(JUNK)
    changed = copy.deepcopy(run)
    inside = changed
    for key in way[:-1]:
        inside = inside[key]
    if draw.random() < 0.3:
        del inside[way[-1]]
    else:
        inside[way[-1]] = draw.choice(JUNK)
    return changed


def test_whatever_is_changed_in_a_file_it_is_refused_in_a_line_or_can_be_told_of(tmp_path):
    run = make_run(*(99.0,) * 6, stage="01_skeleton", scales={"values": [0.4, 0.1], "gradients": [0.001]})
    draw = random.Random(0)
    path = write_metrics(tmp_path, run)
    refused = 0
    for _ in range(MUTATIONS):
        path.write_text(json.dumps(mutated(run, draw)))
        try:
            [read] = load_runs(tmp_path, "01_skeleton")
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
        else:
            told_of(read)
    assert refused > MUTATIONS / 2


def told_of(run: dict) -> None:
    """Use all that tables and blocks do."""
    texts = [run[name] for name in ("stage", "dataset", "split", "device")]
    for text in (*texts, *run["versions"], *run["versions"].values()):
        assert not set(text) & set("<>[]!`|\n*&$")
    for row in run["history"]:
        assert f"{row['test_accuracy']:.2f} {row['train_accuracy']:.2f} {row['train_loss']:.4f} {row['test_loss']:.4f}"
    assert f"{run['history'][-1]['train_accuracy_clean']:.2f} {run['parameters']:,} {run['images']['test']:,}"
    runs = Runs(run["stage"], [run])
    if "taken_for" in run:
        assert list(tables.always_wrong(runs)) == sorted(set(run["wrong"])) and max([0, *run["wrong"]]) < 10_000
    if "scales" in run:
        assert all(math.isfinite(runs.scale(what, block)) for what in ("values", "gradients") for block in (0, -1))
    assert f"{run['seed']:d} {run['epochs']:d} {run['receptive_field']:d}"


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"epochs": 15, "history": make_run()["history"]}, "its epochs are not those of its history"),
        ({"wrong": [99_999, 1]}, "its wrong digits are more than it was tested on"),
        ({"taken_for": [7]}, "its wrong digits are not those that it took for others"),
        ({"taken_for": [7, 10]}, "its taken_for is not as it must be"),
        ({"scales": {"values": [0.1]}}, "its scales is not as it must be"),
    ],
)
def test_entries_that_do_not_fit_together_are_refused(entries, problem):
    assert complaint(make_run()) == ""
    assert complaint(make_run(**entries)) == problem


def test_runs_that_do_not_say_what_their_wrong_digits_were_taken_for_are_refused_where_that_is_told():
    run = make_run()
    del run["taken_for"]
    assert complaint(run) == "", "the first runs did not say it"
    with pytest.raises(InputError, match="02_batchnorm don't say what its wrong digits were taken for"):
        tables.always_wrong(Runs("02_batchnorm", [run]))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "1", '"run"', "[" * 100_000, "{}", "\xff\xfe", "NaN"])
def test_what_is_no_run_at_all_is_refused(content, tmp_path):
    path = write_metrics(tmp_path, make_run())
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        load_runs(tmp_path, "02_batchnorm")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", MARKUP)
@pytest.mark.parametrize("name", ["stage", "dataset", "split", "device"])
def test_markup_in_a_text_is_refused(name, text):
    assert complaint(make_run(**{name: text})) == f"its {name} is not as it must be"


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_names_and_numbers_of_versions_is_refused(text):
    assert complaint(make_run(versions={"torch": text})) == "its versions is not as it must be"
    assert complaint(make_run(versions={text: "2"})) == "its versions is not as it must be"


def test_a_file_in_the_place_of_another_stage_or_seed_is_refused(tmp_path):
    path = write_metrics(tmp_path, make_run())
    for other in (path.with_name("seed-1.json"), tmp_path / "metrics" / "06_lr_scheduler" / path.name):
        other.parent.mkdir(exist_ok=True)
        other.write_text(path.read_text())
        with pytest.raises(InputError, match="of another stage or seed"):
            load_runs(tmp_path, other.parent.name)
        other.unlink()


def test_a_folder_whose_name_is_markup_is_no_stage(tmp_path):
    write_metrics(tmp_path, make_run())
    (tmp_path / "metrics" / "<script>").mkdir()
    assert stages(tmp_path) == ["02_batchnorm"]


@pytest.mark.parametrize("device", ["NVIDIA A100-SXM4-40GB", "Quadro RTX 6000/8000", "NVIDIA H100 (MIG 1g.10gb)"])
def test_the_names_of_devices_pass(device):
    assert complaint(make_run(device=device, versions={"torch": "2.4.1+cu121"})) == ""
