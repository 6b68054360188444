"""The runs behind the choices are of the networks and settings that the notebooks have."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import make_run, network_of, parameters_of
from torch import nn

from common import choices, recipes
from common.batches import Augment
from common.intervals import in_words, step
from common.runs import write_metrics
from common.train import DivergedError

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


@pytest.mark.parametrize(
    ("stage", "recipe"),
    [
        ("01_skeleton", replace(recipes.BARE, head="1×1, GAP")),
        ("02_batchnorm", replace(recipes.PLAIN, head="1×1, GAP", dropout=0.0)),
        ("03_dropout", replace(recipes.PLAIN, head="1×1, GAP")),
        ("06_lr_scheduler", recipes.LAST),
        ("smaller_network", recipes.SMALLER),
    ],
)
def test_a_recipe_builds_the_network_of_the_notebook(stage, recipe):
    torch.manual_seed(0)
    built = recipes.network(recipe).train()
    torch.manual_seed(0)
    written = network_of(stage).train()
    images = torch.randn(4, 1, 28, 28)
    outputs = []
    for network in (built, written):
        torch.manual_seed(1)  # the same places drop out
        outputs.append(network(images))
    assert torch.equal(*outputs)


@pytest.mark.parametrize(
    ("notebook", "recipe"),
    [("06_lr_scheduler.ipynb", recipes.LAST), ("appendix/smaller_network.ipynb", recipes.SMALLER)],
)
def test_a_recipe_has_the_settings_of_its_notebook(notebook, recipe):
    asked = parameters_of(NOTEBOOKS / notebook)
    names = ("epochs", "batch_size", "learning_rate")
    assert {name: asked[name] for name in names} == {name: getattr(recipe, name) for name in names}
    shift = asked["shift"]
    assert recipe.augment == Augment(asked["rotation"], shift, shift, asked["scale"], asked["shear"])
    assert recipe.schedule == f"settle {asked['settle']}" and recipes.WARM[0] == [0, asked["warmup"]]


def test_an_answer_is_taken_and_is_what_the_notebooks_have():
    for question in recipes.QUESTIONS:
        if question.taken == "none of them":
            continue
        taken, base = (
            question.answers[question.taken],
            {
                recipes.LAST,
                recipes.FRESH,
                recipes.WIDE,
                recipes.NARROW,
                recipes.PLAIN,
                recipes.BARE,
                recipes.ORTHOGONAL,
                recipes.SMALLER,
            },
        )
        assert taken in base | {recipes.CONSTANT, replace(recipes.PLAIN, dropout=0.0)}, question.text


@pytest.mark.parametrize("question", recipes.QUESTIONS, ids=lambda question: question.text[:40])
def test_no_answer_is_shown_to_be_better_than_the_one_taken(question):
    found = choices.tried(question.stage, question.text)
    taken = found.get(question.taken, [])
    for other in found.values():
        if other is not taken:
            assert not in_words(*step(taken, other)).endswith(": better"), other.stage


def test_questions_without_runs_to_compare_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(choices, "FOLDER", tmp_path)
    (line,) = choices.unanswered()[1:]
    assert all(f"{question.text.lower()} ({question.stage})" in line for question in recipes.QUESTIONS)
    monkeypatch.setattr(choices, "QUESTIONS", [])
    assert choices.unanswered() == []


def test_half_of_the_images_are_mirrored_and_the_others_are_not():
    images, mirroring = torch.rand(200, 1, 28, 28), recipes.Mirroring()
    changed = mirroring.apply(images, mirroring.draw(200, torch.Generator().manual_seed(0)))
    mirrored = [torch.allclose(new, old.flip(2), atol=1e-5) for new, old in zip(changed, images, strict=True)]
    kept = [torch.allclose(new, old, atol=1e-5) for new, old in zip(changed, images, strict=True)]
    assert 70 < sum(mirrored) < 130 and sum(mirrored) + sum(kept) == 200


def test_other_activations_and_separable_blocks_take_the_place_of_the_usual_ones():
    net = recipes.network(replace(recipes.LAST, activation="leaky ReLU", separable=(3,)))
    kinds = [type(module) for module in net.modules()]
    assert nn.LeakyReLU in kinds and net[2][0].groups == 8 and net[2][3].kernel_size == (1, 1)
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_every_schedule_stays_between_nothing_and_the_highest_rate():
    for height in recipes.HEIGHTS.values():
        assert all(0 <= height(step / 100) <= 1 for step in range(100))


def test_a_recipe_keeps_its_key_and_no_other_has_it():
    asked = {recipe for question in recipes.QUESTIONS for recipe in question.answers.values()}
    assert len({recipe.key for recipe in asked}) == len(asked)
    assert recipes.Recipe(dropout=0.02).key == recipes.LAST.key
    assert recipes.Recipe().key == "44136fa355b3"  # of no setting but the usual ones, however many there come to be


def test_orthogonal_steps_have_the_rates_of_the_notebook():
    code = next(NOTEBOOKS.rglob("smaller_network.ipynb")).read_text(encoding="utf-8")
    assert "kernels = 0.3 * learning_rate" in code and "muon(net, learning_rate, kernels)" in code
    optimizer = choices.make_optimizer(nn.Conv2d(1, 2, 3), recipes.SMALLER)
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(0.3 * 0.2), 0.2]


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """Choices in a folder of their own, with two recipes that nothing is trained for."""
    asked = []

    def pretend(recipe, seed):
        asked.append((recipe.key, seed))
        run = make_run(99.0 + seed / 10, stage=recipe.key, seed=seed, parameters=10, clean=99.5)
        write_metrics(tmp_path, run)

    class Here:
        """An executor that works in this very process."""

        def __init__(self, *_, **__): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def submit(self, task, *arguments):
            task(*arguments)
            return self

        def result(self): ...

    monkeypatch.setattr(choices, "FOLDER", tmp_path)
    question = recipes.Question(
        "06_lr_scheduler", "Rate", {"low": replace(recipes.LAST, learning_rate=0.1), "high": recipes.LAST}, "low"
    )
    monkeypatch.setattr(choices, "QUESTIONS", [question])
    monkeypatch.setattr(choices, "train", pretend)
    monkeypatch.setattr(choices, "ProcessPoolExecutor", Here)
    return asked


def test_a_table_has_what_was_run_and_nothing_is_run_twice(tried, tmp_path):
    text = choices.answer(jobs=1)
    assert "| **low** | 10 | 2 | 99.050 ± 0.071 | 99.00 | 0.00 | 0.0300 | 99.50 |" in text
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text
    choices.answer(jobs=1)
    assert len(tried) == 4


@pytest.mark.parametrize("seeds", [3, 4])
def test_a_difference_has_an_interval_where_four_seeds_are_in_common(tried, monkeypatch, tmp_path, seeds):
    low, high = choices.QUESTIONS[0].answers.values()
    for seed in range(4):
        write_metrics(tmp_path, make_run(99.0, stage=low.key, seed=seed, parameters=10, clean=99.5))
    for seed, gain in enumerate([0.1, 0.2, 0.3, 0.4][:seeds]):
        write_metrics(tmp_path, make_run(99.0 + gain, stage=high.key, seed=seed, parameters=10, clean=99.5))
    line = (
        "*high* against **low**, on the 4 seeds that both have: +0.250 points, 95 % interval +0.045 to +0.455: better."
    )
    assert (line in choices.tables()) == (seeds == 4)


def test_an_answer_that_nothing_can_be_compared_with_has_no_table(tried):
    low, high = choices.QUESTIONS[0].answers.values()
    choices.attempt(low, 0)
    assert "Rate" not in choices.tables()
    choices.attempt(high, 0)
    assert "Rate" in choices.tables()


def test_the_tables_tell_how_much_of_the_plan_was_run(tried):
    text = choices.tables()
    assert "0 of the 4 runs" in text and "Rate" not in text


def test_a_recipe_that_diverges_is_told_and_the_others_go_on(tried, monkeypatch, capsys):
    def diverge(recipe, seed):
        raise DivergedError("epoch 1, loss is nan at step 3")

    monkeypatch.setattr(choices, "train", diverge)
    assert "0 of the 4 runs" in choices.answer(jobs=1)
    assert "loss is nan" in capsys.readouterr().out


def test_the_committed_tables_are_those_of_the_committed_runs():
    assert (choices.FOLDER / "README.md").read_text(encoding="utf-8") == choices.tables()
