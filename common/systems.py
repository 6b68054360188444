"""The published systems as a whole: their runs, and the page and the figure that tell of them."""

from pathlib import Path
from statistics import mean, stdev

from common import smaller, tables, verdicts
from common.canvas import save
from common.files import write_whole
from common.landscape import Point, landscape
from common.notebooks import SERIES, point_to_repository
from common.published import PEERS, SYSTEMS
from common.runs import MNIST, RECORDED, ROOT, Runs, load_runs, read_run
from common.summary import fill

FOLDER = RECORDED / "published"


def summarise(folder: Path) -> str:
    """Write the tables of `folder`, of the recorded runs the page and its figure, too; a table for the terminal."""
    results = read_results(folder)
    if folder.resolve() == FOLDER:
        point_to_repository(ROOT / "notebooks" / "appendix" / "published_systems.ipynb")
        save(landscape(points(results)), folder / "parameters.png")
        fill(folder / "README.md", parts(results))
    else:
        lines = ["# The published systems, in another run than the recorded one", "", *verdicts.verdicts(results)]
        write_whole(folder / "README.md", "\n".join(lines) + "\n")
    return tables.terminal([runs for runs in results.values() if runs]) if any(results.values()) else verdicts.MISSING


def read_results(folder: Path) -> dict[str, Runs]:
    """The runs of every system, those alike: of systems that were not run there are none."""
    found = {name: [read_run(path) for path in (folder / name).glob("seed-*.json")] for name in SYSTEMS}
    kinds = [data_of(run) for runs in found.values() for run in runs]
    return {name: Runs(name, [run for run in runs if data_of(run) == max(kinds)]) for name, runs in found.items()}


def data_of(run: dict) -> tuple[bool, int]:
    """Ranks runs by what they are made of; how many epochs they have is the system's."""
    return run["dataset"] == MNIST, run["images"]["train"]


def parts(results: dict[str, Runs]) -> dict[str, list[str]]:
    """All that the page takes from runs."""
    return {
        "verdicts": verdicts.verdicts(results, ours()),
        "recipes": verdicts.recipes(),
        "heads": verdicts.heads(results["C1"], results["C2"]),
        "train": verdicts.train(results),
        "rates": verdicts.rates(results),
    }


def ours() -> dict[str, Runs]:
    """What this series holds against the published systems, by names that lead to the notebooks."""
    last, small = load_runs(RECORDED, SERIES[-1]), smaller.read_runs(smaller.FOLDER)
    named = {f"**[this series](../../notebooks/{SERIES[-1]}.ipynb)**, last stage": last}
    named[f"**[this series](../../{smaller.NOTEBOOK.as_posix()})**, smaller network"] = small
    return {name: runs for name, runs in named.items() if runs}


def points(results: dict[str, Runs]) -> dict[str, list[Point]]:
    """Parameters and last five epochs of all there is, by kind."""
    stages = [(stage[1], load_runs(RECORDED, stage)) for stage in SERIES]
    stages.append(("smaller", smaller.read_runs(smaller.FOLDER)))
    systems = list(results.items())
    return {
        "a published figure, one run": [
            Point(name, int(system.stated.replace(",", "")), mean(system.last_five))
            for name, system in SYSTEMS.items()
            if system.last_five
        ],
        "a peer's, one run": [Point("", parameters, mean(last)) for parameters, last in PEERS.items()],
        "trained anew here": [point(name, runs) for name, runs in systems if runs and not SYSTEMS[name].own],
        "with a net of ours": [point(name, runs) for name, runs in systems if runs and SYSTEMS[name].own],
        "this series": [point(number, runs) for number, runs in stages if runs],
    }


def point(name: str, runs: Runs) -> Point:
    """A system or a stage: the mean of its seeds, and their standard deviation."""
    figures = runs.ends
    return Point(name, runs.parameters, mean(figures), stdev(figures) if len(figures) > 1 else 0.0)
