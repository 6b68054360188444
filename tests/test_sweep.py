"""Sweeps: what their files may say, their points, and the table and figure that come of them."""

import json

import pytest
from conftest import PARAMETERS, SWEPT, make_run

from common import InputError, chain, cli, points, sweep
from common.effects import LINES, Effect, effects
from common.execution import is_done, stamp
from common.files import write_whole
from common.intervals import of_mean
from common.runs import ROOT

GRID = 'stages = [1, 2]\nseeds = [0, 1]\nsplit = "validation"\nlearning_rate = [0.1, 1]\nbatch_size = [32, 64]\n'


@pytest.fixture
def swept(series):
    """Two stages whose accuracy depends on seed and rate, and a way to sweep over them."""
    return series.add("01_first", SWEPT).add("02_second", SWEPT)


def write(series, text: str) -> str:
    """The path of a sweep's file."""
    path = series.root / "rates.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def options_of(series, text: str, *arguments: str) -> cli.Options:
    return cli.read_options(["--sweep", write(series, text), *arguments], series.root)


def points_of(series, text: str, *arguments: str) -> list[points.Point]:
    return points.plan_sweep(options_of(series, text, *arguments), "MNIST", series.root)


def finish(point: points.Point, *accuracies: float) -> None:
    """Let a point be there, with these accuracies."""
    run = make_run(*accuracies, stage=point.stage, seed=point.seed, split="validation")
    write_whole(point.metrics, json.dumps(run))
    write_whole(point.stamp, stamp(point))


def test_a_sweep_has_a_point_for_every_stage_seed_and_combination_named_after_its_parameters(swept):
    found = points_of(swept, GRID)
    assert len({point.metrics for point in found}) == len(found) == 2 * 2 * 2 * 2
    place = "metrics/learning_rate-1.0-batch_size-64/02_second/seed-1.json"
    assert found[-1].metrics == found[-1].folder / place
    assert found[-1].title == "02_second, learning_rate 1.0, batch_size 64, seed 1"
    assert found[-1].parameters == {
        "split": "validation",
        "learning_rate": 1.0,
        "batch_size": 64,
        "data": "mnist",
        "seed": 1,
    }
    assert found[0].folder.name == "sweep-rates-mnist-15-epochs-split-validation"
    assert [point.seed for point in found] == [0] * 8 + [1] * 8, "one that is cut short has all settings"
    assert not any(point.keep_copy for point in found)


def test_executed_notebooks_of_the_lowest_seed_are_kept_if_asked_for(swept):
    assert [point.keep_copy for point in points_of(swept, GRID + "copies = true\n")] == [True] * 8 + [False] * 8


def test_seeds_alone_make_a_sweep(swept):
    [first, _] = points_of(swept, 'stages = [1]\nseeds = [3, 5]\nsplit = "test"')
    assert first.metrics.relative_to(first.folder).as_posix() == "metrics/as-is/01_first/seed-3.json"


def test_what_the_command_asks_for_goes_before_the_file_unless_it_is_swept(swept):
    assert options_of(swept, GRID + "epochs = 3", "--epochs", "2").parameters["epochs"] == 2
    with pytest.raises(InputError, match="batch_size takes its values from"):
        options_of(swept, GRID, "-p", "batch_size", "8")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("stages = [1", "is no TOML file"),
        ("stages = [3]", "stages must be a list, some of [1, 2]"),
        ("stages = 1", "stages must be a list"),
        ("seeds = []", "seeds must be a list"),
        ("seeds = [-1]", "seeds must be a list, each a whole number from 0"),
        ("seed = [1]", "seed is not set here, but by seeds = [0, 1, 2]"),
        ('out = "here"', "out is not set here"),
        ("copies = 1", "copies must be true or false"),
        ('split = ["test", "validation"]', "split must be one value"),
        ("learning_rate = [0.1]", 'has no split: write split = "validation"'),
        ("learning_rate = []", "learning_rate must be a value, or a list"),
        ("[learning_rate]\nlow = 1", "learning_rate must be a value, or a list"),
        ('split = "test"\nlearning_rate = [1, 1.0]', "learning_rate has a value twice"),
        ('split = "test"\nlearning_rate = [0.1, -1]', "parameter learning_rate must be a number above 0"),
        ('split = "test"\nbatch_size = [0.5]', "parameter batch_size must be like 64 (int), not 0.5"),
        ('split = "test"\nbatch_size = true', "parameter batch_size must be like 64 (int), not True"),
        ('split = "tests"\nlearning_rate = [0.1]', "parameter split must be one of test, validation, not 'tests'"),
        ('split = "test"\ndevice = "tpu"', "parameter device must be one of auto, cpu, cuda, not 'tpu'"),
        ('split = "test"\nmomentum = [0.5]', "01_first has no parameter 'momentum'"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_a_line(text, complaint, swept, capsys):
    assert swept.run("--sweep", write(swept, text)) == 2
    told = capsys.readouterr().err
    assert complaint in told and told.count("\n") == 1
    assert not (swept.root / "outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--stages 1", "stages and seeds of a sweep stand in its file"),
        ("--seeds 1", "stages and seeds of a sweep stand in its file"),
        ("--published", "--sweep and --published are two commands"),
        ("--jobs 2 --scheduler tcp://nowhere:1", "--jobs is of this machine"),
    ],
)
def test_options_that_contradict_a_sweep_are_refused(arguments, complaint, swept):
    with pytest.raises(InputError, match=complaint):
        options_of(swept, GRID, *arguments.split())


def test_what_does_not_run_notebooks_takes_no_scheduler(swept, capsys):
    assert swept.run("--rewrite", "--scheduler", "tcp://nowhere:1") == 2
    assert "--scheduler has no effect on --rewrite" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(swept, capsys):
    assert swept.run("--sweep", str(swept.root / "none.toml")) == 2
    assert "none.toml can't be read" in capsys.readouterr().err


def test_values_that_would_share_a_file_or_need_too_long_a_name_are_refused(swept):
    with pytest.raises(InputError, match="same file name"):
        points_of(swept, 'split = "test"\nrule = ["a b", "a_b"]')
    with pytest.raises(InputError, match="too long"):
        points_of(swept, f'split = "test"\nrule = ["{"a" * 200}"]')


def test_a_sweep_of_all_stages_as_they_stand_is_never_recorded(swept, capsys):
    assert swept.run("--sweep", write(swept, 'stages = [1, 2]\nsplit = "test"')) == 0
    assert "Recorded" not in capsys.readouterr().out
    assert not (swept.root / "outputs" / "metrics").exists()


def test_a_sweep_runs_and_goes_on_and_fails_only_where_it_fails_three_times(swept, capsys):
    """One point of the first stage fails always, one of the second only once."""
    once = str(swept.root / "once")
    fails = "if learning_rate == 1 and seed == 1: raise ValueError('always')\n"
    fails_once = f"import os\nif seed == 1 and not os.path.exists({once!r}): os.mkdir({once!r}); 1 / 0\n"
    swept.add("01_first", fails + SWEPT).add("02_second", fails_once + SWEPT)
    text = 'stages = [1, 2]\nseeds = [0, 1]\nsplit = "validation"\nlearning_rate = [0.1, 1]\n'
    assert swept.run("--sweep", write(swept, text), "--jobs", "2") == 1
    told = capsys.readouterr()
    assert told.out.startswith("8 of 8 runs to do on MNIST, 2 at a time")
    assert told.out.count("ValueError: always") == 3 and told.out.count("it is tried again") == 3
    assert told.out.count("ZeroDivisionError") == 1
    assert told.err.count("\n") == 1
    assert "01_first, learning_rate 1.0, seed 1 failed: ValueError: always; see " in told.err
    folder = points_of(swept, text)[0].folder
    page = (folder / "README.md").read_text()
    assert "7 of 8 points are there" in page
    assert "| 01_first | 1.0 | 98.000 | – | needs two seeds or more | 1 of 2 |" in page
    assert "| 01_first | 0.1 | 98.905 | 0.007 | 98.841 to 98.969 | 2 |" in page
    assert (folder / "figures" / "sweep.png").read_bytes().startswith(b"\x89PNG")

    # The same command goes on; another value adds its points.
    swept.add("01_first", SWEPT)
    assert swept.run("--sweep", write(swept, text.replace("0.1, 1", "0.1, 0.5, 1").replace("[1, 2]", "[2]"))) == 0
    assert "2 of 6 runs to do" in capsys.readouterr().out


def test_the_table_has_mean_deviation_interval_and_count_by_the_swept_parameters(swept):
    found = points_of(swept, GRID)
    for point in found:
        if point.stage == "01_first" and point.setting == {"learning_rate": 0.1, "batch_size": 32}:
            finish(point, 99.0 + point.seed)
    rows = sweep.rows_of(found)
    assert len(rows) == 8 and rows[0].figures == [99.0, 100.0] and rows[0].asked == 2
    assert sweep.table(rows, ["learning_rate", "batch_size"])[:4] == [
        "| stage | learning_rate | batch_size | accuracy, % | standard deviation | 95 % interval | seeds |",
        "|---|---:|---:|---:|---:|---:|---:|",
        "| 01_first | 0.1 | 32 | 99.500 | 0.707 | 93.147 to 100.000 | 2 |",
        "| 02_second | 0.1 | 32 | – | – | – | 0 of 2 |",
    ]


def test_the_page_says_what_is_the_same_in_all_points(swept):
    swept.add("02_second", SWEPT, PARAMETERS.replace("nesterov = False", "nesterov = True"))
    found = points_of(swept, GRID)
    same = sweep.alike([point.identity["parameters"] for point in found])
    assert same["epochs"] == 15 and same["data"] == "mnist"
    assert not same.keys() & {"nesterov", "learning_rate", "batch_size", "seed"}, "stages differ in the first of these"
    assert "`epochs = 15`" in sweep.page(sweep.rows_of(found), ["learning_rate"], "MNIST", same)


def test_a_run_of_other_code_or_parameters_does_not_count_as_a_point(swept):
    [point] = points_of(swept, 'stages = [1]\nsplit = "validation"\nlearning_rate = [0.5]')
    finish(point, 99.0)
    assert is_done(point)
    [other] = points_of(swept, 'stages = [1]\nsplit = "validation"\nlearning_rate = [0.5]', "--out", str(point.folder))
    assert is_done(other)
    text = 'stages = [1]\nsplit = "validation"\nlearning_rate = [0.5]\nbatch_size = 32'
    [other] = points_of(swept, text, "--out", str(point.folder))
    assert not is_done(other) and sweep.rows_of([other])[0].figures == []


def test_the_interval_of_a_mean_is_students():
    middle, low, high = of_mean([99.0, 99.2, 99.4])
    assert middle == pytest.approx(99.2)
    assert (high - low) / 2 == pytest.approx(4.303 * 0.2 / 3**0.5)
    assert of_mean([99.0])[1:] == (-float("inf"), float("inf"))


def test_the_figure_has_a_line_for_every_way_to_choose_the_other_parameters():
    rows = [
        sweep.Row(stage, {"dropout": dropout, "rate": rate}, [99.0, 99.1], 2)
        for stage in ("01_first", "02_second")
        for dropout in (0.0, 0.1)
        for rate in (0.1, 0.2, 0.4)
    ]
    axes = sweep.draw(rows, ["dropout", "rate"], "MNIST, validation split").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "0.2", "0.4"]
    labels = [line.get_label() for line in axes.get_lines()]
    assert labels == [f"dropout {dropout}, {stage}" for stage in ("01_first", "02_second") for dropout in (0.0, 0.1)]
    assert len(axes.collections) == len(rows), "an interval each"
    assert axes.get_title() == "" and "2 runs a point" in axes.figure.get_suptitle()


def test_the_figure_says_of_how_many_runs_a_point_is_where_they_differ_and_which_lines_it_leaves_out():
    lines = {f"line {n}": [Effect(0, 90.0 + n, 89.0, 91.0, 1 + n % 2)] for n in range(LINES + 2)}
    figure = effects(lines, "rate", ["0.1"], "MNIST")
    assert f"the best {LINES} of {LINES + 2} lines" in figure.get_suptitle()
    labels = {line.get_label() for line in figure.axes[0].get_lines()}
    assert not labels & {"line 0", "line 1"} and "line 2" in labels
    assert {text.get_text() for text in figure.axes[0].texts} == {"n=1", "n=2"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("sweeps/*.toml")), ids=lambda path: path.stem)
def test_the_sweeps_that_come_with_the_series_can_be_run(path):
    options = cli.read_options(["--sweep", str(path)], ROOT)
    found = points.plan_sweep(options, "MNIST", ROOT)
    assert options.parameters["split"] == "validation", "a choice is never made on the test set"
    assert f"= {len(found)} points" in path.read_text(encoding="utf-8")


def test_every_kind_of_work_knows_what_is_there():
    assert [chain.kind_of(task).attempts for task in ("series", "published", "smaller", "sweep")] == [1, 1, 1, 3]
