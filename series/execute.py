"""Runs one notebook: a task in, the texts of its files out.

`python -m series.execute` reads a task, and the versions that it needs, as a line of JSON, and prints the result as
another; when its input ends, so does it.
"""

import contextlib
import fcntl
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread
from typing import Any

import psutil

from common.config import ROOT, InputError
from series.tasks import Task

PROGRESS = "SERIES_PROGRESS"  # names the file that training writes a line to after every epoch
PACKAGES = ("torch", "torchvision", "numpy", "papermill", "matplotlib", "ipykernel", "distributed")
ENOUGH = 2**21  # bytes on the disk that a run needs for itself
PREFIX = "series-run-"
LONGEST_FOLDER = 60  # characters, so that with our names the path of a socket stays below the 100 that systems allow
# One thread a kernel: small networks gain more from a second run beside them than from a second thread, and
# the last digits of a sum depend on the number of threads, so that no result may depend on `--jobs`.
THREADS = os.environ.get("OMP_NUM_THREADS", "1")
ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), THREADS),
    # Threads that wait should sleep, and leave the core to the kernel beside them.
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    # What a step frees, the next one needs again: given back to the system in between, it would come as fresh pages.
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}


@dataclass(frozen=True)
class Result:
    """What came of a task: its files, or an error and the notebook as far as it went."""

    files: dict[str, str] = field(default_factory=dict)  # the texts of "metrics", "notebook" and "weights"
    error: str = ""
    seconds: float = 0.0

    @property
    def accuracies(self) -> list[float]:
        """Test accuracies of the last five epochs."""
        return [epoch["test_accuracy"] for epoch in json.loads(self.files["metrics"])["history"][-5:]]


def execute(task: Task, root: Path = ROOT, progress: Path | None = None) -> Result:
    """Run a notebook in a folder of its own; training writes a line to `progress` after every epoch."""
    started = time.monotonic()
    try:
        with own_folder() as folder:
            files, error = attempt(task, root, folder, progress)
    except Exception as problem:  # no folder could be made
        files, error = {}, in_words(problem)
    return Result(files, in_a_line(error), time.monotonic() - started)


def attempt(task: Task, root: Path, folder: Path, progress: Path | None) -> tuple[dict[str, str], str]:
    """The files of a run that is made in `folder`, and its error."""
    if full := no_space(folder):
        return {}, full
    executed, files, error, late = folder / "executed.ipynb", {}, "", ""
    try:
        run_notebook(task, root, executed, progress)
    except Exception as problem:  # whatever it is, the other runs go on
        error = in_words(problem)
        if isinstance(problem, TimeoutError) and task.minutes:
            late = f"not finished after {task.minutes:g} minutes"
    try:
        notebook = json.loads(executed.read_text(encoding="utf-8"))
        files = {"notebook": cleaned(notebook, root)}
        error = late or error_in(notebook) or error  # papermill lets `sys.exit(0)` pass
        if not error:
            files |= written(task, folder)
    except Exception as problem:  # it may not have come so far
        error = error or in_words(problem)
    return files, error and (no_space(folder) or error)  # a kernel without room does not say so


def no_space(folder: Path) -> str:
    """An error if the disk is full, else nothing."""
    full = shutil.disk_usage(folder).free < ENOUGH
    return f"no space left in {folder.parent}: make room there, or set TMPDIR to another folder" if full else ""


def run_notebook(task: Task, root: Path, executed: Path, progress: Path | None) -> None:
    """Have papermill run the notebook; the executed copy is written, however it ends."""
    import papermill  # here, since it takes two seconds that --help should not wait for

    for name in ("papermill", "asyncio"):  # errors are in the result
        logging.getLogger(name).setLevel(logging.CRITICAL)
    notebooks, deadline = root / "notebooks", time.monotonic() + 60 * (task.minutes or 0)
    # Papermill fills in what is in braces.
    source, copy = (str(path).replace("{", "{{").replace("}", "}}") for path in (notebooks / task.notebook, executed))
    papermill.execute_notebook(
        f"{source}.ipynb",
        copy,
        parameters=task.parameters | {"seed": task.seed, "out": str(executed.parent)},
        kernel_name="python3",
        language="python",
        kernel_manager_class=kernel_class(executed.parent, {PROGRESS: str(progress)} if progress else {}),
        # Not papermill's `cwd`, which would move this whole process with all that runs in it.
        resources={"metadata": {"path": str(notebooks)}},
        timeout_func=lambda cell: max(1, round(deadline - time.monotonic())) if task.minutes else None,
        # Many kernels that start on few cores are slow to answer, which is no error.
        start_timeout=300,
        iopub_timeout=60,
        shutdown_kernel="immediate",
        progress_bar=False,
    )


def kernel_class(folder: Path, environment: dict[str, str]) -> type:
    """Kernels of this very Python, reached through sockets in `folder`.

    Ports are chosen before they are bound, so kernels that start together may collide on them; and a user's
    kernel called `python3` may belong to another Python.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        def __init__(self, **settings: Any) -> None:
            super().__init__(transport="ipc", connection_file=str(folder / "k.json"), **settings)

        @property
        def kernel_spec(self) -> KernelSpec:
            """How to start it, without the user's own IPython start-up files and history."""
            return KernelSpec(env=ENVIRONMENT | {"IPYTHONDIR": str(folder)} | environment, **get_kernel_dict())

    return OwnKernel


def written(task: Task, folder: Path) -> dict[str, str]:
    """The metrics and weights that the notebook has written, in a folder of the name that it has for itself."""
    found = {path.parts[-3]: path.read_text(encoding="utf-8") for path in folder.glob(f"*/*/seed-{task.seed}.json")}
    if "metrics" not in found:
        raise RuntimeError("the notebook ended without writing its metrics file")
    if not Result(found).accuracies:
        raise RuntimeError("the metrics file has no epochs")
    return found


def in_words(problem: Exception) -> str:
    """An error as Python shows it."""
    return f"{type(problem).__name__}: {problem}"


def in_a_line(text: str) -> str:
    """A text in one line that is not too long, and without characters that control the terminal."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:500]


def error_in(notebook: dict[str, Any]) -> str:
    """The error that a cell ended with, if any did."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return next((f"{one['ename']}: {one['evalue']}" for one in outputs[::-1] if one["output_type"] == "error"), "")


def cleaned(notebook: dict[str, Any], root: Path) -> str:
    """The text of an executed notebook, without what differs between two equal runs or two machines."""
    noise = ("papermill", "execution", "widgets")
    for part in (notebook, *notebook["cells"]):
        part["metadata"] = {key: it for key, it in part["metadata"].items() if key not in noise and it != []}
    for cell in notebook["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["id"] = "injected-parameters"
            # Without the runner's folder: a copy that somebody runs again writes to the scratch folder.
            cell["source"] = [line for line in cell["source"] if not line.startswith("out = ")]
        if "outputs" in cell:
            text = json.dumps(cell["outputs"])
            for folder, sign in ((root, "."), (Path.home(), "~")):
                if folder != Path("/"):
                    text = text.replace(json.dumps(f"{folder}/")[1:-1], f"{sign}/")
            cell["outputs"] = json.loads(text)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder for one run; removes those of killed runners, whose locks the system has released."""
    parent = short_folder()
    for path in Path(parent).glob(f"{PREFIX}*/lock"):
        with contextlib.suppress(OSError), path.open("r+") as lock:  # locked, or another user's
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_size:  # else it is about to be locked
                shutil.rmtree(path.parent, ignore_errors=True)
                if path.parent.exists():  # a kernel that outlives its runner wrote there: another time
                    path.write_text("left")
    own = tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True)
    with own as name, Path(name, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print("locked", file=lock, flush=True)
        yield Path(name)


def short_folder() -> str:
    """The folder for temporary files, or another one where its path is too long for a socket's."""
    usual = tempfile.gettempdir()
    for folder in (usual, "/tmp", "/var/tmp", "/dev/shm"):
        if len(folder) <= LONGEST_FOLDER and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise InputError(f"the path {usual} is too long for the sockets of kernels: set TMPDIR to a short one")


def kill_children() -> None:
    """End all processes that this one has started, and those that they have started."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def end_with_caller() -> None:
    """Wait until the caller closes the input, or ends; then end the kernel, and so the run."""
    sys.stdin.read()
    while True:  # again and again: a kernel may be about to start
        kill_children()
        time.sleep(0.1)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a run's numbers may depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main() -> None:
    """Run the task that is read, if the versions are the caller's; nothing but its result is printed."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked, here = json.loads(sys.stdin.readline()), versions()
    Thread(target=end_with_caller, daemon=True).start()
    other = [(name, here.get(name), theirs) for name, theirs in asked["versions"].items() if theirs != here.get(name)]
    if other:
        words = "InputError: it has {} {}, the runner {}: install the same".format(*other[0])
    result = Result(error=words) if other else execute(Task(**asked["task"]))
    print(json.dumps(asdict(result)), file=answer, flush=True)


if __name__ == "__main__":
    main()
