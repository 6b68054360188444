"""What folders of runs say as a whole: tables, pictures, the words of notebooks and pages."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from common.analysis import Found, count, tell_all
from common.config import ROOT, InputError, write_whole
from common.data import CACHE, load_digits
from common.inference import as_mnist, read_ink
from common.intervals import Gain, of_share, signed
from common.plots import architecture
from common.receptive_field import markdown_table, receptive_field_table
from common.runs import GOAL, MNIST, OUTPUTS, Runs
from series.report import figures, notebooks, questions, speed, systems, tables
from series.report.html import write_report
from series.report.readme import fill, filled, repository

WORDS = Path(__file__).parent / "words"
PAGES = "README.md", "docs/*.md", "outputs/README.md", "outputs/earlier/README.md"


def publish(root: Path = ROOT) -> str:
    """All texts again from the recorded runs: links, notebooks, pages, pictures."""
    notebooks.publish_links(repository(root))
    smaller(OUTPUTS / "smaller")
    published(OUTPUTS / "published")
    choices()
    return series(OUTPUTS)


def series(folder: Path) -> str:
    """Bring table, pictures, notebooks and report of a folder up to its runs, with recorded ones the pages, too."""
    results = read_results(folder)
    recorded = folder.resolve() == OUTPUTS
    for runs in results:
        notebooks.write_block(runs[0], folder, notebooks.NOTEBOOKS / f"{runs.name}.ipynb", recorded)
    draw(results, folder)
    made = parts(results)
    if recorded:
        for path in (path for pattern in PAGES for path in ROOT.glob(pattern)):
            fill(path, made)
    else:
        page = [f"# Results on {results[0][0].dataset}", made("setting"), made("runs"), made("steps")]
        page += ["![Wrong digits by step](figures/spread.png)", "![Accuracy by epoch](figures/curves.png)"]
        write_whole(folder / "README.md", "\n\n".join(page) + "\n")
    write_report(folder, filled((ROOT / "README.md").read_text(encoding="utf-8"), made))
    return tables.terminal(results)


def read_results(folder: Path) -> list[Runs]:
    """The steps of a folder that have runs, with those alike: the same data, as many epochs and images."""
    places = [folder / "metrics" / stage for stage in notebooks.SERIES]
    largest = max((run for place in places for run in Runs.read(place)), key=lambda run: run.size, default=None)
    if largest is None:
        raise InputError(f"{folder} holds no runs of the series: make some first, by ./run_all.sh")
    return [runs for place in places if (runs := Runs.read(place, largest))]


def draw(results: list[Runs], folder: Path) -> None:
    """The pictures over all steps."""
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


def parts(results: list[Runs], **more: Callable[[], str]) -> Callable[[str], str]:
    """What pages are filled with, by the name of the mark: a table, or the words of a file."""
    address = repository(ROOT)
    tabled = {
        "results": lambda: tables.overview(results, address),
        "runs": lambda: tables.evidence(results),
        "steps": lambda: tables.steps(results),
        "field": lambda: markdown_table(receptive_field_table(notebooks.network(results[-1].name))),
        "colab": lambda: "Colab runs each notebook from its link in the table." if address else f"{notebooks.BY_HAND}.",
        **more,
    }
    names = {
        "s": {int(runs.name[:2]): runs for runs in results},
        "last": results[-1],
        "runs": Found(lambda path: Runs.read(OUTPUTS / path)),  # of any folder below outputs/
        "gain": partial(Gain.of, comparisons=max(1, len(results) - 1)),
        "minutes": sum(mean(run.seconds or 0 for run in runs) for runs in results) / 60 / 2,
        "before": json.loads((OUTPUTS / "benchmark-conventional.json").read_text(encoding="utf-8")),
        **speed.read_records(OUTPUTS),
        "facts": systems.read_facts(),
        **{"share": of_share, "looks": looks, "always": tables.always_wrong, "wrong": tables.wrong},
        **{"count": count, "signed": signed, "plus_minus": tables.plus_minus, "at_goal": systems.at_goal, "GOAL": GOAL},
    }
    if "bench" in names:
        tabled["speed"] = lambda: speed.page(names["bench"])
    missing = speed.unrecorded(names)
    return lambda name: missing[name] if name in missing else tabled[name]() if name in tabled else words(name, names)


def words(name: str, names: dict[str, Any]) -> str:
    """A text from `words/`, its figures filled in and its checks held against the runs."""
    return tell_all((WORDS / f"{name}.md").read_text(encoding="utf-8").strip(), names)


def looks() -> str:
    """How often MNIST's test set was met before the protocol, whose seeds begin at 100: each training once."""
    places = [OUTPUTS / name for name in ("metrics", "smaller/metrics", "published", "earlier")]
    runs = [run for place in places for run in Runs.read(place) if run.dataset == MNIST and run.seed < 100]
    found = {tuple(row["test_loss"] for row in run.history) for run in runs}
    return f"{len(found)} trainings met it, in {sum(map(len, found)):,} evaluations"


def smaller(folder: Path) -> str:
    """Bring the notebooks of the smaller network up to its runs."""
    runs = Runs.read(folder / "metrics")
    source, recorded = notebooks.NOTEBOOKS / "appendix_smaller.ipynb", folder.resolve() == OUTPUTS / "smaller"
    notebooks.write_block(runs[0], folder, source, recorded)
    return tables.terminal([runs])


def published(folder: Path) -> str:
    """The table of the published systems; the recorded page, and its picture, are brought up to their runs."""
    facts, found = systems.read_facts(), systems.read_runs(folder)
    if folder.resolve() == OUTPUTS / "published":
        results = read_results(OUTPUTS)
        usual = Runs.read(OUTPUTS / "earlier" / "unpadded-7662" / results[-1].name)
        small = Runs.read(OUTPUTS / "smaller" / "metrics")
        ours = {"step 6": usual, "step 6 ‡": results[-1], "smaller network ‡": small}
        write_whole(folder / "parameters.png", figures.landscape(systems.points(facts, found, ours)).png())
        made = {
            "verdicts": partial(systems.verdicts, facts, found, ours),
            "train": partial(systems.train, facts, found),
        }
        fill(folder / "README.md", parts(results, **made))
    return systems.verdicts(facts, found, {})


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
    """Bring the page of the choices up to their runs."""
    from series.plans import read_plan

    plans = [read_plan(path, ROOT) for path in sorted(ROOT.glob("series/plans/choices/**/*.toml"))]
    made = questions.page(plans, OUTPUTS)
    fill(OUTPUTS / "choices" / "README.md", made.__getitem__)
    return made["spread"]


def sweep(plan: Any, folder: Path) -> str:
    """Write the table and the picture of a sweep; the table for the terminal."""
    found = tables.settings(plan, folder)
    table, there = tables.sweep(found, len(plan.seeds)), [each for each in found if each.runs]
    page = [f"# {plan.title or plan.name}", plan.note, table]
    if there:
        write_whole(folder / "figures" / "sweep.png", figures.effects(there).png())
        page.append("![Accuracy by setting](figures/sweep.png)")
    write_whole(folder / "README.md", "\n\n".join(filter(None, page)) + "\n")
    return table
