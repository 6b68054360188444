"""What a benchmark found, as a table for the README and as a figure."""

import json
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from common import InputError, canvas


@dataclass(frozen=True)
class Row:
    """A line of the table: a figure of the record, in words, and the bar it is held against."""

    name: str
    words: str
    form: str  # how the figure is written
    bar: float | None = None
    at_least: bool = False  # else at most
    optional: bool = False  # may be missing in a record

    def verdict(self, found: dict) -> str:
        """Whether the median passes the bar, and every round does."""
        if not self.passes(found["median"]):
            return "**not met**"
        return "met" if all(map(self.passes, found["rounds"])) else "met by the median, not by every round"

    def passes(self, figure: float) -> bool:
        """Whether a figure is on the right side of the bar."""
        return figure >= self.bar if self.at_least else figure <= self.bar


ROWS = (
    Row("ratio_conventional", "images per second, ours over the better conventional form", "{:.2f}×", 3, True),
    Row("ratio_conventional_alone", "the same, one process of one thread each", "{:.2f}×"),
    Row("ratio_conventional_pair", "the same, two such processes side by side each", "{:.2f}×"),
    Row("ratio_floor", "time of a training step over that of its bare arithmetic", "{:.2f}×", 3),
    Row("ratio_floor_compiled", "the same, the network compiled by `torch.compile`", "{:.2f}×", optional=True),
    Row("ratio_floor_bfloat16", "the same, products in 16 bits", "{:.2f}×"),
    Row("ratio_floor_batches_of_256", "the same, in batches of 256 images", "{:.2f}×"),
    Row("chain_overhead", "what a chain of 15 epochs adds to its training", "{:.1%}", 0.15),
    Row("growth_epochs", "time grows with this power of the epochs", "{:.2f}", 1.05),
    Row("growth_images", "… of the images", "{:.2f}", 1.05),
    Row("growth_seeds", "… of the seeds", "{:.2f}", 1.05),
    Row("memory_growth", "memory gained from the second epoch to the tenth", "{:.1f} MB", 20),
    Row("peak_memory", "memory of a stage at its highest", "{:.2f} GB", 1.5),
    Row("neighbour_runner", "slower beside a process that spins, in `run_all.sh`", "{:.2f}×", 50),
    Row("neighbour_by_hand", "the same, in a notebook run by hand", "{:.2f}×", 50),
)
NOTHING = ["No benchmark is recorded: `./run_all.sh --benchmark` makes one, on a quiet machine."]


def section(path: Path) -> list[str]:
    """The README's part on speed, from a record if there is one."""
    if not path.exists():
        return NOTHING
    try:
        return table(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise InputError(f"{path} is no record of a benchmark: delete it, or measure anew by --benchmark") from None


def table(record: dict) -> list[str]:
    """A line a figure: median, lowest and highest round, bar."""
    lines = ["| | median | lowest to highest | rounds | bar | |", "|---|---:|---:|---:|---|---|"]
    for row in ROWS:
        if row.optional and row.name not in record["measured"]:  # where there is no compiler, nothing is compiled
            continue
        found = record["measured"][row.name]
        low, high = (row.form.format(end) for end in found["spread"])
        bar, verdict = "", ""
        if row.bar is not None:
            bar = f"at {'least' if row.at_least else 'most'} {row.form.format(row.bar)}"
            verdict = row.verdict(found)
        figure = row.form.format(found["median"])
        lines.append(f"| {row.words} | {figure} | {low} to {high} | {len(found['rounds'])} | {bar} | {verdict} |")
    return [*lines, "", f"On {record['machine']}, with {record['dataset']}."]


def rates(record: dict) -> Figure:
    """Images per second of every form, a bar each, its rounds as dots."""
    forms = record["images_per_second"]
    figure, axes = canvas.new_figure("Images trained on in a second", record["dataset"], 3.6)
    for place, (name, found) in enumerate(reversed(forms.items())):
        color = canvas.BLUE if name.startswith("ours") else canvas.VERMILION
        axes.barh(place, found["median"], color=color, alpha=0.6)
        axes.plot(found["rounds"], [place] * len(found["rounds"]), "|", color="black")
    axes.set_yticks(range(len(forms)), reversed(forms))
    axes.set_xlabel(f"images per second, {record['machine']}")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
