"""The protocol is older than its runs, which are those that it names."""

import json
import subprocess

import pytest

from common.config import ROOT
from common.runs import OUTPUTS
from series.plans import read_plan

PATH = "outputs/PROTOCOL.md"
PLANS = [read_plan(path, ROOT) for path in sorted(ROOT.glob("series/plans/protocol/*.toml"))]
PLACES = [path for path in OUTPUTS.iterdir() if path.name in ("metrics", "protocol", "second_test", "smaller")]
RUNS = {path: json.loads(path.read_text()) for place in PLACES for path in place.rglob("seed-1??.json")}
RUNS = {path: run for path, run in RUNS.items() if "history" in run}  # others are weights


def git(*arguments: str) -> str:
    """What git says; the test is skipped where it doesn't have the history."""
    found = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"the history of the repository is not here: {found.stderr.strip()[:100]}")
    return found.stdout


def test_every_run_was_made_at_a_commit_that_has_the_protocol_word_for_word_and_none_of_the_runs() -> None:
    commit, *others = sorted({run["commit"] for run in RUNS.values()}) or ["HEAD"]
    assert not others
    assert git("show", f"{commit}:{PATH}") == (ROOT / PATH).read_text(encoding="utf-8")
    there = git("ls-tree", "-r", "--name-only", commit, "outputs").split()
    assert PATH in there and not [
        name for name in there if name.endswith(tuple(f"/seed-{n}.json" for n in range(100, 200)))
    ]


def test_the_runs_are_those_of_the_plans_each_at_its_full_length_on_mnist() -> None:
    asked = {
        (plan.stage or plan.notebooks[0], seed, split)
        for plan in PLANS
        for seed in plan.seeds
        for split in plan.grid.get("split", ["test"])
    }
    found = [(run["stage"], run["seed"], run["split"]) for run in RUNS.values()]
    assert len(found) == len(set(found)) and set(found) <= asked
    for run in RUNS.values():
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
