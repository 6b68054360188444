"""What a folder of runs says as a whole: tables, figures, and the blocks at the end of its notebooks."""

import json
import re
from pathlib import Path

from IPython.display import Markdown

from common import REPOSITORY, InputError, choices, plots, report, speed, tables
from common.data import CACHE, load_digits
from common.files import write_whole
from common.mnist import is_at_hand
from common.runs import MNIST, RECORDED, ROOT, TARGET, Runs, last_five, load_runs, size

NOTEBOOKS = ROOT / "notebooks"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
ALWAYS_WRONG = "always-wrong.png"
SERIES = sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def summarise(folder: Path) -> str:
    """Write tables, figures and blocks of `folder`; returns a table for the terminal.

    With the recorded results go the table in the repository's README and the blocks in notebooks/.
    """
    results = read_results(folder)
    recorded = folder.resolve() == RECORDED
    for runs in results if recorded else []:
        point_to_repository(NOTEBOOKS / f"{runs.stage}.ipynb")
        render_choices(NOTEBOOKS / f"{runs.stage}.ipynb")
    for runs in results:
        render_block(folder / f"{runs.stage}.ipynb", folder, runs[0])
    draw(folder, results)
    write_whole(folder / "README.md", overview(results))
    if recorded:
        for runs in results:
            render_block(NOTEBOOKS / f"{runs.stage}.ipynb", folder, runs[0])
        fill_readme(ROOT / "README.md", folder, results)
    return tables.terminal(results)


def read_results(folder: Path) -> list[Runs]:
    """The stages of `folder` that have runs, with those alike: the same data, as many epochs and images."""
    everything = [run for stage in SERIES for run in load_runs(folder, stage)]
    if not everything:
        raise InputError(f"{folder} holds no runs of the series: make some first, by ./run_all.sh")
    largest = max(everything, key=size)
    return [runs for stage in SERIES if (runs := load_runs(folder, stage, largest))]


def render_block(path: Path, folder: Path, run: dict) -> None:
    """Write the block of `run` into the last cell of the notebook at `path`, if there is one.

    The cell that makes the text needs no more than the metrics, so nothing is trained for it. It and all other words
    are taken from notebooks/: an executed copy may be older than their last change.
    """
    if not path.exists():
        return
    notebook, written = read_notebook(path), read_notebook(NOTEBOOKS / path.name)
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
    return "\n\n".join(
        [
            "## What was tried",
            "By runs on 50,000 training images, judged on the 10,000 others; the test set has no part in it."
            " Accuracy is the mean of the last five epochs, ± standard deviation over the seeds; *swing* is from the"
            " lowest to the highest of the five. In bold what was taken. [All choices](../outputs/choices/README.md)",
            choices.of_stage(stage) or "No run of it is recorded yet.",
        ]
    )


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


def is_wording(cell: dict) -> bool:
    """Whether a cell says things and computes none; the first one holds the repository's address."""
    return cell["cell_type"] == "markdown" or cell["id"] == "setup"


def block_cell(notebook: dict) -> dict:
    """The code cell that makes the block."""
    return next(cell for cell in notebook["cells"] if "block" in cell["metadata"].get("tags", []))


def block_text(code: str, folder: Path, run: dict) -> str:
    """What the cell tagged `block` makes of a run and the runs beside it."""
    names = {"folder": folder, "run": run, "report": report, "Markdown": Markdown}
    exec(compile(code, f"the block of {run['stage']}", "exec"), names)
    return names["block"]


def draw(folder: Path, results: list[Runs]) -> None:
    """The figures over all stages."""
    dataset = results[0][0]["dataset"]
    accuracies = {runs.stage: [last_five(run) for run in runs] for runs in results}
    plots.save(plots.stage_spread(accuracies, dataset), folder / "figures" / "spread.png")
    histories = {runs.stage: [run["history"] for run in runs] for runs in results}
    plots.save(plots.stage_curves(histories, dataset), folder / "figures" / "curves.png")
    if len(results[-1]) > 1 and dataset == MNIST and is_at_hand(CACHE):
        images, labels = load_digits("mnist", results[-1][0]["split"]).test
        wrong = [(index, int(labels[index]), guesses) for index, guesses in tables.always_wrong(results[-1]).items()]
        figure = plots.always_wrong(images, wrong, len(results[-1]), dataset)
        plots.save(figure, folder / "figures" / ALWAYS_WRONG)


def overview(results: list[Runs]) -> str:
    """The README of a folder of results."""
    run = results[0][0]
    real = run["dataset"] == MNIST
    words = "test set" if run["split"] == "test" else "10,000 images held out of the training set"
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return "\n".join(
        [
            f"# Results on {run['dataset']}",
            "",
            f"{run['epochs']} epochs on {run['images']['train']:,} images, accuracy on {run['images']['test']:,}"
            f" ({words}). Run on {run['device']}; {versions}. "
            + (f"The target is {TARGET} % in each of the last five epochs." if real else not_applicable(run)),
            "",
            *tables.evidence(results),
            "",
            "![Mean of the last five epochs of every seed, by stage](figures/spread.png)",
            "",
            *tables.steps(results),
            "",
            "![Test accuracy by epoch, a panel a stage](figures/curves.png)",
            "",
            "A figure of several seeds is their mean ± standard deviation. *Clean* train accuracy is measured in eval"
            " mode, on the images as they are. One JSON file a run: `metrics/<stage>/seed-<k>.json`.",
            "",
        ]
    )


def not_applicable(run: dict) -> str:
    """Why the target means nothing here."""
    return f"These are {run['dataset']}: the target of {TARGET} % is not applicable."


def fill_readme(path: Path, folder: Path, results: list[Runs]) -> None:
    """Write the figures of `results` into the README at `path`."""
    fill(path, readme_parts(folder, results))


def readme_parts(folder: Path, results: list[Runs]) -> dict[str, list[str]]:
    """The lines that stand between marks in the README: all of its figures."""
    return {
        "results": tables.series(results),
        "field": field_table(folder / f"{results[-1].stage}.ipynb"),
        "loss": tables.loss(results),
        "errors": tables.errors(results, folder / "figures" / ALWAYS_WRONG),
        "speed": speed.section(folder / "benchmark.json"),
    }


def fill(path: Path, parts: dict[str, list[str]]) -> None:
    """Write lines between the marks that a page has for them."""
    write_whole(path, filled(path.read_text(encoding="utf-8"), parts))


def filled(text: str, parts: dict[str, list[str]]) -> str:
    """A page's text with other lines between its marks."""
    for name, lines in parts.items():
        start, end = f"<!-- {name}: written by run_all.sh -->", f"<!-- end of {name} -->"
        before, rest = text.split(start)
        text = "\n\n".join([before + start, "\n".join(lines), end + rest.split(end)[1]])
    return text


def field_table(path: Path) -> list[str]:
    """The receptive-field table as the executed notebook shows it; that may be anybody's, so plain text only."""
    outputs = next((cell["outputs"] for cell in read_notebook(path)["cells"] if cell["id"] == "shape"), [])
    lines = ["".join(output["data"]["text/markdown"]) for output in outputs if "data" in output]
    if re.search(r"[<>\[\]!&]", "".join(lines)):
        raise InputError(f"{path}: its table of receptive fields holds markup: run the notebook anew")
    return lines


def point_to_repository(path: Path) -> None:
    """Write the repository's address into the notebook's first code cell, which fetches it in Colab, and its links."""
    notebook = json.loads(re.sub(r"https://github\.com/[\w.-]+/[\w.-]+", REPOSITORY, path.read_text(encoding="utf-8")))
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
