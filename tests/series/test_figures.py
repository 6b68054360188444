"""Pictures over several steps: their titles are what the runs show, and they can be drawn of any runs."""

import io

import pytest
import torch
from PIL import Image
from runs_for_tests import make
from test_tables import FACTS, step

from common.plots import Picture
from common.runs import Runs
from series.report import figures, systems
from series.report.notebooks import SERIES
from series.report.tables import Setting


def texts(picture: Picture) -> str:
    """All that is written in the panels."""
    return " ".join(text.get_text() for axes in picture.axes for text in axes.texts)


def legend(picture: Picture) -> list[str]:
    """The entries of the legend."""
    return [text.get_text() for entries in picture.legends for text in entries.get_texts()]


SIX = [step(number, end, end + 0.02) for number, end in enumerate((98.8, 99.3, 99.31, 99.3, 99.36, 99.5), 1)]
SIX[2] = step(3, 99.33, 99.31)


@pytest.mark.parametrize(
    ("results", "title"),
    [
        (SIX, "Steps 2 and 6 take away most of the mistakes;\nonly step 6 holds the goal, in all two runs"),
        (SIX[:5], "Steps 2 and 5 take away most of the mistakes;\nno run holds the goal"),
        ([step(1, 99.0), step(2, 99.5, 99.3)], "only step 2 holds the goal, in 1 of 2 runs"),
        ([step(1, 99.5), step(2, 99.5)], "step 2 holds the goal, in all one runs"),
        ([step(1, 99.5, dataset="stand-in")], "no goal applies"),
    ],
)
def test_the_headline_is_what_the_runs_show(results: list[Runs], title: str) -> None:
    assert figures.headline(results) == title


def test_wrong_digits_stand_under_each_step_with_the_verdict() -> None:
    picture = figures.spread(SIX)
    found = texts(picture)
    for words in ("119", "start", "helps", "too close\nto call", "goal\nin 2 of 2 runs", "at most 60 wrong (99.4%)"):
        assert words in found
    assert "1 · Skeleton: 119" in picture.alt and len(picture.axes[0].get_xticks()) == 6


@pytest.mark.parametrize("draw", [figures.spread, figures.curves])
def test_any_accuracies_can_be_drawn_and_the_stand_in_is_named_and_has_no_goal(draw) -> None:
    picture = draw([step(1, 99.5, dataset="stand-in")])
    assert picture.get_suptitle().endswith("stand-in") and "99.4%" not in texts(picture) + str(legend(picture))
    assert "99.4%" in texts(draw(SIX)) + str(legend(draw(SIX)))
    for results in ([Runs([make(50.0, 99.99, stage=SERIES[0])], SERIES[0])], [step(1, 100.0)], [step(1, 10.0)], SIX):
        content = draw(results).png()
        image = Image.open(io.BytesIO(content)).convert("RGBA")
        assert image.width == 1700 and image.getpixel((0, 0)) == (255,) * 4 and len(content) < 150_000


def test_curves_have_a_panel_a_step_and_say_which_is_calm() -> None:
    wild = Runs([make(*(99.0, 99.2) * 5, stage=SERIES[0])], SERIES[0])
    picture = figures.curves([wild, *SIX[1:4]])
    assert picture.get_suptitle().startswith("The last five epochs differ by 0.20 points in step 1, by 0.00 in step")
    assert [axes.get_visible() for axes in picture.axes] == [True] * 4 + [False] * 2
    assert "mean of the step before" in legend(picture)


def test_digits_that_all_misread_are_shown_as_a_question() -> None:
    runs = Runs([make(seed=seed, wrong=[1, 2], taken_for=[7, 3 + seed % 2]) for seed in range(3)])
    picture = figures.misread(runs, torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 4, 9]))
    assert picture.get_suptitle() == "Wrong in all three runs. Would you read them as labelled?"
    assert [axes.get_title() for axes in picture.axes] == ["labelled 1\nread as 7", "labelled 4\nread as 3"]
    assert figures.misread(Runs([make(wrong=[], taken_for=[])]), torch.rand(1, 1, 28, 28), torch.zeros(1)).png()


def test_the_landscape_has_everything_and_names_the_smallest_that_is_good_enough() -> None:
    found = {name: step(1) for name, fact in FACTS.items() if "recipe" in fact}
    found["B1"] = found["D1"] = step(1, 99.0, 99.1)
    points = systems.points(FACTS, found, {"ours": step(6, 99.5, parameters=5_000)})
    picture = figures.landscape(points)
    assert picture.get_suptitle() == "The fewest parameters that average 99.4% here: 5,000 (ours)"
    names = [label.get_text() for label in picture.axes[0].get_yticklabels()]
    assert {"B1 · 9,746", "D1 · 13,160", "B3, published · 7,788", "peer · 6,174", "ours · 5,000"} <= set(names)
    assert "C1 · 3,816" not in names and len(legend(picture)) == 5


def test_the_smallest_network_of_each_kind_that_is_good_enough_is_named() -> None:
    line = [step(6, end, parameters=count) for count, end in ((1_000, 99.0), (4_000, 99.4), (7_000, 99.5))]
    picture = figures.sizes({"plain": line, "tried": line[:1]})
    assert picture.get_suptitle() == "Fewest parameters that average 99.4%:\nplain: 4,000; tried: none"
    assert legend(picture) == ["plain", "tried", "goal, 99.4%"] and picture.png()


def test_a_sweep_is_drawn_along_the_parameter_that_takes_most_values() -> None:
    found = [
        Setting({"notebook": "x", "rate": rate, "dropout": drop}, step(6, 99 + rate, 99 + rate + drop))
        for rate in (0.1, 0.2, 0.3)
        for drop in (0.0, 0.1)
    ]
    picture = figures.effects(found)
    assert picture.get_suptitle() == "Best: 99.35% with notebook x, rate 0.3, dropout 0.1"
    assert picture.axes[0].get_xlabel() == "rate" and legend(picture) == ["dropout 0.1", "dropout 0.0"]
    assert figures.effects(found[:1]).png()
