"""Results of a folder of runs: tables, pictures, and the texts of notebooks and pages."""

import json
import os
from functools import partial
from pathlib import Path

from common.config import ROOT, InputError, write_whole
from common.data import CACHE, load_digits
from common.inference import as_mnist, read_ink
from common.plots import architecture
from common.receptive_field import receptive_field_table
from common.runs import MNIST, OUTPUTS, Runs
from series.plans import Plan, read_plan
from series.report import figures, notebooks, speed, systems, tables
from series.report.html import write_report
from series.report.pages import fill, filled, parts, repository

PAGES = "README.md", "docs/*.md", "outputs/README.md", "outputs/earlier/README.md", "outputs/curve/README.md"


def publish(root: Path = ROOT) -> str:
    """Write everything anew that is made from the recorded runs; the table for the terminal."""
    notebooks.publish_links(repository(root))
    smaller(OUTPUTS / "smaller")
    published(OUTPUTS / "published")
    choices()
    fill(OUTPUTS / "held_out" / "README.md", questions().__getitem__)
    sizes = {plan.title: found for plan, found in tables.curve(OUTPUTS)}
    write_whole(OUTPUTS / "figures" / "sizes.png", figures.sizes(sizes).png())
    return series(OUTPUTS)


def series(folder: Path) -> str:
    """Update the notebooks, pictures, tables and report of a folder of the series; the table for the terminal."""
    results = read_results(folder)
    for runs in results:
        notebooks.write_block(runs[0], folder, notebooks.NOTEBOOKS / f"{runs.name}.ipynb")
    draw(results, folder)
    part = parts(results)
    if folder.resolve() == OUTPUTS:
        for path in (path for pattern in PAGES for path in ROOT.glob(pattern)):
            fill(path, part)
    else:
        page = [f"# Results on {results[0][0].dataset}", part("setting"), part("runs"), part("steps")]
        page += ["![Wrong digits by step](figures/spread.png)", "![Accuracy by epoch](figures/curves.png)"]
        write_whole(folder / "README.md", "\n\n".join(page) + "\n")
    write_report(folder, filled((ROOT / "README.md").read_text(encoding="utf-8"), part))
    return tables.terminal(results)


def read_results(folder: Path) -> list[Runs]:
    """The runs of each step in a folder; only those on the data, and of the length, of the largest run."""
    places = [folder / "metrics" / stage for stage in notebooks.SERIES]
    largest = max((run for place in places for run in Runs.read(place)), key=lambda run: run.size, default=None)
    if largest is None:
        raise InputError(f"{folder} holds no runs of the series: make some first, by ./run_all.sh")
    return [runs for place in places if (runs := Runs.read(place, largest))]


def draw(results: list[Runs], folder: Path) -> None:
    """Write the pictures that compare the steps; for the recorded runs also those of the network and of the speed."""
    last = results[-1]
    pictures = {"spread": figures.spread(results), "curves": figures.curves(results)}
    if last[0].dataset == MNIST and len(last) > 1 and (os.environ.get("MNIST_DIR") or (CACHE / "MNIST").exists()):
        pictures["always-wrong"] = figures.misread(last, *load_digits("mnist", last[0].split).test)
    if folder.resolve() == OUTPUTS:
        rows = receptive_field_table(notebooks.network(last.name))
        pictures["architecture"] = architecture(rows, as_mnist(read_ink(notebooks.NOTEBOOKS / "drawn.png")))
        if bench := speed.read_records(folder).get("bench"):
            pictures["benchmark"] = figures.benchmark(bench)
    for name, picture in pictures.items():
        write_whole(folder / "figures" / f"{name}.png", picture.png())


def smaller(folder: Path) -> str:
    """Update the notebooks of the smaller network; the table for the terminal."""
    runs = Runs.read(folder / "metrics" / "smaller_network")
    notebooks.write_block(runs[0], folder, notebooks.NOTEBOOKS / "appendix_smaller.ipynb")
    return tables.terminal([runs])


def published(folder: Path) -> str:
    """The table of the published systems for the terminal; for the recorded runs, update their page and its picture."""
    facts, found = systems.read_facts(), systems.read_runs(folder)
    if folder.resolve() == OUTPUTS / "published":
        results = read_results(OUTPUTS)
        usual = results[-1].tested("usual")
        small = Runs.read(OUTPUTS / "smaller" / "metrics")
        ours = {"step 6": usual, "step 6 ‡": results[-1], "smaller network ‡": small}
        write_whole(folder / "parameters.png", figures.landscape(systems.points(facts, found, ours)).png())
        made = {"verdicts": partial(systems.verdicts, facts, found, ours)}
        fill(folder / "README.md", parts(results, **made, train=partial(systems.train, facts, found)))
    return tables.terminal([runs for runs in found.values() if runs])


def benchmark(path: Path) -> str:
    """The table of a benchmark, beside which a picture is drawn; a recorded one is brought into the pages."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if path.resolve() in [OUTPUTS / place for place in speed.RECORDS.values()]:
        publish()
    elif "contenders" in record:
        write_whole(path.parent / "figures" / "benchmark.png", figures.benchmark(speed.Bench(record)).png())
    found = speed.table(speed.Bench(record)) if "contenders" in record else json.dumps(record, indent=1)
    return f"{found}\n\nWritten to {path}"


def choices() -> str:
    """Update the page of the choices; how many runs it rests on, and how far they spread."""
    plans = [read_plan(path, ROOT) for path in sorted(ROOT.glob("series/plans/choices/**/*.toml"))]
    part = tables.choices(plans, OUTPUTS)
    fill(OUTPUTS / "choices" / "README.md", part.__getitem__)
    return part["spread"]


def questions() -> dict[str, str]:
    """The content of the page of the questions that were asked on held-out images before the protocol, by mark."""
    plans = [read_plan(path, ROOT) for path in sorted(ROOT.glob("series/plans/held_out/*.toml"))]
    asked = {plan.name: tables.compared(plan, OUTPUTS) for plan in plans}
    return asked | {"statistics": tables.statistics(Runs.read(OUTPUTS / "held_out"))}


def sweep(plan: Plan, folder: Path) -> str:
    """Write the table and the picture of a sweep; the table for the terminal."""
    found = tables.settings(plan, folder)
    table, there = tables.sweep(found, len(plan.seeds)), [each for each in found if each.runs]
    page = [f"# {plan.title or plan.name}", plan.note, table]
    if there:
        write_whole(folder / "figures" / "sweep.png", figures.effects(there).png())
        page.append("![Accuracy by setting](figures/sweep.png)")
    write_whole(folder / "README.md", "\n\n".join(filter(None, page)) + "\n")
    return table
