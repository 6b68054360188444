"""Runs one notebook, and takes what it leaves: a task in, files out.

`python -m series.execute` reads a task, and the versions that it takes, as a line of JSON, and prints the result as
another; when its input ends, so does it.
"""

import contextlib
import json
import logging
import os
import platform
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread
from typing import Any

from common.config import ROOT
from series.kernel import kernel_class, kill_children, own_folder
from series.tasks import Task

PROGRESS = "SERIES_PROGRESS"  # names the file that training writes a line to after every epoch
PACKAGES = ("torch", "torchvision", "numpy", "papermill", "matplotlib", "ipykernel", "distributed")
ENOUGH = 2**21  # bytes on the disk that a run needs for itself


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
    """Run a notebook in a folder of its own; `progress` names the file that it is to tell of its epochs in."""
    started = time.monotonic()
    environment = {PROGRESS: str(progress)} if progress else {}
    try:
        with own_folder() as folder:
            files, error = attempt(task, root, folder, environment)
    except Exception as problem:  # no folder could be made
        files, error = {}, f"{type(problem).__name__}: {problem}"
    return Result(files, in_a_line(error), time.monotonic() - started)


def attempt(task: Task, root: Path, folder: Path, environment: dict[str, str]) -> tuple[dict[str, str], str]:
    """The files of a run that is made in `folder`, and its error."""
    executed = folder / "executed.ipynb"
    if full := no_space(folder):
        return {}, full
    try:
        run_notebook(task, root, executed, environment)
        notebook = json.loads(executed.read_text(encoding="utf-8"))
        if error_in(notebook):
            raise RuntimeError("stopped early")  # papermill lets `sys.exit(0)` pass
        result = Result(written(task, folder) | {"notebook": cleaned(notebook, root)})
        if not result.accuracies:
            raise RuntimeError("the metrics file has no epochs")
        return result.files, ""
    except Exception as problem:  # whatever it is, the other runs go on
        files, reason = {}, f"{type(problem).__name__}: {problem}"
        with contextlib.suppress(OSError, ValueError):  # it may not have come so far
            notebook = json.loads(executed.read_text(encoding="utf-8"))
            files, reason = {"notebook": cleaned(notebook, root)}, error_in(notebook) or reason
        if isinstance(problem, TimeoutError) and task.minutes:
            reason = f"not finished after {task.minutes:g} minutes"
        return files, no_space(folder) or reason  # what a kernel does not say that finds no room


def no_space(folder: Path) -> str:
    """Says that the disk is full; nothing, if it isn't."""
    full = shutil.disk_usage(folder).free < ENOUGH
    return f"no space left in {folder.parent}: make room there, or set TMPDIR to another folder" if full else ""


def run_notebook(task: Task, root: Path, executed: Path, environment: dict[str, str]) -> None:
    """Hand the notebook to papermill; the executed copy is written, however it ends."""
    import papermill  # here, since it takes two seconds that --help should not wait for

    for name in ("papermill", "asyncio"):  # what goes wrong is told in the result
        logging.getLogger(name).setLevel(logging.CRITICAL)
    notebooks, deadline = root / "notebooks", time.monotonic() + 60 * (task.minutes or 0)
    papermill.execute_notebook(
        literal(notebooks / f"{task.notebook}.ipynb"),
        literal(executed),
        parameters=task.parameters | {"seed": task.seed, "out": str(executed.parent)},
        kernel_name="python3",
        language="python",
        kernel_manager_class=kernel_class(executed.parent, environment),
        # Not papermill's `cwd`, which would move this whole process with all that runs in it.
        resources={"metadata": {"path": str(notebooks)}},
        timeout_func=lambda cell: max(1, round(deadline - time.monotonic())) if task.minutes else None,
        # Many kernels that start on few cores are slow to answer, which is no error.
        start_timeout=300,
        iopub_timeout=60,
        shutdown_kernel="immediate",
        progress_bar=False,
    )


def literal(path: Path) -> str:
    """A path for papermill, which fills in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def written(task: Task, folder: Path) -> dict[str, str]:
    """What the notebook has written, under the name that it has for itself."""
    paths = {kind: sorted(folder.glob(f"{kind}/*/seed-{task.seed}.json")) for kind in ("metrics", "weights")}
    if not paths["metrics"]:
        raise RuntimeError("the notebook ended without writing its metrics file")
    return {kind: found[0].read_text(encoding="utf-8") for kind, found in paths.items() if found}


def in_a_line(text: str) -> str:
    """A text as a terminal may show it: one line, not too long, and nothing that steers the terminal."""
    text = " ".join(text.split())
    return "".join(letter for letter in text if letter.isprintable())[:500]


def error_in(notebook: dict[str, Any]) -> str:
    """The error that a cell ended with, if any did."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    errors = [output for output in outputs if output["output_type"] == "error"]
    return f"{errors[-1]['ename']}: {errors[-1]['evalue']}" if errors else ""


def cleaned(notebook: dict[str, Any], root: Path) -> str:
    """The text of an executed notebook, without what two equal runs or two machines differ in."""
    noise = ("papermill", "execution", "widgets")
    for part in (notebook, *notebook["cells"]):
        kept = {key: value for key, value in part["metadata"].items() if key not in noise}
        part["metadata"] = {key: value for key, value in kept.items() if value != []}
    for cell in notebook["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["id"] = "injected-parameters"
            # Without the runner's folder: a copy that somebody runs again writes to the scratch folder.
            cell["source"] = [line for line in cell["source"] if not line.startswith("out = ")]
        if "outputs" in cell:
            cell["outputs"] = json.loads(without_places(json.dumps(cell["outputs"]), root))
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def without_places(text: str, root: Path) -> str:
    """JSON text whose paths begin at the repository or at the home folder."""
    for place, sign in ((root, "."), (Path.home(), "~")):
        if place != Path("/"):
            text = text.replace(json.dumps(f"{place}/")[1:-1], f"{sign}/")
    return text


def end_with_caller() -> None:
    """Wait for the end of the input, which comes with that of the caller; then end the kernel, and so the run."""
    sys.stdin.read()
    while True:  # again and again: a kernel may be about to start
        kill_children()
        time.sleep(0.1)


def versions() -> dict[str, str]:
    """Of Python, and of what a run's numbers may depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main() -> None:
    """Run the task that stands in the input, if the versions are the caller's; only its result reaches the output."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked, here = json.loads(sys.stdin.readline()), versions()
    Thread(target=end_with_caller, daemon=True).start()
    result = Result()
    for name, other in asked["versions"].items():
        if here.get(name) != other:
            result = Result(error=f"InputError: it has {name} {here.get(name)}, the runner {other}: install the same")
    result = result if result.error else execute(Task(**asked["task"]))
    print(json.dumps(asdict(result)), file=answer, flush=True)


if __name__ == "__main__":
    main()
