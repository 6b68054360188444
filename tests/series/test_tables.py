"""Tables: what they count, what they call a difference, and that somebody else's arithmetic finds the same."""

import json
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from runs_for_tests import content, make

from common.config import write_whole
from common.intervals import of_share
from common.runs import OUTPUTS, MissingRuns, Runs
from series.plans import Plan
from series.report import read_results, systems, tables
from series.report.notebooks import NOTEBOOKS, SERIES, read
from series.report.pages import looks

FACTS = systems.read_facts()


def step(number: int, *ends: float, **other) -> Runs:
    """Runs of a step with these ends, a seed each."""
    stage = SERIES[number - 1]
    return Runs([make(*[end] * 15, stage=stage, seed=seed, **other) for seed, end in enumerate(ends)], stage)


def rows(table: str) -> list[list[str]]:
    """The cells of a table below its head."""
    return [[cell.strip() for cell in line.split(" | ")] for line in table.replace("|  |", "| – |").splitlines()[2:]]


def ends_of(stage: str) -> dict[int, float]:
    """The means of the last five epochs, by seed, straight from the files."""
    runs = [json.loads(path.read_text()) for path in (OUTPUTS / "metrics" / stage).glob("*.json")]
    return {run["seed"]: mean(row["test_correct"] / 100 for row in run["history"][-5:]) for run in runs}


def test_the_recorded_tables_are_those_of_another_arithmetic() -> None:
    results = read_results(OUTPUTS)
    stats = pytest.importorskip("scipy.stats")
    for stage, row in zip(SERIES, rows(tables.evidence(results)), strict=True):
        ends = list(ends_of(stage).values())
        assert row[2:4] == [str(len(ends)), f"{mean(ends):.3f} ± {stdev(ends):.3f}"]
    for (before, after), row in zip(pairwise(SERIES), rows(tables.steps(results)), strict=True):
        one, other = ends_of(before), ends_of(after)
        pairs = [other[seed] - one[seed] for seed in one.keys() & other.keys()]
        low, high = stats.t.interval(1 - 0.05 / 5, len(pairs) - 1, mean(pairs), stats.sem(pairs))
        figures = [float(word) for word in f"{row[1]} {row[2]}".replace("−", "-").replace("to", "").split()]
        assert figures == pytest.approx([mean(pairs), low, high], abs=6e-4)
        assert row[4].strip(" |") == ("helps" if low > 0 else "hurts" if high < 0 else "too close to call")
    held, total = results[-1].holding, len(results[-1])
    exact = stats.binomtest(held, total).proportion_ci(method="exact")
    assert of_share(held, total) == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_every_run_was_counted_that_met_the_test_set() -> None:
    losses = set()
    for path in OUTPUTS.rglob("seed-*.json"):
        if not {"choices", "cuda", "curve", "held_out", "scratch", "weights"} & set(path.relative_to(OUTPUTS).parts):
            run = json.loads(path.read_text())
            losses.add(tuple(row["test_loss"] for row in run["history"]) if run["seed"] < 100 else ())
    assert looks() == f"{len(losses - {()})} trainings were tested on it, {sum(map(len, losses)):,} times in all"


def test_held_out_answers_are_compared_in_pairs_and_all_of_them_give_the_deviation(tmp_path: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    ends = {"a": [99.3, 99.5, 99.6, 99.45], "b": [99.41, 99.62, 99.66, 99.58], "c": [99.31, 99.49, 99.63, 99.44]}
    for answer, each in ends.items():
        for number, end in enumerate(each):
            fold, seed = number // 2 + 1, number % 2
            path = tmp_path / "asked" / answer / f"split-fold-{fold}" / f"seed-{seed}.json"
            write_whole(path, json.dumps(content(*[end] * 5, seed=seed, split=f"fold-{fold}")))

    folds = {"split": ["fold-1", "fold-2"]}

    def asked(*names: str) -> list[list[str]]:
        plan = Plan("asked", [], [0, 1], grid=folds, variants={name: {} for name in names}, place="asked", taken="a")
        return rows(tables.compared(plan, tmp_path))

    pair = stats.ttest_rel(ends["b"], ends["a"])
    low, high = pair.confidence_interval(0.95)
    assert asked("a", "b")[1][5] == f"+0.105 points (+{low:.3f} to +{high:.3f}): helps |"
    grid = np.array([*ends.values()])
    rest = grid - grid.mean(0) - grid.mean(1, keepdims=True) + grid.mean()
    variance = (rest**2).sum() / 6
    margin = stats.t.ppf(1 - 0.05 / 2 / 2, 6) * (variance * 2 / 4) ** 0.5
    assert (
        asked("a", "b", "c")[2][5]
        == f"+0.005 points (−{margin - 0.005:.3f} to +{margin + 0.005:.3f}): too close to call |"
    )
    (tmp_path / "asked" / "b" / "split-fold-1" / "seed-0.json").unlink()
    assert asked("a", "b") == [] and asked("a", "c")


def test_networks_are_read_by_their_plan_the_smallest_first(tmp_path: Path) -> None:
    for folder, width, count in (("asked/wide", "8 8", 4_000), ("elsewhere", "4 4", 1_000)):
        run = content(99.4, parameters=count, hyperparameters={"widths": width})
        write_whole(tmp_path / folder / "seed-0.json", json.dumps(run))
    plan = Plan("small", [], variants={"wide": {}, "narrow": "elsewhere", "missing": {}}, place="asked")
    found = rows(tables.sizes(tables.networks(plan, tmp_path)))
    assert [row[1:4] for row in found] == [["4 4", "1", "99.400"], ["8 8", "1", "99.400"]]


def test_ways_of_testing_are_compared_on_the_same_weights() -> None:
    runs = Runs(make(99.5, 99.5, 99.5, 99.5, 99.5, seed=seed) for seed in (0, 1))
    for run, usual in zip(runs, (9940, 9930), strict=True):
        for row in run.history:
            row |= {"usual_correct": usual, "usual_loss": 0.1}
    (_, _, ours, *_), (_, _, usual, swing, held, gain) = rows(tables.statistics(runs))
    assert (ours, usual, swing, held) == ("99.500 ± 0.000", "99.350 ± 0.071", "0.000", "1 of 2")
    assert gain.startswith("+0.150 points (−0.485 to +0.785): too")


def test_a_step_is_told_by_its_change_its_range_its_mistakes_and_the_verdict() -> None:
    found = rows(tables.overview([step(1, 98.8, 99.0), step(2, 99.3, 99.5), step(3, 99.31, 99.47)], ""))
    assert found[1][1:] == [tables.CHANGES[SERIES[1]], "99.40% (99.30–99.50)", "60", "helps, +0.50", found[1][5]]
    assert [row[4] for row in found] == ["–", "helps, +0.50", "too close to call, −0.01"]
    assert "99.40% (99.30–99.50, 2 runs)" in tables.overview([step(1, 99.0), step(2, 99.3, 99.5)], "")
    assert "notebooks/02_batchnorm.ipynb" in found[1][5] and "colab" not in found[1][5].lower()
    assert "github/me/mine/blob/main/notebooks/02_batchnorm.ipynb" in tables.overview([step(2, 99.0)], "me/mine")


def test_the_changes_are_in_the_notebooks() -> None:
    code = ""
    for stage in SERIES:  # what a step names is in its notebook, or in one before
        code += "".join(cell.source for cell in read(NOTEBOOKS / f"{stage}.ipynb").cells).replace("self.", "")
        for snippet in tables.CHANGES[stage].split("`")[1::2]:
            for part in "".join(snippet.split()).split("…"):
                assert part.strip(",()") in "".join(code.split()), (stage, snippet)


def test_lone_runs_and_the_stand_in_get_no_verdict() -> None:
    results = [step(1, 98.0, dataset="stand-in"), step(2, 99.0, dataset="stand-in")]
    assert rows(tables.steps(results))[0][1:] == ["+1.000", "–", "0", "– |"]
    assert {row[5] for row in rows(tables.evidence(results))} == {"not applicable"}
    assert "not applicable" in tables.terminal(results) and "(98" not in tables.overview(results, "")


def test_digits_that_every_run_gets_wrong_come_with_what_they_are_taken_for() -> None:
    runs = Runs([make(seed=0, wrong=[3, 7], taken_for=[1, 2]), make(seed=1, wrong=[7, 9], taken_for=[4, 5])])
    assert tables.always_wrong(runs) == {7: [2, 4]}
    with pytest.raises(MissingRuns):
        tables.always_wrong(Runs([make()]))


def save(folder: Path, *ends: float) -> None:
    """Write runs with these ends into a folder, a seed each."""
    folder.mkdir(parents=True)
    for seed, end in enumerate(ends):
        path = make(*[end] * 5, seed=seed).save(folder)
        path.rename(folder / path.name)


def test_a_sweep_has_a_row_a_setting_also_where_runs_are_missing(tmp_path: Path) -> None:
    rates = {"learning_rate": [0.1, 0.2]}
    plan = Plan("rates", [SERIES[1]], grid=rates)
    save(tmp_path / "metrics" / "learning_rate-0.1" / SERIES[1], 99.0, 99.2)
    first, second = rows(tables.sweep(tables.settings(plan, tmp_path), 3))
    assert first[:3] == [f"| {SERIES[1]}", "0.1", "99.100"] and first[4] == "2 of 3 |"
    assert [float(end) for end in first[3].split(" to ")] == pytest.approx([97.829, 100], abs=1e-3)
    assert second[2:] == ["–", "takes two seeds", "0 of 3 |"]


def test_answers_are_judged_by_the_deviation_of_all(tmp_path: Path) -> None:
    ends = {"a/taken": (99.4, 99.5), "a/worse_one": (99.1, 99.2), "a/alike": (99.4, 99.4), "b/shared": (99.45, 99.45)}
    for name, figures in (ends | {"a/lost": (10.0, 98.0)}).items():
        save(tmp_path / "choices" / name, *figures)
    variants = {name: {} for name in ("taken", "worse_one", "alike", "lost", "missing")}
    variants["shared"] = "choices/b/shared"
    plan = Plan("which", [], title="Which?", taken="taken", place="choices/a", variants=variants)
    deviation = ((2 * 0.05**2 + 2 * 0.05**2) / 4) ** 0.5  # four fine answers, two runs each: t(4) = 2.776
    text = tables.choices([plan], tmp_path)
    found = {row[0].strip("| *"): row[2:] for row in rows(text["questions"].split("\n\n")[1])}
    assert found["taken"][1] == f"99.450 ± {2.776 * deviation / 2**0.5:.3f}"
    assert found["worse one"][2].startswith(f"−0.300 ± {2.776 * deviation:.3f}: hurts")
    assert found["alike"][2].startswith("−0.050") and "too close to call" in found["alike"][2]
    assert found["shared"][0] == "2" and found["lost"][2].startswith("learned nothing")
    assert found["missing"][:2] == ["0", "not run"]
    assert text["spread"].startswith("1 questions, 10 runs.") and "4 degrees of freedom" in text["spread"]


@pytest.mark.parametrize(
    ("system", "runs", "words"),
    [
        ("B1", step(1), "not run yet"),
        ("B1", step(1, 99.0, 99.1), "takes 3 runs, 2 so far"),
        ("B1", step(1, 99.0, 99.05, 99.1), "yes (98.80 to 99.30)"),
        ("B1", step(1, 98.0, 98.05, 98.1), "no, published higher (97.80 to 98.30)"),
        ("B1", step(1, 99.5, 99.55, 99.6), "no, published lower (99.30 to 99.80)"),
        ("B1", step(1, 99.0, dataset="stand-in"), "not applicable (stand-in)"),
        ("D1", step(1, 99.1, 99.15, 99.2), "yes (98.90 to 99.40)"),  # only a best epoch was published
        ("A-pad0", step(1, 99.5, 99.3, 99.4), "2 of 3 hold 99.4%"),
        ("C1", step(1, 99.0, 99.1, 99.2), "no figure published"),
    ],
)
def test_a_figure_is_reproduced_if_one_more_run_could_have_it(system: str, runs: Runs, words: str) -> None:
    assert systems.reproduced(FACTS[system], runs) == words


def test_a_row_has_both_sides_own_networks_are_marked_and_missing_ones_said() -> None:
    found = {"B1": step(1, 99.0, 99.05, 99.1), "D1": step(1)}
    one, other, last = rows(systems.verdicts(FACTS, found, {"ours": step(6, 99.5, 99.4)}))
    assert one[1:7] == ["9,746", "9,746", "99.25", "99.050 ± 0.050", "99.048", "99.050 ± 0.050"]
    assert "†" in other[0] and "not run yet" in other[4] and last[7] == "2 of 2 hold 99.4% |"
    assert "| B1 | 99.37 | 99.25 | 99.00 | 99.90 | 99.05 |" in systems.train(FACTS, found)


def test_epochs_at_the_goal_are_counted_in_the_first_fifteen() -> None:
    assert systems.at_goal(Runs([make(*[99.4] * 3, *[99.0] * 12, *[99.5] * 5)])) == [3]


def test_recorded_systems_have_the_network_and_the_epochs_of_their_facts() -> None:
    for name, runs in systems.read_runs(OUTPUTS / "published").items():
        fact = FACTS[name]
        assert {(run.parameters, run.epochs) for run in runs} <= {(fact["parameters"], fact["recipe"]["epochs"])}
