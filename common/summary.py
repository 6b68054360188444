"""What a folder of runs says as a whole: tables, figures, and the words of its notebooks and README."""

import math
import re
from pathlib import Path

from common import InputError, choices, notebooks, plots, smaller, speed, tables
from common.data import is_at_hand, load_digits
from common.files import write_whole
from common.notebooks import SERIES, read_notebook, render_block
from common.recipes import QUESTIONS, ROUNDING
from common.runs import MNIST, RECORDED, ROOT, TARGET, Runs, last_five, load_runs, size

ALWAYS_WRONG = "always-wrong.png"


def summarise(folder: Path) -> str:
    """Write tables, figures and blocks of `folder`; returns a table for the terminal.

    With the recorded results go the table in the repository's README and the blocks in notebooks/.
    """
    results = read_results(folder)
    recorded = folder.resolve() == RECORDED
    for runs in results if recorded else []:
        notebooks.point_to_repository(notebooks.NOTEBOOKS / f"{runs.stage}.ipynb")
        notebooks.render_choices(notebooks.NOTEBOOKS / f"{runs.stage}.ipynb")
    for runs in results:
        render_block(folder / f"{runs.stage}.ipynb", folder, runs[0])
    draw(folder, results)
    write_whole(folder / "README.md", overview(results, recorded))
    if recorded:
        for runs in results:
            render_block(notebooks.NOTEBOOKS / f"{runs.stage}.ipynb", folder, runs[0])
        fill_readme(ROOT / "README.md", folder, results)
    return tables.terminal(results)


def read_results(folder: Path) -> list[Runs]:
    """The stages of `folder` that have runs, with those alike: the same data, as many epochs and images."""
    everything = [run for stage in SERIES for run in load_runs(folder, stage)]
    if not everything:
        raise InputError(f"{folder} holds no runs of the series: make some first, by ./run_all.sh")
    largest = max(everything, key=size)
    return [runs for stage in SERIES if (runs := load_runs(folder, stage, largest))]


def draw(folder: Path, results: list[Runs]) -> None:
    """The figures over all stages."""
    dataset = results[0][0]["dataset"]
    accuracies = {runs.stage: [last_five(run) for run in runs] for runs in results}
    plots.save(plots.stage_spread(accuracies, dataset), folder / "figures" / "spread.png")
    histories = {runs.stage: [run["history"] for run in runs] for runs in results}
    plots.save(plots.stage_curves(histories, dataset), folder / "figures" / "curves.png")
    if len(results[-1]) > 1 and dataset == MNIST and is_at_hand():
        images, labels = load_digits("mnist", results[-1][0]["split"]).test
        wrong = [(index, int(labels[index]), guesses) for index, guesses in tables.always_wrong(results[-1]).items()]
        figure = plots.always_wrong(images, wrong, len(results[-1]), dataset)
        plots.save(figure, folder / "figures" / ALWAYS_WRONG)


def overview(results: list[Runs], recorded: bool = False) -> str:
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
            f" ({words}). Run on {run['device']}; {versions}. Training took {span(results)} seconds a run. "
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
            *([*smaller.told(results[-1], "../"), ""] if recorded else []),
            "A figure of several seeds is their mean ± standard deviation. The intervals tell what other seeds would do"
            f" on these images, not what other images would: of {results[-1].last_five:.2f} % on"
            f" {run['images']['test']:,} images, the standard error is {sampling_error(results[-1]):.2f} points from"
            " that alone. *Clean* train accuracy is measured in eval mode, on the images as they are. One JSON file a"
            " run: `metrics/<stage>/seed-<k>.json`.",
            "",
        ]
    )


def span(results: list[Runs]) -> str:
    """The seconds that the quickest run and the slowest one trained."""
    seconds = [round(sum(row["seconds"] for row in run["history"])) for runs in results for run in runs]
    return " to ".join(map(str, sorted({min(seconds), max(seconds)})))


def sampling_error(runs: Runs) -> float:
    """How far the accuracy on so few images may lie from that on all there could be: a standard error, in points."""
    wrong = 1 - runs.last_five / 100
    return 100 * math.sqrt(wrong * (1 - wrong) / runs[0]["images"]["test"])


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
        "smaller": smaller.told(results[-1]),
        "field": field_table(folder / f"{results[-1].stage}.ipynb"),
        "loss": tables.loss(results),
        "errors": tables.errors(results, folder / "figures" / ALWAYS_WRONG),
        "speed": [*speed.section(folder / "benchmark.json"), *rounding()],
    }


def rounding() -> list[str]:
    """What the speed-ups that change the last digits of a run do to its accuracy."""
    question = next(question for question in QUESTIONS if question.text == ROUNDING)
    lines = choices.differences(choices.tried(question.stage, question.text), question.taken)
    if lines:
        words = (
            "Two settings make steps faster and round otherwise: a layout with channels last, and SGD's step in one"
            " kernel for all weights (fused). What that is worth in accuracy, on images held out of the training set:"
        )
        lines = ["", words, *lines]
    return lines


def fill(path: Path, parts: dict[str, list[str]], writer: str = "run_all.sh") -> None:
    """Write lines between the marks that a page has for them."""
    write_whole(path, filled(path.read_text(encoding="utf-8"), parts, writer))


def filled(text: str, parts: dict[str, list[str]], writer: str = "run_all.sh") -> str:
    """A page's text with other lines between its marks, which name what writes them."""
    for name, lines in parts.items():
        start, end = f"<!-- {name}: written by {writer} -->", f"<!-- end of {name} -->"
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
