"""What a worker of a cluster starts: `python -m common.remote FOLDER` answers the request in the folder."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any

from common import InputError
from common.appendix import SystemTask
from common.execution import RESULTS, Task, execute
from common.points import Point

KINDS = {kind.__name__: kind for kind in (Task, SystemTask, Point)}


def main(folder: Path) -> None:
    """Do what is asked, and write the answer whole, so that it is there or not."""
    Thread(target=end_with_caller, daemon=True).start()
    request = json.loads((folder / "request.json").read_text())
    answer = verify(request["verify"]) if "verify" in request else carry_out(request["task"], folder)
    (folder / "answer").write_text(json.dumps(answer))
    (folder / "answer").replace(folder / "answer.json")


def end_with_caller() -> None:
    """Wait for the end of the input, which comes with that of whoever started this; the kernels end with us."""
    sys.stdin.buffer.read()
    os._exit(1)


def verify(data: str) -> dict[str, Any]:
    """Have the data set read, verified and cached."""
    from common.data import prepare  # here, since it takes seconds that no run should wait for twice

    try:
        prepare(data)
    except InputError as problem:
        return {"error": str(problem)}
    return {"error": ""}


def carry_out(described: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a task: how it ended, and the texts that it left."""
    task = unpacked(described, Path.cwd(), folder / "results")
    outcome = execute(task)
    paths = {name: getattr(task, name) for name in RESULTS}
    return {
        "error": outcome.error,
        "seconds": outcome.seconds,
        "accuracies": outcome.accuracies,
        "files": {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.exists()},
    }


def packed(task: Task) -> dict[str, Any]:
    """A task as it travels: what to run, without places, and without what only decides whether to run it."""
    values = {field: value for field, value in asdict(task).items() if field not in ("folder", "identity")}
    return values | {"kind": type(task).__name__, "notebook": str(task.notebook.relative_to(task.root))}


def unpacked(described: dict[str, Any], root: Path, folder: Path) -> Task:
    """A task that has travelled, in places of this machine."""
    values = {name: value for name, value in described.items() if name != "kind"}
    return KINDS[described["kind"]](
        **values | {"notebook": root / values["notebook"], "folder": folder, "identity": {}}
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
