"""The plans of the choices say how the recorded runs were made, and every recorded run belongs to one of them."""

import json

import pytest

from common.config import GENERAL, ROOT, literals, refuse_bad
from common.runs import OUTPUTS, Run

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

PLANS = {path.stem: tomllib.loads(path.read_text()) for path in sorted(ROOT.glob("series/plans/choices/*.toml"))}
CELLS = json.loads((ROOT / "notebooks" / "appendix_playground.ipynb").read_text(encoding="utf-8"))["cells"]
DEFAULTS = literals("".join(next(cell for cell in CELLS if cell["id"] == "parameters")["source"]))
ASKED = "split", "epochs", "batch_size"
ABOUT = {"notebooks", "place", "title", "note", "taken", "seeds", "variants"}


def recorded(folder: str) -> list[Run]:
    """The recorded runs of an answer."""
    return [Run.read(path) for path in sorted((OUTPUTS / folder).glob("seed-*.json"))]


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_has_the_parameters_of_the_recorded_runs(name: str) -> None:
    plan = PLANS[name]
    assert plan["place"].removeprefix("choices/").replace("/", "_") == name
    assert plan["taken"] in plan["variants"] and plan["title"].endswith("?")
    fixed = DEFAULTS | {key: value for key, value in plan.items() if key not in ABOUT}
    for answer, variant in plan["variants"].items():
        shared = isinstance(variant, str)
        runs = recorded(variant if shared else f"{plan['place']}/{answer}")
        assert runs, f"no run of {answer} is recorded"
        for run in () if shared else runs:
            parameters = fixed | variant
            refuse_bad(parameters)
            assert run.hyperparameters == {key: parameters[key] for key in parameters if key not in GENERAL}
            assert (run.stage, run.split, run.dataset) == ("playground", "validation", "MNIST")
            assert (run.split, run.epochs, run.batch_size) == tuple(parameters[key] for key in ASKED)


def test_every_recorded_choice_is_in_one_place_that_a_plan_names() -> None:
    answers = [(plan["place"], name, made) for plan in PLANS.values() for name, made in plan["variants"].items()]
    named = {f"{place}/{name}" for place, name, made in answers if isinstance(made, dict)}
    there = {path.parent.relative_to(OUTPUTS).as_posix() for path in (OUTPUTS / "choices").rglob("seed-*.json")}
    assert {folder for folder in there if not folder.startswith("choices/aside/")} == named
