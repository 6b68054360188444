"""The plans of the choices say how the recorded runs were made, and every recorded run belongs to one of them."""

import pytest

from common.config import GENERAL, ROOT
from common.runs import OUTPUTS, Runs
from series.plans import parameters_of, read_plan

PLANS = {path.stem: read_plan(path, ROOT) for path in sorted(ROOT.glob("series/plans/choices/*.toml"))}
CURVE = {path.stem: read_plan(path, ROOT) for path in sorted(ROOT.glob("series/plans/curve/*.toml"))}
DEFAULTS = parameters_of("appendix_playground", ROOT)


@pytest.mark.parametrize("name", PLANS | CURVE)
def test_a_plan_has_the_parameters_of_the_recorded_runs(name: str) -> None:
    plan = (PLANS | CURVE)[name]
    assert plan.place.partition("/")[2].replace("/", "_") == name
    if name in PLANS:
        assert plan.taken in plan.variants and plan.title.endswith("?")
    for answer, variant in plan.variants.items():
        runs = Runs.read(OUTPUTS / plan.folders()[answer])
        assert runs, f"no run of {answer} is recorded"
        for run in () if isinstance(variant, str) else runs:
            asked = DEFAULTS | plan.parameters | variant
            found = DEFAULTS | run.hyperparameters  # a parameter may be newer than the run
            assert all(found[key] == asked[key] for key in found.keys() | asked.keys() if key not in GENERAL)
            assert (run.stage, run.split, run.dataset) == ("playground", "validation", "MNIST")
            assert all(getattr(run, key) == asked[key] for key in ("split", "epochs", "batch_size"))


def test_every_recorded_choice_is_in_one_place_that_a_plan_names() -> None:
    answers = [(plan.place, name, made) for plan in PLANS.values() for name, made in plan.variants.items()]
    named = {f"{place}/{name}" for place, name, made in answers if isinstance(made, dict)}
    there = {path.parent.relative_to(OUTPUTS).as_posix() for path in (OUTPUTS / "choices").rglob("seed-*.json")}
    assert {folder for folder in there if not folder.startswith("choices/aside/")} == named
