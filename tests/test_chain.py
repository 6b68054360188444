"""The runner, on small notebooks without torch that run through papermill in real kernels."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import WRITE_METRICS, Series

from common import InputError, chain, execution, plan
from common.cli import read_options
from common.files import write_whole

PREPARE = chain.prepare  # the real one: the fixture `series` puts a stand-in in its place
FULL = "outputs/scratch/mnist-15-epochs"
ROOT = Path(chain.__file__).parent.parent


def tasks_of(series: Series, *arguments: str, dataset: str = "MNIST") -> list[execution.Task]:
    """The work that the runner would do."""
    return plan.plan(read_options(list(arguments), series.root), dataset, series.root)


def test_experiments_whose_names_are_too_long_for_a_folder_do_not_share_one(series):
    values = {"batch_size": 128, "learning_rate": 0.15, "dropout": 0.05, "momentum_of_the_running_statistics": 0.12345}
    lines = [f"{name} = {0 if type(value) is int else 0.0}" for name, value in values.items()]
    series.add("01_first", parameters="\n".join(["epochs = 15", *lines]))
    given = [word for name, value in values.items() for word in ("-p", name, str(value))]
    one, other = (tasks_of(series, *given[:-1], last)[0].folder.name for last in ("0.12345", "0.12346"))
    assert one != other and max(len(one), len(other)) <= 100
    assert tasks_of(series, *given)[0].folder.name == one, "and the same one finds its own again"


def test_each_stage_keeps_the_copy_of_its_own_lowest_seed(series):
    series.add("01_first").add("02_second")
    assert series.run("--stages", "1", "--out", str(series.root / "o")) == 0
    (task,) = tasks_of(series, "--stages", "2", "--seeds", "5", "--out", str(series.root / "o"))
    assert task.keep_copy
    (task,) = tasks_of(series, "--stages", "1", "--seeds", "5", "--out", str(series.root / "o"))
    assert not task.keep_copy


def test_a_chain_runs_every_stage_and_seed_and_goes_on_where_it_stopped(series, capsys):
    series.add("01_first").add("02_second")
    assert series.run("--seeds", "0", "1", "-p", "learning_rate", "0.5") == 0
    told = capsys.readouterr().out
    folder = f"{FULL}-learning_rate-0.5"
    stages = ["01_first", "02_second"]
    runs = [series.metrics(folder, stage, seed) for stage in stages for seed in (0, 1)]

    assert len({run["pid"] for run in runs}) == 4, "every run has a kernel of its own"
    for run in runs:
        assert run["python"] == sys.executable
        assert run["transport"] == "ipc", "ports are what kernels that start together collide on"
        assert run["folder"] == str(series.root / "notebooks")
        assert run["threads"] == os.environ.get("OMP_NUM_THREADS", "1")
        assert run["learning_rate"] == 0.5
        assert run["data"] == "mnist"
    assert "4 of 4 runs to do on MNIST" in told
    assert "02_second, seed 1: test accuracy 99.10 99.11 99.12 99.13 99.14 %" in told
    assert told.endswith("the table\n"), "no result of other parameters is recorded"

    left = sorted(path.name for path in (series.root / folder).iterdir())
    assert left == [".done", ".lock", ".running", "01_first.ipynb", "02_second.ipynb", "metrics"]
    assert not list((series.root / folder / ".running").iterdir())

    # The run that was interrupted is repeated, no other.
    (series.root / folder / ".done" / "02_second-seed-1.json").unlink()
    assert series.run("--seeds", "0", "1", "-p", "learning_rate", "0.5") == 0
    assert "1 of 4 runs to do" in capsys.readouterr().out
    again = [series.metrics(folder, stage, seed)["pid"] for stage in stages for seed in (0, 1)]
    assert [run["pid"] == pid for run, pid in zip(runs, again, strict=True)] == [True, True, True, False]

    copy = (series.root / folder / "01_first.ipynb").read_text()
    assert_readable(json.loads(copy))
    for noise in ("papermill", "iopub", str(series.root), str(Path.home()), ".running"):
        assert noise not in copy


def assert_readable(notebook: dict) -> None:
    """The copy is one of the lowest seed, whole and repeatable."""
    ids = [cell["id"] for cell in notebook["cells"]]
    assert ids == ["parameters", "injected-parameters", "name", "code"]
    assert "seed = 0\n" in notebook["cells"][1]["source"]
    assert notebook["cells"][3]["outputs"][0]["text"] == ["written by ~/code.py\n"]


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A chain of notebooks that fail in all ways but one, and what was told of it."""
    series = Series(tmp_path_factory.mktemp("broken") / "series")
    series.add("01_raises", "print('so far so good')\nraise ValueError('one\\ntwo')")
    series.add("02_exits", WRITE_METRICS + "sys.exit(0)")
    series.add("03_silent", "pass")
    series.add("04_dies", "import os; os._exit(1)")
    series.add("05_fine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "prepare", lambda options: "MNIST")
        patch.setattr(chain, "summarise", lambda folder: "the table")
        outcomes: list[execution.Outcome] = []
        run = chain.run
        patch.setattr(chain, "run", lambda *work: outcomes.extend(run(*work)) or outcomes)
        code = series.run("--jobs", "5")
    return code, {outcome.task.stage: outcome for outcome in outcomes}


def test_a_failure_fails_the_chain_but_stops_no_other_run(broken):
    code, outcomes = broken
    assert code == 1
    assert outcomes["05_fine"].error == ""
    assert outcomes["05_fine"].task.metrics.exists()


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("01_raises", "ValueError: one two"),
        ("02_exits", "SystemExit: 0"),
        ("03_silent", "RuntimeError: the notebook ended without writing its metrics file"),
        ("04_dies", "DeadKernelError: Kernel died"),
    ],
)
def test_a_failed_run_is_named_with_its_error_and_kept_as_far_as_it_went(broken, stage, error):
    outcome = broken[1][stage]
    assert outcome.error == error
    assert chain.describe(outcome).startswith(f"{stage}, seed 0 failed: {error}; see ")
    assert outcome.task.failed_copy.exists()
    assert not outcome.task.copy.exists()
    assert not outcome.task.metrics.exists(), "what a failed run wrote is no result"
    assert not execution.is_done(outcome.task)


def test_a_notebook_that_hangs_is_given_up(series, capsys):
    series.add("01_hangs", "import time; time.sleep(600)")
    assert series.run("--timeout", "0.05") == 1
    assert "01_hangs, seed 0 failed: not finished after 0.05 minutes; see " in capsys.readouterr().err


def test_the_full_series_is_recorded(series, capsys):
    series.add("01_first")
    assert series.run() == 0
    assert "Recorded in" in capsys.readouterr().out
    assert series.metrics("outputs", "01_first") == series.metrics(FULL, "01_first")
    assert (series.root / "outputs" / "01_first.ipynb").exists()


def test_weights_that_a_notebook_writes_are_kept_of_the_lowest_seed_and_recorded(series):
    write_weights = """
file = Path(out, "weights", stage, f"seed-{seed}.json")
file.parent.mkdir(parents=True)
file.write_text("[]")
"""
    series.add("01_first").add("02_last", WRITE_METRICS + write_weights)
    assert series.run("--seeds", "0", "1") == 0
    for folder in (FULL, "outputs"):
        weights = (series.root / folder / "weights").glob("*/*")
        assert ["/".join(path.parts[-2:]) for path in weights] == ["02_last/seed-0.json"]


def test_results_of_fewer_seeds_than_the_recorded_ones_are_not_recorded(series, capsys):
    series.add("01_first")
    recorded = series.root / "outputs" / "metrics" / "01_first" / "seed-3.json"
    recorded.parent.mkdir(parents=True)
    recorded.write_text("{}")
    chain.record(tasks_of(series), series.root / "outputs", "series")
    assert "that takes --seeds 0 3" in capsys.readouterr().out
    assert [path.name for path in (series.root / "outputs").iterdir()] == ["metrics"]


@pytest.mark.parametrize(
    ("arguments", "dataset", "full"),
    [
        ("", "MNIST", True),
        ("--seeds 0 1 2 --jobs 1 --device cpu --data mnist --epochs 15 --fresh", "MNIST", True),
        ("", "rendered digits, not MNIST", False),
        ("--stages 1", "MNIST", False),
        ("--epochs 14", "MNIST", False),
        ("--smoke", "MNIST", False),
        ("--split validation", "MNIST", False),
        ("-p batch_size 32", "MNIST", False),
        ("--out elsewhere", "MNIST", False),
    ],
)
def test_only_all_stages_unchanged_on_mnist_make_the_full_series(series, arguments, dataset, full):
    series.add("01_first").add("02_second")
    options = read_options(arguments.split(), series.root)
    assert plan.is_full_series(options, dataset) is full


@pytest.mark.parametrize(
    ("arguments", "dataset", "name"),
    [
        ("", "MNIST", "mnist-15-epochs"),
        ("--epochs 2", "rendered digits, not MNIST", "rendered-2-epochs"),
        ("--smoke", "MNIST", "mnist-smoke"),
        ("--split validation -p batch_size 8", "MNIST", "mnist-15-epochs-batch_size-8-split-validation"),
    ],
)
def test_runs_that_differ_have_folders_that_say_how(series, arguments, dataset, name):
    series.add("01_first")
    [task] = tasks_of(series, *arguments.split(), dataset=dataset)
    assert task.folder == series.root / "outputs" / "scratch" / name


def test_a_run_counts_as_done_only_as_long_as_nothing_that_shapes_it_changes(series):
    [before] = tasks_of(series.add("01_first"))
    for path in (before.metrics, before.copy):
        write_whole(path, "{}")
    write_whole(before.stamp, execution.stamp(before))
    assert execution.is_done(before)
    assert execution.is_done(tasks_of(series, "--epochs", "15", "--jobs", "3")[0])

    for others in (["--device", "cpu"], ["--split", "validation"], ["-p", "batch_size", "32"]):
        [other] = tasks_of(series, *others, "--out", str(before.folder))
        assert not execution.is_done(other), others
    [other] = tasks_of(series, "--out", str(before.folder), dataset="rendered digits, not MNIST")
    assert not execution.is_done(other)
    [other] = tasks_of(series.add("01_first", WRITE_METRICS + "# changed"))
    assert not execution.is_done(other)


@pytest.mark.parametrize(("arguments", "again"), [([], 0), (["--fresh"], 1)])
def test_what_is_done_is_done_again_only_if_asked_to(series, monkeypatch, capsys, arguments, again):
    [task] = tasks_of(series.add("01_first"), "--epochs", "1")
    for path in (task.metrics, task.copy):
        write_whole(path, "{}")
    write_whole(task.stamp, execution.stamp(task))
    monkeypatch.setattr(chain, "execute", lambda task: execution.Outcome(task, 0.0, [99.0], ""))
    assert series.run("--epochs", "1", *arguments) == 0
    assert capsys.readouterr().out.startswith(f"{again} of 1 runs to do")


@pytest.mark.parametrize(("module", "counts"), [("train", True), ("something_new", True), ("chain", False)])
def test_a_change_in_the_training_code_repeats_a_run_a_change_in_the_runner_does_not(series, module, counts):
    [before] = tasks_of(series.add("01_first"))
    write_whole(series.root / "common" / f"{module}.py", "changed = True")
    [after] = tasks_of(series)
    assert (before.identity != after.identity) is counts


@pytest.mark.parametrize("smaller", [["--epochs", "14"], ["-p", "images", "500"], ["--split", "validation"]])
def test_no_run_replaces_a_bigger_one(series, capsys, smaller):
    [there] = tasks_of(series.add("01_first"), "--out", str(series.root / "mine"))
    text = json.dumps({"dataset": "MNIST", "epochs": 15, "images": {"train": 60_000}})
    write_whole(there.metrics, text)
    assert series.run("--out", str(series.root / "mine"), *smaller) == 2
    assert "is of a bigger run: choose another folder with --out" in capsys.readouterr().err
    assert there.metrics.read_text() == text


def test_the_stand_in_never_replaces_mnist(series):
    [task] = tasks_of(series.add("01_first"), dataset="rendered digits, not MNIST")
    write_whole(task.metrics, '{"dataset": "MNIST", "epochs": 1, "images": {"train": 10}}')
    with pytest.raises(InputError, match="bigger run"):
        plan.refuse_smaller(task)


def test_a_second_runner_on_the_same_folder_is_refused(series, capsys):
    series.add("01_first")
    with chain.sole_use(series.root / FULL):
        assert series.run() == 2
    assert "another run writes to" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(series, capsys):
    series.add("01_first")
    (series.root / "file").touch()
    assert series.run("--out", str(series.root / "file")) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [("--data mnist", "MNIST_DIR=/nowhere"), ("--device cuda --data rendered", "no CUDA GPU")],
)
def test_data_or_a_device_that_is_not_there_is_refused_in_one_line(series, capsys, monkeypatch, arguments, complaint):
    monkeypatch.setattr(chain, "prepare", PREPARE)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("MNIST_DIR", "/nowhere")
    assert series.add("01_first").run(*arguments.split()) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
    assert not (series.root / "outputs").exists()


def test_work_can_travel_to_another_process(series):
    [task] = tasks_of(series.add("01_first"))
    assert pickle.loads(pickle.dumps((chain.execute, task))) == (chain.execute, task)


@pytest.mark.parametrize(("number", "later"), [(signal.SIGINT, 1.5), (signal.SIGTERM, 0)])
def test_ctrl_c_ends_runner_and_kernels_at_once_and_says_how_to_go_on(series, number, later):
    series.add("01_first", "import time; time.sleep(600)").add("02_second", "while True: pass")
    script = (
        "import signal, sys; from pathlib import Path; from common import chain\n"
        "chain.prepare = lambda options: 'MNIST'\n"
        "chain.heed_signals()\n"
        "sys.exit(chain.main(['--jobs', '2'], Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", script, str(series.root)]
    runner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: len(psutil.Process(runner.pid).children()) == 2)
        kernels = psutil.Process(runner.pid).children(recursive=True)
        time.sleep(later)  # the signal comes while cells run, or while the kernels still start
        runner.send_signal(number)
        _, told = runner.communicate(timeout=60)
    finally:
        runner.kill()
    assert runner.returncode == 130
    assert told.strip() == "run_all: stopped; the same command goes on from here"
    assert not any(kernel.is_running() for kernel in kernels)
    assert not list(series.root.rglob("failed/*")), "what was stopped has not failed"


@pytest.mark.chain
@pytest.mark.skipif(not list(ROOT.glob("notebooks/*.ipynb")), reason="there are no notebooks yet")
def test_the_series_runs_from_end_to_end_on_the_stand_in(tmp_path):
    command = [sys.executable, "-m", "common.chain", "--smoke", "--data", "rendered", "--out", str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert told.returncode == 0, told.stderr
    assert "rendered digits, not MNIST" in told.stdout
    assert "rendered digits, not MNIST" in (tmp_path / "README.md").read_text()
    for notebook in sorted(ROOT.glob("notebooks/*.ipynb")):
        metrics = json.loads((tmp_path / "metrics" / notebook.stem / "seed-0.json").read_text())
        assert metrics["dataset"] == "rendered digits, not MNIST"
        assert metrics["parameters"] < 8000
        assert len(metrics["history"]) == 1
        copy = (tmp_path / notebook.name).read_text()
        assert "rendered digits, not MNIST" in copy
        assert str(ROOT) not in copy
        assert len(copy) < 2_000_000, "GitHub doesn't show larger ones"
    assert len(list(tmp_path.glob("weights/*/*"))) == 1, "the last stage's weights, for the report's page"


def wait_until(condition, seconds: float = 120) -> None:
    """Poll, within bounds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
