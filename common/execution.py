"""One piece of work: one notebook, run by papermill with one set of parameters."""

import contextlib
import json
import logging
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.files import write_whole

# What a run leaves, by the names that the paths have in Task, in the order in which it is put in place.
RESULTS = "failed_copy", "copy", "weights", "metrics"


@dataclass(frozen=True)
class Task:
    """What to run and where it goes; picklable, so that an executor can take it to another process."""

    notebook: Path
    seed: int
    parameters: dict[str, Any]
    identity: dict[str, Any]  # all that shapes the result: what has the same need not be run again
    folder: Path
    keep_copy: bool  # and the weights, of one seed a stage; those of all seeds would only fill the disk
    minutes: float | None

    @property
    def stage(self) -> str:
        return self.notebook.stem

    @property
    def name(self) -> str:
        return f"{self.stage}-seed-{self.seed}"

    @property
    def title(self) -> str:
        return f"{self.stage}, seed {self.seed}"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics" / self.stage / f"seed-{self.seed}.json"

    @property
    def copy(self) -> Path:
        return self.folder / self.notebook.name

    @property
    def weights(self) -> Path:
        return self.folder / "weights" / self.stage / f"seed-{self.seed}.json"

    @property
    def failed_copy(self) -> Path:
        return self.folder / "failed" / f"{self.name}.ipynb"

    @property
    def failed_record(self) -> Path:
        return self.failed_copy.with_suffix(".json")

    @property
    def stamp(self) -> Path:
        return self.folder / ".done" / f"{self.name}.json"

    @property
    def written(self) -> Path:
        """The metrics file as the notebook writes it."""
        return self.workplace / "metrics" / self.stage / f"seed-{self.seed}.json"

    @property
    def written_weights(self) -> Path:
        """And its weights, if it writes them."""
        return self.workplace / "weights" / self.stage / f"seed-{self.seed}.json"

    @property
    def root(self) -> Path:
        """Of the repository that the notebook belongs to."""
        return next(place for place in self.notebook.parents if place.name == "notebooks").parent

    @property
    def workplace(self) -> Path:
        # Of this runner alone: the kernels of one that was killed may go on writing for a moment.
        return self.folder / ".running" / f"{self.name}-{os.getpid()}"

    @property
    def executed(self) -> Path:
        return self.workplace / self.notebook.name


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with the test accuracies of its last five epochs, or with an error."""

    task: Task
    seconds: float
    accuracies: list[float]
    error: str


def is_done(task: Task) -> bool:
    """Whether the very same run has been finished before."""
    there = task.stamp.exists() and task.metrics.exists() and (task.copy.exists() or not task.keep_copy)
    return there and task.stamp.read_bytes() == stamp(task).encode()


def stamp(task: Task) -> str:
    """The text that marks a run as finished."""
    return json.dumps(task.identity, indent=1, sort_keys=True)


def execute(task: Task) -> Outcome:
    """Run a notebook in a folder of its own; only what goes well to its end reaches the results."""
    started = time.monotonic()
    try:
        task.workplace.mkdir(parents=True)
        task.stamp.unlink(missing_ok=True)
        forget_failure(task)
        run_notebook(task)
        accuracies, error = deliver(task), ""
    except Exception as problem:  # whatever it is, the other runs go on
        accuracies, error = [], explain(task, problem)
    shutil.rmtree(task.workplace, ignore_errors=True)
    return Outcome(task, time.monotonic() - started, accuracies, error)


def receive(task: Task, outcome: Outcome, files: dict[str, str]) -> Outcome:
    """Put in place what came of a task elsewhere: `files` are the texts of its RESULTS."""
    try:
        forget_failure(task)
        for name in filter(files.__contains__, RESULTS):
            write_whole(getattr(task, name), files[name])
        if outcome.error:
            keep_on_record(task, outcome.error)
        else:
            write_whole(task.stamp, stamp(task))
    except OSError as problem:
        return replace(outcome, accuracies=[], error=in_a_line(f"{type(problem).__name__}: {problem}"))
    return outcome


def run_notebook(task: Task) -> None:
    """Hand the notebook to papermill; the executed copy lies in the workplace, however it ends."""
    import papermill  # here, since it takes two seconds that --help should not wait for

    from common.kernel import OwnKernel

    for name in ("papermill", "asyncio"):  # what goes wrong is for `explain` to say
        logging.getLogger(name).setLevel(logging.CRITICAL)
    deadline = time.monotonic() + 60 * (task.minutes or 0)
    papermill.execute_notebook(
        literal(task.notebook),
        literal(task.executed),
        parameters=task.parameters | {"out": str(task.workplace)},
        kernel_name="python3",
        language="python",
        kernel_manager_class=OwnKernel,
        # Not papermill's `cwd`, which would move this whole process with all that runs in it.
        resources={"metadata": {"path": str(task.notebook.parent)}},
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


def deliver(task: Task) -> list[float]:
    """Put a run's results in their places, the stamp last: what is stopped before it counts as not run."""
    notebook = json.loads(task.executed.read_text(encoding="utf-8"))
    if error_in(notebook):
        raise RuntimeError("stopped early")  # papermill lets `sys.exit(0)` pass
    if not task.written.exists():
        raise RuntimeError("the notebook ended without writing its metrics file")
    metrics = task.written.read_text(encoding="utf-8")
    accuracies = [epoch["test_accuracy"] for epoch in json.loads(metrics)["history"][-5:]]
    if task.keep_copy:
        write_whole(task.copy, cleaned(notebook, task.root))
        if task.written_weights.exists():
            write_whole(task.weights, task.written_weights.read_text(encoding="utf-8"))
    write_whole(task.metrics, metrics)
    write_whole(task.stamp, stamp(task))
    return accuracies


def explain(task: Task, problem: Exception) -> str:
    """Why a run failed, in a line; that is kept on record, and the notebook as far as it went."""
    reason = f"{type(problem).__name__}: {problem}"
    with contextlib.suppress(OSError, ValueError):  # a full disk must not hide the reason
        notebook = json.loads(task.executed.read_text(encoding="utf-8"))
        reason = error_in(notebook) or reason
        write_whole(task.failed_copy, cleaned(notebook, task.root))
    if isinstance(problem, TimeoutError) and task.minutes:
        reason = f"not finished after {task.minutes:g} minutes"
    reason = in_a_line(reason)
    with contextlib.suppress(OSError):
        keep_on_record(task, reason)
    return reason


def keep_on_record(task: Task, reason: str) -> None:
    """Write down that a run failed, and why."""
    record = {"stage": task.stage, "seed": task.seed, "error": reason} | task.identity
    write_whole(task.failed_record, json.dumps(record, indent=1) + "\n")


def forget_failure(task: Task) -> None:
    """Remove what is kept of a failed run, which is no longer what there is to say of it."""
    for path in (task.failed_copy, task.failed_record):
        path.unlink(missing_ok=True)


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
