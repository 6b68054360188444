"""The protocol is older than its runs, which are those that it names."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from common.config import ROOT
from common.runs import OUTPUTS
from series.plans import read_plan

PATH = "outputs/PROTOCOL.md"
PLANS = [read_plan(path, ROOT) for path in sorted(ROOT.glob("series/plans/protocol/*.toml"))]
SMALLER = [read_plan(ROOT / "series/plans/smaller.toml", ROOT)]


def read_runs(*places: str) -> list[dict]:
    """The content of all metrics of these seeds, straight from the files."""
    paths = [path for place in places for path in (OUTPUTS / place).rglob("seed-1??.json")]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


RUNS = read_runs("metrics", "second_test")
SMALL = read_runs("smaller/metrics")
PROTOCOLS = [(PATH, PLANS, RUNS), ("outputs/smaller/PROTOCOL.md", SMALLER, SMALL)]


def git(*arguments: str) -> str:
    """What git says; the test is skipped where it doesn't have the history."""
    found = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"the history of the repository is not here: {found.stderr.strip()[:100]}")
    return found.stdout


@pytest.mark.parametrize(("page", "plans", "runs"), PROTOCOLS, ids=["steps", "smaller"])
def test_every_run_was_made_at_a_commit_that_has_the_protocol_word_for_word_and_none_of_the_runs(
    page: str, plans: list, runs: list
) -> None:
    commit, *others = sorted({run["commit"] for run in runs}) or ["HEAD"]
    assert not others
    assert git("show", f"{commit}:{page}") == (ROOT / page).read_text(encoding="utf-8")
    there = git("ls-tree", "-r", "--name-only", commit, "outputs").split()
    beside = [name for name in there if name.startswith(f"{Path(page).parent}/")]
    assert page in beside and not [name for name in beside if re.search(r"/seed-1\d\d\.json$", name)]


@pytest.mark.parametrize(("page", "plans", "runs"), PROTOCOLS, ids=["steps", "smaller"])
def test_the_runs_are_those_of_the_plans_each_at_its_full_length_on_mnist(page: str, plans: list, runs: list) -> None:
    asked = {
        (plan.stage or plan.notebooks[0], seed, split)
        for plan in plans
        for seed in plan.seeds
        for split in plan.grid.get("split", ["test"])
    }
    found = [(run["stage"], run["seed"], run["split"]) for run in runs]
    assert len(found) == len(asked) and set(found) == asked
    for run in runs:
        sizes = {"train": 60_000, "test": 10_000} if run["split"] == "test" else {"train": 50_000, "test": 10_000}
        assert (run["dataset"], run["epochs"], run["images"]) == ("MNIST", 15, sizes)


def test_its_table_has_the_seeds_of_the_plans() -> None:
    text = (ROOT / PATH).read_text(encoding="utf-8")
    for plan in PLANS:
        (notebook,) = plan.notebooks
        (row,) = [
            line for line in text.splitlines() if f"`{notebook}`" in line and ("fold" in line) is ("split" in plan.grid)
        ]
        reach = f"{plan.seeds[0]}–{plan.seeds[-1]}" if len(plan.seeds) > 2 else ", ".join(map(str, plan.seeds))
        assert plan.seeds == [*range(plan.seeds[0], plan.seeds[-1] + 1)] and f"| {reach} |" in row
        assert int(row.split("|")[3].split()[0]) == len(plan.seeds) * len(plan.grid.get("split", [""]))


def fives(stage: str, kind: str = "test_correct", split: str = "test") -> dict[tuple[str, int], list[int]]:
    """How many digits are right after each of the last five epochs, run by run, straight from the files."""
    chosen = [run for run in RUNS if run["stage"] == stage and (run["split"] == "test") is (split == "test")]
    return {(run["split"], run["seed"]): [row[kind] for row in run["history"][-5:]] for run in chosen}


def test_what_is_told_is_what_another_arithmetic_finds() -> None:
    stats = pytest.importorskip("scipy.stats")
    told = (ROOT / "docs/trust.md").read_text(encoding="utf-8").replace("\N{MINUS SIGN}", "-")
    last, usual = fives("06_lr_scheduler"), fives("06_lr_scheduler", "usual_correct")
    second = fives("06_lr_scheduler", split="folds")
    counts = [sum(min(five) >= 9_940 for five in found.values()) for found in (last, usual)]
    low, high = zip(*(stats.binomtest(count, 60).proportion_ci(0.95, "exact") for count in counts), strict=True)
    assert f"**{counts[0]} of 60 runs of step 6 hold 99.4%**" in told
    assert f"between {low[0]:.3f} and {high[0]:.3f} (95%" in told
    assert f"{counts[1]} hold ({low[1]:.3f} to {high[1]:.3f})" in told
    ends, margins = [np.mean(five) / 100 for five in last.values()], [min(five) - 9_940 for five in last.values()]
    assert f"average {np.mean(ends):.3f} ± {np.std(ends, ddof=1):.3f}%" in told
    assert f"{np.median(margins):.0f} digits above the goal in the median, and {min(margins)} at the least" in told
    before, after = fives("03_dropout"), fives("04_gap_fc")
    pairs = [[np.mean(found[key]) / 100 for key in before] for found in (after, before)]
    test = stats.ttest_rel(*pairs)
    low, high = test.confidence_interval(0.99)
    gain = f"{np.mean(np.subtract(*pairs)):+.3f} points ({low:+.3f} to {high:+.3f})"
    assert f"Over 30 pairs of runs they differ by {gain}" in told
    ends = [np.mean(five) / 100 for five in second.values()]
    assert f"reaches {np.mean(ends):.3f} ± {np.std(ends, ddof=1):.3f}% on 50,000 digits" in told
    assert f"Of 10 runs {sum(min(five) >= 9_940 for five in second.values())} hold 99.4%" in told
