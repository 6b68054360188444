"""What a folder of runs says as a whole: tables, figures, and the blocks at the end of its notebooks."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

from IPython.display import Markdown

from common import REPOSITORY, InputError, plots, report
from common.report import MNIST, RECORDED, ROOT, TARGET, Runs

NOTEBOOKS = ROOT / "notebooks"
SERIES = sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
# What a stage adds, and every later one keeps: the columns of the table that the series answers.
ADDED = ("Batch normalization", "Dropout", "FC layer", "Image augmentation", "LR scheduler")
COLAB = REPOSITORY.replace("github.com", "colab.research.google.com/github")
# Student's t at 97.5 %, from 1 to 20 degrees of freedom.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
T += (2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)


def summarise(folder: Path) -> str:
    """Write tables, figures and blocks of `folder`; returns a table for the terminal.

    With the recorded results go the table in the repository's README and the blocks in notebooks/.
    """
    results = read_results(folder)
    for runs in results:
        render_block(folder / f"{runs.stage}.ipynb", folder, runs[0])
    draw(folder, results)
    report.write_text(folder / "README.md", overview(results))
    if folder.resolve() == RECORDED:
        for runs in results:
            source = NOTEBOOKS / f"{runs.stage}.ipynb"
            point_to_repository(source)
            render_block(source, folder, runs[0])
        fill_readme(ROOT / "README.md", folder, results)
    return terminal_table(results)


def read_results(folder: Path) -> list[Runs]:
    """The stages of `folder` that have runs, with those alike: the same data, as many epochs and images."""
    everything = [run for stage in SERIES for run in report.load_runs(folder, stage)]
    if not everything:
        raise InputError(f"{folder} holds no runs of the series: make some first, by ./run_all.sh")
    largest = max(everything, key=report.size)
    return [runs for stage in SERIES if (runs := report.load_runs(folder, stage, largest))]


def render_block(path: Path, folder: Path, run: dict) -> None:
    """Write the block of `run` into the last cell of the notebook at `path`, if there is one.

    The cell that makes the text needs no more than the metrics, so nothing is trained for it. It and all other words
    are taken from notebooks/: an executed copy may be older than their last change.
    """
    if not path.exists():
        return
    notebook, written = (json.loads(file.read_text(encoding="utf-8")) for file in (path, NOTEBOOKS / path.name))
    words = {cell["id"]: cell["source"] for cell in written["cells"] if cell["cell_type"] == "markdown"}
    for cell in notebook["cells"]:
        cell["source"] = words.get(cell["id"], cell["source"])
    maker, copy = block_cell(written), block_cell(notebook)
    copy["source"], copy["outputs"] = maker["source"], []  # no output, else the text would stand there twice
    notebook["cells"][-1]["source"] = block_text("".join(maker["source"]), folder, run).splitlines(keepends=True)
    report.write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def block_cell(notebook: dict) -> dict:
    """The code cell that makes the block."""
    return next(cell for cell in notebook["cells"] if "block" in cell["metadata"].get("tags", []))


def block_text(code: str, folder: Path, run: dict) -> str:
    """What the cell tagged `block` makes of a run and the runs beside it."""
    names = {"folder": folder, "run": run, "report": report, "Markdown": Markdown}
    exec(compile(code, f"the block of {run['stage']}", "exec"), names)
    return names["block"]


def draw(folder: Path, results: list[Runs]) -> None:
    """The two figures over all stages."""
    dataset = results[0][0]["dataset"]
    accuracies = {runs.stage: [report.last_five(run) for run in runs] for runs in results}
    plots.save(plots.stage_spread(accuracies, dataset), folder / "figures" / "spread.png")
    histories = {runs.stage: [run["history"] for run in runs] for runs in results}
    plots.save(plots.stage_curves(histories, dataset), folder / "figures" / "curves.png")


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
            *evidence_table(results),
            "",
            "![Mean of the last five epochs of every seed, by stage](figures/spread.png)",
            "",
            *steps_table(results),
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


def evidence_table(results: list[Runs]) -> list[str]:
    """A row a stage: its last five epochs over the seeds, and what training made of the network."""
    real = results[0][0]["dataset"] == MNIST
    head = f"{TARGET} % in 5 of 5" if real else "target"
    lines = [
        f"| stage | parameters | seeds | last five epochs, % | lowest epoch | {head} | train, clean | clean − test |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for runs in results:
        held = f"{runs.holding} of {len(runs)}" if real else "not applicable"
        lines.append(
            f"| [{runs.stage}]({runs.stage}.ipynb) | {runs.parameters:,} | {len(runs)} | {plus_minus(means(runs))}"
            f" | {min(min(report.last_five(run)) for run in runs):.2f} | {held} | {runs.clean:.2f} | {runs.gap:+.2f} |"
        )
    return lines


def steps_table(results: list[Runs]) -> list[str]:
    """A row a step from stage to stage, by the seeds that both have."""
    lines = ["| step | difference of the last five, points | 95 % interval | |", "|---|---:|---:|---|"]
    for before, after in pairwise(results):
        difference, low, high = step(before, after)
        interval = f"{low:+.3f} to {high:+.3f}" if math.isfinite(low) else "needs two seeds or more"
        words = verdict(low, high) if math.isfinite(low) else ""
        lines.append(f"| {before.stage} → {after.stage} | {difference:+.3f} | {interval} | {words} |")
    return lines if len(results) > 1 else []


def verdict(low: float, high: float) -> str:
    """What an interval on a difference shows."""
    return "not distinguishable" if low <= 0 <= high else "better" if low > 0 else "worse"


def step(before: Runs, after: Runs) -> tuple[float, float, float]:
    """The mean difference of two stages, paired by seed, with its 95 % interval (infinite for a single seed)."""
    earlier = {run["seed"]: mean(report.last_five(run)) for run in before}
    pairs = [mean(report.last_five(run)) - earlier[run["seed"]] for run in after if run["seed"] in earlier]
    difference, margin = mean(pairs or [math.nan]), math.inf
    if len(pairs) > 1:
        margin = T[min(len(pairs) - 1, len(T)) - 1] * stdev(pairs) / math.sqrt(len(pairs))
    return difference, difference - margin, difference + margin


def means(runs: Runs) -> list[float]:
    """The mean of the last five epochs of every run."""
    return [mean(report.last_five(run)) for run in runs]


def plus_minus(figures: list[float]) -> str:
    """Mean and standard deviation; of a single figure only itself."""
    return f"{mean(figures):.3f}" + (f" ± {stdev(figures):.3f}" if len(figures) > 1 else "")


def fill_readme(path: Path, folder: Path, results: list[Runs]) -> None:
    """Write the parts of the README that stand between marks: all of its figures."""
    parts = {
        "results": series_table(results),
        "field": field_table(folder / f"{results[-1].stage}.ipynb"),
        "loss": loss_table(results),
        "errors": errors(results),
    }
    text = path.read_text(encoding="utf-8")
    for name, lines in parts.items():
        start, end = f"<!-- {name}: written by run_all.sh -->", f"<!-- end of {name} -->"
        before, rest = text.split(start)
        text = "\n\n".join([before + start, "\n".join(lines), end + rest.split(end)[1]])
    report.write_text(path, text)


def field_table(path: Path) -> list[str]:
    """The receptive-field table as the executed notebook shows it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = next(cell for cell in cells if cell["id"] == "shape")["outputs"]
    return ["".join(output["data"]["text/markdown"]) for output in outputs if "data" in output]


def series_table(results: list[Runs]) -> list[str]:
    """The columns of the published table, filled."""
    lines = [
        f"| Experiment | Parameters | {' | '.join(ADDED)} | Test accuracy, last five epochs | |",
        "|---|---:|" + ":---:|" * len(ADDED) + "---:|---|",
    ]
    for runs in results:
        number, name = int(runs.stage[:2]), runs.stage[3:].replace("_", " ")
        ticks = ["✓" if added < number - 1 else "–" for added in range(len(ADDED))]
        accuracy = f"{plus_minus(means(runs))} %"
        colab = f"{COLAB}/blob/main/notebooks/{runs.stage}.ipynb"
        links = f"[rendered](outputs/{runs.stage}.ipynb) · [Colab]({colab})"
        lines.append(
            f"| [{number} · {name}](notebooks/{runs.stage}.ipynb) | {runs.parameters:,} | {' | '.join(ticks)}"
            f" | {accuracy} | {links} |"
        )
    seeds = sorted({len(runs) for runs in results})
    note = f"Mean ± standard deviation over {' to '.join(map(str, seeds))} seeds" if seeds[-1] > 1 else "One seed"
    return [
        *lines,
        "",
        f"{note}; the figures of every run, and what can be told apart: [outputs](outputs/README.md).",
    ]


def loss_table(results: list[Runs]) -> list[str]:
    """The loss after the last epoch, a row a stage."""
    lines = ["| stage | train loss, running | test loss |", "|---|---:|---:|"]
    for runs in results:
        train, test = (runs.over(lambda run, key=key: run["history"][-1][key]) for key in ("train_loss", "test_loss"))
        lines.append(f"| {runs.stage} | {train:.4f} | {test:.4f} |")
    return lines


def errors(results: list[Runs]) -> list[str]:
    """How many test digits the last stage gets wrong, and how many in every seed."""
    runs = results[-1]
    counts = [len(run["wrong"]) for run in runs]
    always = set.intersection(*(set(run["wrong"]) for run in runs))
    total = f"{runs[0]['images']['test']:,}"
    if len(runs) == 1:
        return [f"After its last epoch the network of the last stage gets {counts[0]} of {total} test digits wrong."]
    return [
        f"After its last epoch the network of the last stage gets {min(counts)} to {max(counts)} of {total} test digits"
        f" wrong, depending on the seed; {len(always)} of them are wrong in all {len(runs)} seeds."
    ]


def point_to_repository(path: Path) -> None:
    """Write the repository's address into the notebook's first cell, which fetches it in Colab."""
    text = path.read_text(encoding="utf-8")
    report.write_text(path, re.sub(r"https://github\.com/[\w.-]+/[\w.-]+", REPOSITORY, text))


def terminal_table(results: list[Runs]) -> str:
    """The results for somebody at a terminal."""
    dataset = results[0][0]["dataset"]
    lines = [f"{'stage':18} parameters  seeds  last five epochs, % of {dataset}"]
    for runs in results:
        held = f"{TARGET} % held by {runs.holding} of {len(runs)}" if dataset == MNIST else "target not applicable"
        lines.append(f"{runs.stage:18} {runs.parameters:10,}  {len(runs):5}  {plus_minus(means(runs))}  ({held})")
    return "\n".join(lines)
