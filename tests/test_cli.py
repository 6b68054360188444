"""What the command line takes, and what it refuses in one line before anything is written."""

import subprocess
import sys
from pathlib import Path

import pytest

from common import InputError, cli

ROOT = Path(cli.__file__).parent.parent


@pytest.fixture
def two_stages(series):
    return series.add("01_first").add("02_second")


def read(series, *arguments: str) -> cli.Options:
    return cli.read_options(list(arguments), series.root)


def test_without_options_every_stage_runs_once_as_it_stands(two_stages):
    options = read(two_stages)
    assert [path.stem for path in options.notebooks] == ["01_first", "02_second"]
    assert options.every_stage
    assert options.seeds == [0]
    assert options.parameters == {}


def test_stages_and_seeds_are_chosen_by_number(two_stages):
    options = read(two_stages, "--stages", "2", "--seeds", "7", "0", "7")
    assert [path.stem for path in options.notebooks] == ["02_second"]
    assert not options.every_stage
    assert options.seeds == [0, 7]


def test_smoke_is_one_epoch_on_two_thousand_images(two_stages):
    assert read(two_stages, "--smoke").parameters == {"epochs": 1, "images": 2000}


def test_options_become_notebook_parameters(two_stages):
    options = read(two_stages, "--epochs", "3", "--device", "cpu", "--split", "validation")
    assert options.parameters == {"epochs": 3, "device": "cpu", "split": "validation"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("learning_rate", "1e-3", 1e-3),
        ("learning_rate", "1", 1.0),
        ("images", "500", 500),
        ("nesterov", "true", True),
    ],
)
def test_any_parameter_is_read_as_its_default_is(two_stages, name, text, value):
    read_value = read(two_stages, "-p", name, text).parameters[name]
    assert read_value == value
    assert type(read_value) is type(value)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--speed 3", "unrecognized arguments: --speed 3"),
        ("--epoch 3", "unrecognized arguments"),
        ("--stages 7", "invalid choice: 7 (choose from 1, 2)"),
        ("--stages", "expected at least one argument"),
        ("--seeds -1", "-1 is not from 0 to 4294967295"),
        ("--seeds one", "invalid whole number value: 'one'"),
        ("--epochs 0", "0 is not at least 1"),
        ("--epochs 1.5", "invalid whole number value: '1.5'"),
        ("--jobs 0", "0 is not at least 1"),
        ("--timeout nan", "nan is not a time above 0"),
        ("--smoke --epochs 2", "not allowed with"),
        ("--device tpu", "invalid choice: 'tpu'"),
        ("--data cifar", "invalid choice: 'cifar'"),
        ("-p learning_speed 1", "01_first has no parameter 'learning_speed', only seed, epochs"),
        ("-p learning_rate fast", "learning_rate must be like 0.1 (float), not 'fast'"),
        ("-p learning_rate 1e999", "learning_rate must be a number above 0, up to 1000, not inf"),
        ("-p learning_rate nan", "learning_rate must be a number above 0, up to 1000, not nan"),
        ("-p images 1.5", "images must be like 0 (int), not '1.5'"),
        ("-p images True", "images must be like 0 (int), not 'True'"),
        ("-p images -1", "images must be a whole number from 0 to 2147483647, not -1"),
        ("-p nesterov 1", "nesterov must be like False (bool), not '1'"),
        ("-p seed 3", "has an option of its own: --seeds"),
    ],
)
def test_what_is_unknown_or_impossible_is_refused_in_one_line(two_stages, capsys, arguments, complaint):
    assert two_stages.run(*arguments.split()) == 2
    told = capsys.readouterr()
    assert complaint in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert not (two_stages.root / "outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "idle"),
    [
        ("--choices --stages 2", "stages"),
        ("--choices --seeds 0", "seeds"),
        ("--choices --data rendered", "data"),
        ("--choices -p learning_rate 0.1", "parameter"),
        ("--benchmark --epochs 1", "epochs"),
        ("--benchmark --jobs 2", "jobs"),
        ("--rewrite --smoke", "smoke"),
        ("--rewrite --fresh", "fresh"),
        ("--rewrite --out elsewhere", "out"),
    ],
)
def test_an_option_without_effect_is_refused_and_not_passed_over(two_stages, arguments, idle):
    with pytest.raises(InputError, match=f"^--{idle} has no effect on --[a-z]+: leave it out$"):
        read(two_stages, *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--smaller --published", "not allowed with argument"),
        ("--benchmark --rewrite", "not allowed with argument"),
        ("-p learning_rate 0.1 -p learning_rate 0.2", "parameter learning_rate is given twice"),
        ("--published --fresh", "--fresh would replace recorded runs one by one"),
    ],
)
def test_what_contradicts_itself_is_refused(two_stages, arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        read(two_stages, *arguments.split())


def test_stages_and_seeds_that_are_given_twice_add_up(two_stages):
    options = read(two_stages, *["--seeds", "0", "1", "--stages", "1", "--seeds", "2", "--stages", "2"])
    assert options.seeds == [0, 1, 2] and len(options.notebooks) == 2


@pytest.mark.parametrize("arguments", ["--choices --jobs 2", "--benchmark --smoke --data rendered", "--rewrite"])
def test_options_with_an_effect_are_taken(two_stages, arguments):
    assert read(two_stages, *arguments.split()).task == arguments.split()[0].strip("-")


def test_a_parameter_that_only_some_of_the_stages_have_names_one_without_it(two_stages):
    notebook = two_stages.root / "notebooks" / "02_second.ipynb"
    notebook.write_text(notebook.read_text().replace("nesterov", "amsgrad"))
    assert read(two_stages, "-p", "amsgrad", "true", "--stages", "2").parameters == {"amsgrad": True}
    with pytest.raises(InputError, match="01_first has no parameter 'amsgrad'"):
        read(two_stages, "-p", "amsgrad", "true")


def test_paths_are_meant_from_where_the_script_was_called(two_stages, monkeypatch):
    monkeypatch.setenv("CALLED_FROM", "/somewhere")
    assert read(two_stages, "--out", "here").out == Path("/somewhere/here")
    assert read(two_stages, "--out", "/there").out == Path("/there")


def test_help_waits_for_no_large_import():
    asked = [sys.executable, "-X", "importtime", "-m", "common.chain", "--help"]
    told = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert told.returncode == 0
    assert "--stages" in told.stdout
    assert "torch" not in told.stderr
    assert "papermill" not in told.stderr
