"""What is written into the series' notebooks from metrics: blocks, tables of choices, links."""

import json
import re
from pathlib import Path

from IPython.display import Markdown

from common import REPOSITORY, InputError, choices, report, tables
from common.files import write_whole
from common.runs import ROOT

NOTEBOOKS = ROOT / "notebooks"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
SERIES = sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def render_block(path: Path, folder: Path, run: dict) -> None:
    """Write the block of `run` into the last cell of the notebook at `path`, if there is one.

    The cell that makes the text needs no more than the metrics, so nothing is trained for it. It and all other words
    are taken from notebooks/: an executed copy may be older than their last change.
    """
    if not path.exists():
        return
    notebook, written = read_notebook(path), read_notebook(next(NOTEBOOKS.rglob(path.name)))
    words = {cell["id"]: cell["source"] for cell in written["cells"] if is_wording(cell)}
    for cell in notebook["cells"]:
        cell["source"] = words.get(cell["id"], cell["source"])
    maker, copy = block_cell(written), block_cell(notebook)
    copy["source"], copy["outputs"] = maker["source"], []  # no output, else the text would stand there twice
    notebook["cells"][-1]["source"] = block_text("".join(maker["source"]), folder, run).splitlines(keepends=True)
    write_notebook(path, notebook)


def render_choices(path: Path) -> None:
    """Write what was tried on the validation split into the cell of the notebook that is kept for it."""
    notebook = read_notebook(path)
    for cell in notebook["cells"]:
        if cell["id"] == "choices":
            cell["source"] = choices_text(path.stem).splitlines(keepends=True)
    write_notebook(path, notebook)


def choices_text(stage: str) -> str:
    """The tables of the choices that belong to a stage, and how to read them."""
    up = "../" if stage in SERIES else "../../"  # the appendix lies deeper, and so do its executed copies
    found = choices.of_stage(stage)
    if not found:
        return "## What was tried\n\nNothing that is recorded: what this stage adds is as it was first thought of."
    return "\n\n".join(
        [
            "## What was tried",
            "By runs on 50,000 training images, judged on the 10,000 others: no figure here is of the test set, though"
            f" [some of those]({up}outputs/earlier/README.md) had been seen when this was asked. Accuracy is the mean"
            " of the last five epochs, ± standard deviation over the seeds; *lowest* is the lowest of them in any seed;"
            " *swing*, from the lowest to the highest of a run's five, and their *loss* are means over the seeds. In"
            " bold what was taken; where another row is higher, these seeds don't show it to be better. Differences are"
            " taken on the seeds that both have; a row may have more."
            f" [All choices]({up}outputs/choices/README.md)",
            found,
        ]
    )


def block_text(code: str, folder: Path, run: dict) -> str:
    """What the cell tagged `block` makes of a run and the runs beside it."""
    names = {"folder": folder, "run": run, "report": report, "Markdown": Markdown}
    exec(compile(code, f"the block of {run['stage']}", "exec"), names)
    return names["block"]


def block_cell(notebook: dict) -> dict:
    """The code cell that makes the block."""
    return next(cell for cell in notebook["cells"] if "block" in cell["metadata"].get("tags", []))


def is_wording(cell: dict) -> bool:
    """Whether a cell says things and computes none; the first one holds the repository's address."""
    return cell["cell_type"] == "markdown" or cell["id"] == "setup"


def read_notebook(path: Path) -> dict:
    """A notebook whose cells have ids, as all of the series do."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if all(cell["id"] and cell["source"] is not None for cell in notebook["cells"]):
            return notebook
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise InputError(f"{path} is no notebook of this series: delete it, or run it anew")


def write_notebook(path: Path, notebook: dict) -> None:
    """The notebook as Jupyter writes it, so that a rerun changes few lines."""
    write_whole(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def point_to_repository(path: Path) -> None:
    """Write the repository's address into the notebook's first code cell, which fetches it in Colab, and its links."""
    text = path.read_text(encoding="utf-8")
    for address in (REPOSITORY, tables.COLAB):
        host = address.rsplit("/", 2)[0]
        text = re.sub(rf"{re.escape(host)}/[\w.-]+/[\w.-]+", address, text)
    notebook = json.loads(text)
    if path.stem in SERIES:
        intro = notebook["cells"][0]
        navigation, words = re.split(r"^(?=# )", "".join(intro["source"]), flags=re.M)
        strip = navigation.partition("\n\n")[0]
        intro["source"] = "\n\n".join([strip, links(path.stem), words]).splitlines(keepends=True)
    write_notebook(path, notebook)


def links(stage: str) -> str:
    """Where to go from a notebook, which may be the source or an executed copy."""
    place = SERIES.index(stage)
    before, after = SERIES[max(0, place - 1) : place], SERIES[place + 1 : place + 2]
    colab = f"{tables.COLAB}/blob/main/notebooks/{stage}.ipynb"
    return " · ".join(
        [
            *(f"[← {tables.title(name)}]({name}.ipynb)" for name in before),
            *(f"[{tables.title(name)} →]({name}.ipynb)" for name in after),
            "[Overview](../README.md)",
            f"[Source](../notebooks/{stage}.ipynb)",
            f"[Executed](../outputs/{stage}.ipynb)",
            f"[![Open in Colab]({BADGE})]({colab})",
        ]
    )
