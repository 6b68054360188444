"""One notebook: a task in, files out, whatever happens in between."""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from fake_series import WRITE_METRICS, WRITE_WEIGHTS, Series, has_ended, kill, wait_until

from series.dask_pool import archive
from series.execute import PREFIX, Result, execute, own_folder
from series.tasks import Task

TELL = """
import os, sys
from ipykernel import get_connection_file
facts = {
    "python": sys.executable, "folder": os.getcwd(), "threads": os.environ["OMP_NUM_THREADS"], "pid": os.getpid(),
    "transport": json.loads(Path(get_connection_file()).read_text())["transport"],
    "progress": os.environ["SERIES_PROGRESS"],
}
file.write_text(json.dumps(run | facts))
"""
FAULTS = {  # by stage, what it does and how the line begins that says so
    "01_exits": (WRITE_METRICS + "import sys; sys.exit(0)", "SystemExit: 0"),
    "02_silent": ("pass", "RuntimeError: the notebook ended without writing its metrics file"),
    "03_is_killed_for_memory": ("import os; os.kill(os.getpid(), 9)", "DeadKernelError: Kernel died"),
    "04_steers_the_terminal": (r"raise ValueError('\x1b[31mred\x07 <b>\r\nnext')", "ValueError: [31mred <b> next"),
    "05_writes_nonsense": (WRITE_METRICS + "file.write_text('{')", "JSONDecodeError:"),
    "06_has_no_epochs": (
        WRITE_METRICS + "file.write_text('{\"history\": []}')",
        "RuntimeError: the metrics file has no epochs",
    ),
    "07_is_stopped": ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "not finished after 0.1 minutes"),
    "08_hangs_and_ignores_interrupts": (
        "import time\nwhile True:\n    try: time.sleep(600)\n    except BaseException: pass",
        "not finished after 0.1 minutes",
    ),
}


def task(name: str = "01_first", minutes: float | None = None) -> Task:
    """A run of a notebook."""
    return Task(name, 3, {"epochs": 2, "rule": "a {b}"}, name, minutes)


def test_a_run_has_a_kernel_of_its_own_and_leaves_its_files(series, tmp_path):
    series.add(
        "01_first",
        WRITE_METRICS
        + WRITE_WEIGHTS
        + TELL.replace("file.write", "Path(out, 'metrics', stage, f'seed-{seed}.json').write"),
    )
    result = execute(task(), series.root, tmp_path / "progress.jsonl")
    assert result.error == "" and result.seconds > 0 and len(result.accuracies) == 2
    assert result.files.keys() == {"metrics", "notebook", "weights"} and result.files["weights"] == "[]"
    facts = json.loads(result.files["metrics"])
    assert facts["transport"] == "ipc", "ports are what kernels that start together collide on"
    assert facts["python"] == sys.executable and facts["pid"] != os.getpid()
    assert facts["folder"] == str(series.root / "notebooks")
    assert facts["threads"] == os.environ.get("OMP_NUM_THREADS", "1")
    assert facts["progress"] == str(tmp_path / "progress.jsonl")

    notebook = json.loads(result.files["notebook"])
    assert [cell["id"] for cell in notebook["cells"]] == ["setup", "parameters", "injected-parameters", "name", "code"]
    assert notebook["cells"][2]["source"] == ["# Parameters\n", "epochs = 2\n", 'rule = "a {b}"\n', "seed = 3\n"]
    assert notebook["cells"][4]["outputs"][0]["text"] == ["written by ~/code.py\n"]
    for noise in ("papermill", "iopub", str(series.root), str(Path.home()), PREFIX):
        assert noise not in result.files["notebook"]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """What came of notebooks that fail in many ways, two at a time."""
    series = Series(tmp_path_factory.mktemp("faults") / "series")
    for stage, (code, _) in FAULTS.items():
        series.add(stage, code)
    tasks = [task(stage, 0.1 if "0.1" in words else None) for stage, (_, words) in FAULTS.items()]
    before = set(psutil.Process().children(recursive=True))  # of tests that came before
    with ThreadPoolExecutor(4) as executor:
        results = list(executor.map(lambda task: execute(task, series.root), tasks))
    assert set(psutil.Process().children(recursive=True)) <= before, "no kernel is left"
    return dict(zip(FAULTS, results, strict=True))


@pytest.mark.parametrize("stage", FAULTS)
def test_a_failed_run_says_why_in_a_line_and_is_kept_as_far_as_it_went(faults, stage):
    result = faults[stage]
    assert result.error.startswith(FAULTS[stage][1]) and result.error.isprintable()
    assert result.files.keys() == {"notebook"}, "what a failed run wrote is no result"
    cells = {cell["id"]: cell for cell in json.loads(result.files["notebook"])["cells"]}
    assert cells["name"]["execution_count"] == 3


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch):
    """A way to have another folder for temporary files."""

    def set_folder(path: Path) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(path))

    return set_folder


def test_a_folder_for_temporary_files_may_have_a_long_path(series, tmp_path, temporary):
    folder = tmp_path / "as_batch_systems_give_it" / ("x" * 100)
    folder.mkdir(parents=True)
    temporary(folder)
    assert execute(task(), series.add("01_first").root).error == ""
    assert not list(folder.iterdir())


def test_a_full_disk_for_temporary_files_is_said_to_be_full(series, tmp_path, temporary):
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("no small disk can be made here")
    try:
        temporary(folder)
        result = execute(task(), series.add("01_first").root)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()
    assert result.error == f"no space left in {folder}: make room there, or set TMPDIR to another folder"


def test_what_a_killed_runner_left_is_removed_and_nothing_that_is_in_use(temporary):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        temporary(folder)
        for name, content in ((f"{PREFIX}killed", "locked"), (f"{PREFIX}begins", ""), ("other", "locked")):
            (folder / name).mkdir()
            (folder / name / "lock").write_text(content)
        with own_folder() as used, own_folder() as other:
            assert {path.name for path in folder.iterdir()} == {used.name, other.name, f"{PREFIX}begins", "other"}
        assert {path.name for path in folder.iterdir()} == {f"{PREFIX}begins", "other"}


# As a process of its own


@pytest.fixture
def start(series, tmp_path):
    """A way to run `python -m series.execute` where a worker of a cluster does: in what travels to it."""

    def start(**asked: str) -> subprocess.Popen:
        zipfile.ZipFile(io.BytesIO(archive(series.root))).extractall(tmp_path / "worker")
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-m", "series.execute"]
        process = subprocess.Popen(command, cwd=tmp_path / "worker", text=True, **pipes)
        print(json.dumps({"task": vars(task()), "versions": asked}), file=process.stdin, flush=True)
        return process

    return start


def test_a_task_as_a_line_of_json_gives_its_result_as_another(series, start):
    series.add("01_first", WRITE_METRICS + "import os; os.write(1, b'from the kernel')")
    process = start()
    [line] = process.stdout.readlines()
    result, here = Result(**json.loads(line)), execute(task(), series.root)
    assert result.files["metrics"] == here.files["metrics"] and result.error == ""
    process.communicate()
    assert process.returncode == 0

    [line] = start(papermill="1.2.3").stdout.readlines()
    assert json.loads(line)["error"].startswith("InputError: it has papermill ")


@pytest.mark.parametrize("caller", ["closes the input", "is killed"])
def test_a_run_ends_with_its_caller_and_its_kernel_too(series, start, tmp_path, caller):
    marker = tmp_path / "marker"
    series.add("01_first", f"import time; open({str(marker)!r}, 'w'); time.sleep(600)")
    process = start()
    wait_until(marker.exists)
    kernels = psutil.Process(process.pid).children(recursive=True)
    assert kernels
    if caller == "is killed":
        kill(process)
    else:
        process.stdin.close()
        process.wait(60)
    wait_until(lambda: all(map(has_ended, kernels)))
