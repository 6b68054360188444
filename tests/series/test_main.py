"""The command line: what it takes, what it refuses before anything is written, where runs go, what is recorded."""

import shutil
import subprocess
import sys

import pytest
from fake_series import PARAMETERS, ROOT, STAND_IN, WRITE_METRICS, WRITE_WEIGHTS, Series, results

from common.config import write_whole
from series.__main__ import PLANS, Runner, Work, prepare
from series.options import read_options
from series.pool import sole_use

SWEEP = 'stages = [1, 2]\nseeds = [0, 1]\nsplit = "validation"\nlearning_rate = [0.1, 1]\n'
PLACED = """
split = "test"
place = "PLACE"
attempts = 1
[variants]
low = {rule = "low"}
high = {rule = "high", learning_rate = 1}
"""
BAD = [  # a command, what stands in the file FILE if there is one, and what the one line says
    ("--speed 3", "", "unrecognized arguments: --speed 3; ./run_all.sh --help lists the options"),
    ("--stages 7", "", "invalid choice: 7 (choose from 1, 2)"),
    ("--seeds one", "", "'one' is not a whole number from 0 to 4294967295"),
    ("--seeds 1_0", "", "'1_0' is not a whole number from 0 to 4294967295"),
    ("--seeds ٣", "", "'٣' is not a whole number from 0 to 4294967295"),
    ("--epochs 0", "", "'0' is not a whole number from 1 to"),
    (f"--epochs {'9' * 9999}", "", "is not a whole number from 1 to 10000"),
    ("--timeout nan", "", "'nan' is not a number above 0"),
    ("--smoke --epochs 2", "", "--epochs goes not with --smoke"),
    ("--device tpu", "", "invalid choice: 'tpu'"),
    ("-p learning_speed 1", "", "01_first has no parameter 'learning_speed', only seed, epochs"),
    ("-p learning_rate fast", "", "learning_rate must be like 0.1 (float), not 'fast'"),
    ("-p learning_rate 1e999", "", "learning_rate must be a number above 0, up to 1000, not inf"),
    ("-p limit -1", "", "limit must be a whole number from 0 to 2147483647, not -1"),
    ("-p seed 3", "", "has an option of its own: --seeds"),
    ("-p learning_rate 0.1 -p learning_rate 0.2", "", "parameter learning_rate is given twice"),
    (["--scheduler", ""], "", "--scheduler is empty: give a value, or leave it out"),
    (["--out", " "], "", "--out is empty"),
    (["-p", "rule", ""], "", "rule is empty"),
    ([""], "", "an argument is empty"),
    ("--jobs 2 --scheduler tcp://nowhere:1", "", "--jobs is of this machine"),
    ("swep FILE", SWEEP, "unrecognized arguments: swep"),
    # What was said before
    ("--sweep FILE", SWEEP, "--sweep is a command now: ./run_all.sh sweep FILE"),
    ("--rewrite", "", "--rewrite is a command now: ./run_all.sh publish"),
    # Options that would have no effect
    ("choices --seeds 0", "", "unrecognized arguments: --seeds; ./run_all.sh choices --help lists the options"),
    ("choices nonsense", "", "there is no question 'nonsense'"),
    ("benchmark --rounds 1 --device cpu", "", "--rounds and --contenders are of the processor's benchmark"),
    ("publish --smoke", "", "unrecognized arguments"),
    # The published systems
    ("published --system B9", "", "system 'B9' is unknown: choose one of A-pad0, A-pad1, B1"),
    ("published -p system B3", "", "parameter system takes its values from the plan published"),
    ("published --fresh", "", "--fresh would replace recorded runs one by one"),
    # Plans
    ("sweep none.toml", "", "none.toml can't be read (No such file or directory)"),
    ("sweep FILE", "stages = [1", "is no TOML file"),
    ("sweep FILE", "stages = [3]", "stages has 3, which is not there, only 1, 2"),
    ("sweep FILE", "stages = [1, 1]", "stages must be a list of numbers, each of them once"),
    ("sweep FILE", 'notebooks = ["07_none"]', "notebooks has '07_none', which is not there, only 01_first"),
    ("sweep FILE", 'notebooks = ["01_first"]\nstages = [1]', "notebooks and stages both say what is run"),
    ("sweep FILE", "seeds = [-1]", "seeds must be a list, each a whole number from 0"),
    ("sweep FILE", "seed = [1]", "seed is not set here, but by seeds = [0, 1, 2]"),
    ("sweep FILE", 'place = "../x"', "place must be the path of a folder below outputs/"),
    ("sweep FILE", 'split = ["test", "validation"]', "several splits must be folds"),
    ("sweep FILE", "learning_rate = [0.1]", 'has no split: write split = "validation"'),
    ("sweep FILE", "[learning_rate]\nlow = 1", "learning_rate must be like 0.1 (float), not {'low': 1}"),
    ("sweep FILE", "learning_rate = [1, 1.0]", "learning_rate must be a value, or a list of values, each of them once"),
    ("sweep FILE", "learning_rate = [0.1, -1]", "parameter learning_rate must be a number above 0"),
    ("sweep FILE", 'rule = ["a b", "a_b"]', "two of its values make the same file name"),
    ("sweep FILE", f'rule = ["{"a" * 200}"]', "so many parameters make file names too long"),
    ("sweep FILE", '[variants]\nhigh = "/etc"', "variant 'high' must be a table of parameters, or a folder"),
    ("sweep FILE", '[variants]\n".." = {}', "variant '..' must begin with a letter or a digit"),
    ("sweep FILE", '[variants]\nhigh = {split = "test"}', "variant 'high' can't set split"),
    ("sweep FILE", "learning_rate = [1]\n[variants]\nhigh = {learning_rate = 2}", "can't set learning_rate"),
    ("sweep FILE", 'taken = "low"\n[variants]\nhigh = {}', "taken must be one of the variants, not 'low'"),
    ("sweep FILE -p batch_size 8", 'split = "test"\nbatch_size = [1, 2]', "batch_size takes its values from the plan"),
    ("sweep FILE --smoke", 'split = "test"\nepochs = [1, 2]', "epochs takes its values from the plan rates"),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Series:
    """Two stages and the appendix, none of which is run."""
    series = Series(tmp_path_factory.mktemp("small")).add("01_first").add("02_second").add("appendix_smaller")
    return series.add("appendix_published", parameters=f'{PARAMETERS}system = "B3"\n')


@pytest.mark.parametrize(("words", "text", "complaint"), BAD, ids=[f"{words} {text}"[:60] for words, text, _ in BAD])
def test_what_is_unknown_or_impossible_is_refused_in_one_line(small, capsys, words, text, complaint):
    file = small.plan(text)
    arguments = words if isinstance(words, list) else words.split(" ")
    assert small.run(*(file if word == "FILE" else word for word in arguments)) == 2
    told = capsys.readouterr()
    assert complaint in told.err and told.err.startswith("run_all: ")
    assert told.err.count("\n") == 1 and told.out == ""
    assert not small.outputs.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [("--data mnist", "MNIST_DIR=/nowhere"), ("--device cuda --data rendered", "no CUDA GPU")],
)
def test_data_or_a_device_that_is_not_there_is_refused_in_one_line(small, capsys, monkeypatch, arguments, complaint):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("MNIST_DIR", "/nowhere")
    assert Runner(small.root, PLANS, prepare).main(arguments.split()) == 2
    told = capsys.readouterr().err
    assert complaint in told and told.count("\n") == 1
    assert not small.outputs.exists()


FOLDERS = [  # a command, where its runs go, and where they are recorded as a whole, if all goes well
    ("", "scratch/mnist-15-epochs", "."),
    ("--seeds 0 1 --jobs 1 --device cpu --data mnist --epochs 15 --fresh --split test", "scratch/mnist-15-epochs", "."),
    ("--stages 1", "scratch/mnist-15-epochs", None),
    ("--smoke", "scratch/mnist-smoke", None),
    ("-p learning_rate 1", "scratch/mnist-15-epochs-learning_rate-1.0", None),
    ("--out OUT", "OUT", None),
    ("sweep FILE", "scratch/sweep-rates-mnist-15-epochs-split-validation", None),
    ("sweep FILE --epochs 2 --split test", "scratch/sweep-rates-mnist-2-epochs", None),
    ("smaller", "scratch/smaller-mnist-15-epochs", "smaller"),
    ("published --device cpu --seeds 7", "published", None),
    ("published --system B3 --epochs 2", "scratch/published-mnist-2-epochs", None),
]


def work_of(series: Series, *arguments: str, dataset: str = "MNIST") -> Work:
    """What the runner would do."""
    words = [series.plan(SWEEP) if word == "FILE" else word for word in arguments]
    runner = Runner(series.root, PLANS, lambda parameters, here: dataset)
    return runner.make_work(read_options(words, series.root))


@pytest.mark.parametrize(("arguments", "folder", "place"), FOLDERS)
def test_only_a_plan_as_it_stands_is_recorded_and_folders_say_what_is_another(
    small, monkeypatch, arguments, folder, place
):
    monkeypatch.setenv("CALLED_FROM", str(small.outputs))
    work = work_of(small, *arguments.split())
    assert {job.folder for job in work.jobs} == {work.folder} == {small.outputs / folder}
    assert work.recorded == (None if place is None else small.outputs / place)
    assert {job.identity["parameters"]["data"] for job in work.jobs} == {"mnist"}


def test_runs_on_the_stand_in_are_not_recorded(small):
    work = work_of(small, dataset=STAND_IN)
    assert (work.folder.name, work.recorded) == ("rendered-15-epochs", None)
    assert work.jobs[0].task.parameters["data"] == "rendered", "so that no run takes another data set"


def test_what_a_folders_name_cannot_hold_tells_it_from_others_all_the_same(small):
    values = "a/b", "a b", "a_b", "a" * 120, "a" * 121, "a/b"
    folders = [work_of(small, "-p", "rule", value).folder for value in values]
    assert len(set(folders)) == 5 and folders[0] == folders[-1], "and the same one finds its own again"
    assert all(folder.parent == small.outputs / "scratch" and len(folder.name) <= 100 for folder in folders)


def test_the_series_runs_is_recorded_and_goes_on_where_it_stopped(series, capsys):
    series.add("01_first").add("02_second", WRITE_METRICS + WRITE_WEIGHTS)
    folder = series.outputs / "scratch" / "mnist-15-epochs"
    assert series.run("--seeds", 0, 1) == 0
    told = capsys.readouterr().out
    assert told.startswith("4 of 4 runs to do on MNIST, ")
    assert "\n\nthe table of series\n" in told and told.splitlines()[-1].startswith("Recorded in ")
    assert results(series.outputs).items() >= results(folder).items() and len(results(folder)) == 4 + 2
    for place in (folder, series.outputs):
        assert ["/".join(path.parts[-2:]) for path in place.glob("weights/*/*")] == ["02_second/seed-0.json"]
    left = {path.name for path in folder.iterdir()}
    assert left == {".done", ".lock", "01_first.ipynb", "02_second.ipynb", "metrics", "weights"}

    before = (folder / "metrics" / "01_first" / "seed-0.json").stat().st_mtime_ns
    (folder / ".done" / "02_second" / "seed-1.json").unlink()
    assert series.run("--seeds", 0, 1) == 0
    assert "1 of 4 runs to do" in capsys.readouterr().out
    assert (folder / "metrics" / "01_first" / "seed-0.json").stat().st_mtime_ns == before
    assert series.run() == 0
    assert "Not recorded in " in (told := capsys.readouterr().out) and told.endswith("that takes --seeds 0 1\n")


def test_a_sweep_fails_only_where_it_fails_three_times_and_another_value_adds_its_runs(series, capsys):
    series.add("01_first", "assert learning_rate < 1 or seed < 1, 'always'\n" + WRITE_METRICS)
    one = SWEEP.replace("[1, 2]", "[1]")
    assert series.run("sweep", series.plan(one), "--jobs", "2") == 1
    told = capsys.readouterr()
    assert told.out.startswith("4 of 4 runs to do on MNIST, 2 at a time") and "the table of sweep" in told.out
    assert told.out.count("AssertionError: always") == 3 and told.out.count("it is tried again") == 2
    assert told.err.startswith("run_all: learning_rate-1.0/01_first, seed 1 failed: AssertionError: always; see ")
    assert told.err.count("\n") == 1
    assert series.run("sweep", series.plan(one.replace("0.1, 1", "0.1, 0.5"))) == 0
    assert "2 of 4 runs to do" in capsys.readouterr().out


def test_runs_of_variants_are_recorded_one_by_one_and_count_in_other_clones(series, capsys):
    """The published systems, and the choices: here each with a plan of its own."""
    series.plans = series.root / "plans"
    write_whole(series.plans / "choices" / "rate.toml", PLACED.replace("PLACE", "choices/rate"))
    write_whole(series.plans / "choices" / "other.toml", PLACED.replace("PLACE", "choices/other"))
    series.add("01_first", "assert learning_rate != 1, 'it fails'\n" + WRITE_METRICS.replace("stage", "rule"))
    assert series.run("choices", "rate", "--jobs", "2") == 1
    told = capsys.readouterr()
    assert "run_all: rate/high, seed 0 failed: AssertionError: it fails; see " in told.err
    assert "the table of choices" in told.out and "2 of 2 runs to do" in told.out
    there = series.outputs / "choices" / "rate" / "low" / "seed-0.json"
    assert there.exists() and not list(series.outputs.glob("choices/rate/*.ipynb"))

    shutil.rmtree(series.outputs / "choices" / "rate" / ".done")
    series.add("01_first", WRITE_METRICS.replace("stage", "rule"))
    assert series.run("choices") == 0
    assert "3 of 4 runs to do" in capsys.readouterr().out
    assert not list(series.outputs.rglob("failed/*/*"))


def test_what_is_recorded_is_written_by_one_at_a_time(two, capsys):
    with sole_use(two.outputs):
        assert two.run("publish") == two.run("benchmark") == 2
    assert capsys.readouterr().err.count("another run writes to") == 2
    assert two.run("publish") == 0 and capsys.readouterr().out == "the table of publish\n"


def test_results_may_lie_on_any_path(series):
    folder = series.root / "new\nline é ü 数 {braces} 'quotes\" $(id) `id` %s -p"
    assert series.add("01_first").run(f"--out={folder}", "--epochs", 1) == 0
    assert (folder / "metrics" / "01_first" / "seed-0.json").exists()


def test_help_waits_for_no_large_import_and_names_the_commands():
    asked = [sys.executable, "-X", "importtime", "-m", "series", "--help"]
    told = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert told.returncode == 0
    assert "--stages" in told.stdout and "  publish " in told.stdout
    for large in ("torch", "papermill", "matplotlib", "distributed", "IPython"):
        assert large not in told.stderr
