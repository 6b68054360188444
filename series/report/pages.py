"""Pages in markdown: what stands between their marks is a table, or words whose figures come from the runs."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from common.analysis import Found, count, tell_all
from common.config import ROOT, InputError, write_whole
from common.intervals import Gain, of_share
from common.receptive_field import markdown_table, receptive_field_table
from common.runs import GOAL, MNIST, OUTPUTS, Runs
from series.report import notebooks, speed, systems, tables

WORDS = Path(__file__).parent / "words"
START, END = "<!-- {}: written by ./run_all.sh publish -->", "<!-- end of {} -->"
MARK = re.compile(START.format(r"([\w-]+)").replace(".", r"\.") + r".*?" + END.format(r"\1"), re.S)


def fill(path: Path, part: Callable[[str], str]) -> None:
    """Replace what stands between the marks of a page by `part` of each mark's name."""
    text = path.read_text(encoding="utf-8")
    starts = re.findall(r"<!-- ([\w-]+): written by", text)
    if starts != [match[1] for match in MARK.finditer(text)]:
        raise InputError(f"{path}: each of its marks ({', '.join(starts)}) needs a line {END.format('NAME')}")
    write_whole(path, filled(text, part))


def filled(text: str, part: Callable[[str], str]) -> str:
    """The text of a page with other content between its marks."""
    return MARK.sub(lambda mark: f"{START.format(mark[1])}\n\n{part(mark[1])}\n\n{END.format(mark[1])}", text)


def parts(results: list[Runs], **more: Callable[[], str]) -> Callable[[str], str]:
    """The content of a mark by its name: a table (here, or in `more`), or the words of a file."""
    address = repository(ROOT)
    makers = {
        "results": lambda: tables.overview(results, address),
        "runs": lambda: tables.evidence(results),
        "steps": lambda: tables.steps(results),
        "field": lambda: markdown_table(receptive_field_table(notebooks.network(results[-1].name))),
        "badges": lambda: badges(address),
        "clone": lambda: clone(address),
        "report": lambda: site(address),
        **{plan.name: partial(tables.sizes, found) for plan, found in tables.curve(OUTPUTS)},
        **more,
    }
    names = names_for_words(results)
    if "bench" in names:
        makers["speed"] = lambda: speed.page(names["bench"])
    missing = speed.unrecorded(names)
    makers |= {name: partial(str, words) for name, words in missing.items()}
    words = Found(lambda name: tell_all((WORDS / f"{name}.md").read_text(encoding="utf-8").strip(), names))
    return lambda name: makers[name]() if name in makers else words[name]


def names_for_words(results: list[Runs]) -> dict[str, Any]:
    """What the expressions in `words/` may use."""
    steps = Found(lambda number: Runs())  # a step without runs is missing, and no error
    steps.update({int(runs.name[:2]): runs for runs in results})
    return {
        "s": steps,
        "last": results[-1],
        "runs": Found(lambda path: Runs.read(OUTPUTS / path)),  # of any folder below outputs/
        "gain": partial(Gain.of, comparisons=max(1, len(results) - 1)),
        "minutes": sum(mean(run.seconds or 0 for run in runs) for runs in results) / 60 / 2,  # two cores
        "before": json.loads((OUTPUTS / "benchmark-conventional.json").read_text(encoding="utf-8")),
        **speed.read_records(OUTPUTS),
        "facts": systems.read_facts(),
        **{"share": of_share, "looks": looks, "always": tables.always_wrong, "wrong": tables.wrong},
        **{"median": median, "margins": margins},
        **{"count": count, "plus_minus": tables.plus_minus, "at_goal": systems.at_goal, "GOAL": GOAL},
    }


def margins(runs: Runs) -> list[int]:
    """By how many digits the lowest of each run's last five epochs is above the goal."""
    return [min(row["test_correct"] for row in run.history[-5:]) - round(GOAL * 100) for run in runs]


def looks() -> str:
    """How many trainings met MNIST's test set before the protocol, whose seeds begin at 100; copies count once."""
    places = [OUTPUTS / name for name in ("metrics", "published", "earlier")]
    runs = [run for place in places for run in Runs.read(place) if run.dataset == MNIST and run.seed < 100]
    histories = {tuple(row["test_loss"] for row in run.history) for run in runs}
    return f"{len(histories)} trainings were tested on it, {sum(map(len, histories)):,} times in all"


def repository(root: Path) -> str:
    """The owner and name of the repository on GitHub; "" where neither a workflow nor `git remote` knows them."""
    if known := os.environ.get("GITHUB_REPOSITORY"):
        return known if re.fullmatch(r"[\w.-]+/[\w.-]+", known) else ""
    try:
        command = ["git", "-C", str(root), "remote", "get-url", "origin"]
        origin = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:  # there is no git
        return ""
    match = re.fullmatch(r"(?:\w+://)?(?:[^@/\s]+@)?github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?", origin)
    return match[1] if match else ""


def badges(address: str) -> str:
    """What GitHub says of the workflows; nothing where the address is unknown."""
    home = f"https://github.com/{address}/actions/workflows"
    names = ("tests", "publish") if address else ()
    return " ".join(f"[![{name}]({home}/{name}.yml/badge.svg)]({home}/{name}.yml)" for name in names)


def clone(address: str) -> str:
    """How to get the notebooks, in Colab and on a machine."""
    known = f"Colab runs each notebook from its link above. To have all: `git clone https://github.com/{address}`"
    return known if address else f"{notebooks.BY_HAND}."


def site(address: str) -> str:
    """Where to draw a digit: in the report as GitHub serves it, or in the one at hand."""
    owner, _, name = address.partition("/")
    served = f"[the report](https://{owner.lower()}.github.io/{name}/)"
    report = served if address else "[the report](outputs/html/index.html)"
    photo = "classify a photo at the end of [step 6](notebooks/06_lr_scheduler.ipynb)"
    return f"Draw a digit of your own in {report}, or {photo}."
