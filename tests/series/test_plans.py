"""Plans: what a TOML file asks for."""

import pytest
from fake_series import PARAMETERS, ROOT

from series.__main__ import PLANS
from series.plans import change, read_plan

GRID = 'stages = [1, 2]\nseeds = [0, 1]\nsplit = "validation"\nlearning_rate = [0.1, 1]\nbatch_size = [32, 64]\n'


def read(series, text: str):
    """The plan of a file with this text."""
    return read_plan(series.root / series.plan(text), series.root)


@pytest.mark.parametrize(
    ("text", "notebooks"),
    [
        ("", ["01_first", "02_second"]),
        ("stages = [2, 1]", ["01_first", "02_second"]),
        ("stages = [2]", ["02_second"]),
        ('notebooks = ["appendix", "02_second"]', ["appendix", "02_second"]),
    ],
)
def test_notebooks_are_named_by_number_or_by_name(two, text, notebooks):
    plan = read(two.add("appendix"), text)
    assert (plan.notebooks, plan.seeds, plan.settings()) == (notebooks, [0], [("", {})])


def test_lists_are_a_grid_and_whole_numbers_stand_for_decimal_ones(two):
    plan = read(two, GRID)
    assert plan.parameters == {"split": "validation"}
    assert [name for name, _ in plan.settings()] == [
        f"learning_rate-{rate}-batch_size-{size}" for rate in ("0.1", "1.0") for size in (32, 64)
    ]
    assert plan.settings()[-1][1] == {"learning_rate": 1.0, "batch_size": 64}


def test_variants_are_named_settings_and_what_is_recorded_elsewhere_is_not_run(two):
    text = 'split = "test"\nbatch_size = [1, 2]\ntaken = "a b"\n[variants]\n'
    text += '"a b" = {learning_rate = 1}\nlow = {rule = "x"}\nother = "choices/rate/0.1"'
    plan = read(two, text)
    assert [name for name, _ in plan.settings()] == [
        "a_b/batch_size-1",
        "a_b/batch_size-2",
        "low/batch_size-1",
        "low/batch_size-2",
    ]
    assert plan.settings()[0][1] == {"learning_rate": 1.0, "batch_size": 1}
    assert plan.variants["other"] == "choices/rate/0.1"


def test_the_plans_of_the_series_can_be_read_and_keep_what_they_say(series):
    series.add("01_first").add("appendix_smaller").add("appendix_published", parameters=f'{PARAMETERS}system = "B3"\n')
    plans = {path.stem: read_plan(path, series.root) for path in PLANS.glob("*.toml")}
    said = [(len(plans[name].seeds), plans[name].attempts) for name in ("series", "smaller", "published")]
    assert said == [(1, 1), (20, 3), (3, 1)]
    assert plans["published"].settings()[:2] == [("A-pad0", {"system": "A-pad0"}), ("A-pad1", {"system": "A-pad1"})]
    assert len(plans["published"].settings()) == 16
    for plan in plans.values():
        assert plan.copies and plan.place
        assert change(plan, {}, series.root) == plan, "all have a split"


@pytest.mark.parametrize("path", sorted(ROOT.glob("series/plans/examples/*.toml")), ids=lambda path: path.stem)
def test_the_sweeps_that_come_with_the_series_can_be_run(path):
    plan = change(read_plan(path, ROOT), {}, ROOT)
    assert plan.parameters["split"] == "validation", "a choice is never made on the test set"
    count = len(plan.settings()) * len(plan.seeds) * len(plan.notebooks)
    assert f"= {count} runs" in path.read_text(encoding="utf-8")
